"""The benchmark of damaged artefacts: a few mutations of each, and a judge that finds what it is there to find."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.small_pretraining import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import corrupt

from transferkit.errors import ConfigError


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    found = corrupt.measure(tmp_path, count=14, seed=7)
    assert [one for one in found if one.verdict in corrupt.FAULTS] == []
    assert {one.subject for one in found} == {
        *("checkpoint", "backbone", "vectors.npy", "vectors.parquet", "vectors.jsonl", "index", "part", "state", "runs")
    }
    assert sum(one.verdict == "refused" for one in found) >= 9


@pytest.mark.parametrize(
    ("result", "verdict"),
    [("whole", "harmless"), ("other", "SILENT"), (KeyError("x"), "TRACEBACK"), (ConfigError("no"), "NAMELESS")],
)
def test_the_judge_tells_them_apart(result: Any, verdict: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "facts.json").write_text(json.dumps({"a": [1, 2.5, "x"]}))

    def use(copy: Path) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    subject = corrupt.Subject("one", whole, ("facts.json",), use, share=1.0)
    for seed in range(12):
        outcome = corrupt.judge(subject, "whole", tmp_path / "work", seed=seed)
        assert outcome.verdict == verdict
        assert outcome.mutation["file"] == "facts.json"
    assert (whole / "facts.json").read_text() == json.dumps({"a": [1, 2.5, "x"]})  # the whole one stays whole
