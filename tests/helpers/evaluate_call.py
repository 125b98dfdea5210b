"""``evaluate`` as its tests call it."""

import json
import sys
from typing import Any

import pytest

from transferkit.cli.app import main


def evaluate(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of the command, run in this process."""
    patch.setattr(sys, "argv", ["transferkit", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def evaluated(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``--json`` printed."""
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content
