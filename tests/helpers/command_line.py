"""The command line as its users call it, run in this process."""

import sys

import pytest

from transferkit.cli.app import main


def call(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of ``transferkit ARGUMENTS``."""
    patch.setattr(sys, "argv", ["transferkit", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code
