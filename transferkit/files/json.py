"""JSON and text on disk: read whole or refused, written beside and renamed."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError, with_article


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: not there, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error})") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {with_article(type(value).__name__)}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside and rename, so that a reader never sees half a file."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text beside and rename; a power cut leaves the old text or the new one, whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        flush(beside)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()  # half a text on a full disk helps nobody
        raise
    flush_folder(path.parent)


def flush(path: Path) -> None:
    """Have the disk hold what was written to ``path``."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Have the disk hold what was made, renamed or removed in ``folder``, where the system can be asked."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
