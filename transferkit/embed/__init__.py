"""Files of texts -> vectors; a question -> the nearest texts."""

from pathlib import Path

INDEX = Path("runs/search")  # where vectors are kept for later questions, unless one says otherwise
