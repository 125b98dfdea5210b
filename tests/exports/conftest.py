"""Checkpoints that several files export."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.tiny import Tiny


@pytest.fixture(scope="session")
def checkpoints(tiny: "Tiny", tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Method -> its checkpoint."""
    from helpers.checkpoints import one_of_each  # after `pytest_configure`, which sets what libraries read at import

    return one_of_each(tiny, tmp_path_factory.mktemp("exports"))
