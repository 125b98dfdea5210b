"""The benchmark of a readout's sample: at the run's own size and pooling it says what the run says."""

import json
import sys
from pathlib import Path

import pytest
from helpers.parts import source_checkpoint
from helpers.small_pretraining import ROOT
from helpers.tiny import Tiny
from rich.console import Console

sys.path.insert(0, str(ROOT / "benchmarks"))

import readout_sample

from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runs.folder import read_run


def test_the_runs_own_reading_has_its_own_score(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = source_checkpoint(tiny, tmp_path / "source")
    recipe = tiny.recipe("adapt", embedding={"pooling": "before+soft+static"})
    folder = start(recipe, Inputs(source, tiny.data), runs=tmp_path / "runs", console=Console(quiet=True))
    given = [str(folder), "--source", str(source), "--data-dir", str(tiny.data), "--sizes", "10,20"]
    readout_sample.main([*given, "--out", str(tmp_path / "found.json")])
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [(row["pooling"], row["texts"]) for row in rows] == [
        (p, n) for p in readout_sample.POOLINGS for n in (10, 20)
    ]
    assert rows[-1]["score"] == pytest.approx(read_run(folder).record["best"]["score"])
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
