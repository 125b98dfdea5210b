"""What the tests of commands share."""

from collections.abc import Callable
from functools import partial

import pytest
from helpers import command_line


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Exit code of a command line, run in this process."""
    return partial(command_line.call, monkeypatch)
