"""``evaluate`` as its tests call it."""

import json
from typing import Any

import pytest

from helpers.command_line import call


def evaluate(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of the command, run in this process."""
    return call(patch, "evaluate", *arguments)


def evaluated(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``--json`` printed."""
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content
