"""The benchmark of made-up inputs: some of each, and that it would find what it looks for."""

import sys
from pathlib import Path

import pytest
from helpers.small_pretraining import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import fuzz
from made_up import CASES

COUNTS = {"recipes": 25, "specs": 15, "studies": 12, "rows": 25, "lines": 15}


@pytest.mark.parametrize("area", CASES)
def test_made_up_inputs_end_in_an_exit_code(area: str) -> None:
    here = Path.cwd()
    found = fuzz.measure(COUNTS[area], first=5, seconds=200, only=[area])
    assert [one for one in found if one.example] == []  # only faults keep theirs
    assert len(found) >= COUNTS[area] // 2
    assert Path.cwd() == here


def test_the_valid_ones_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every example would be refused for the same mistake."""
    from made_up import RECIPE, SPEC, STUDY

    from transferkit.config.schema import dump_yaml

    monkeypatch.chdir(tmp_path)
    for area, example in (
        ("recipes", (dump_yaml(RECIPE).encode(), "check", [])),
        ("specs", dump_yaml(SPEC).encode()),
        ("studies", (dump_yaml(STUDY).encode(), [])),
    ):
        assert fuzz.tried(CASES[area], example) == 0


def test_a_traceback_and_a_hang_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("x")

    def endless() -> None:
        while True:
            pass

    for wrong, verdict in ((broken, "TRACEBACK"), (endless, "HANG"), (lambda: sys.exit(3), "CODE")):
        monkeypatch.setattr(fuzz, "command_line", wrong)
        monkeypatch.setattr(fuzz, "WARM", ())
        found = fuzz.measure(2, seconds=0.2, only=["lines"])
        assert {one.verdict for one in found} == {verdict}
