"""`transferkit.train`, `adapt` and `baseline`: what the command line does, from Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny import Tiny

import transferkit
from transferkit.convergence import compare
from transferkit.errors import ConfigError
from transferkit.runs.folder import Run

QUIET = {"quiet": True}


def test_a_source_is_trained_carried_and_compared(tiny: Tiny, tmp_path: Path) -> None:
    files = {task: tiny.write(tmp_path, task) for task in ("train", "adapt", "baseline")}
    both = {"data_dir": tiny.data, "runs": tmp_path / "runs", "quiet": True}
    source = transferkit.train(tiny.source, recipe=files["train"], **both)
    moved = transferkit.adapt(source.folder, tiny.target, recipe=files["adapt"], changes={"optim.steps": 2}, **both)
    rival = transferkit.baseline("lora", tiny.target, recipe=files["baseline"], **both)
    assert [run.record["task"] for run in (source, moved, rival)] == ["train", "adapt", "baseline"]
    assert moved.metrics[-1]["step"] == 2
    assert moved.record["source"]["run"] == source.folder.name
    vectors = transferkit.load(moved.folder).encode(["the cat drinks water"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0)
    assert compare([moved, rival]).rows


def test_a_file_of_ones_own(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tickets.csv"
    rows = [f"the {'cat' if i % 2 else 'dog'} number {i},q{i % 2},z{i % 3}" for i in range(80)]
    file.write_text("body,queue,group\n" + "\n".join(rows) + "\n")
    run = transferkit.baseline("frozen", tiny.target, data=file, text="body", label="group", runs=tmp_path / "runs")
    assert "tickets.csv: text 'body', label 'group'\n" in capsys.readouterr().err
    assert run.record["data"]["train"][0]["rows"] + run.record["data"]["dev"][0]["reported_rows"] < 80


def test_it_refuses_what_the_command_line_refuses(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(transferkit.ConfigError, match="--text says something about the file of --data"):
        transferkit.adapt("bundled", tiny.target, text="body", **QUIET)
    with pytest.raises(transferkit.ConfigError, match=r"unknown recipe .llama/nothing."):
        transferkit.train(tiny.source, recipe="llama/nothing", **QUIET)


def test_a_misspelt_option_and_a_table_in_the_place_of_a_file_are_refused(tiny: Tiny) -> None:
    import pandas as pd

    says = r"adapt\(\) got an unexpected keyword argument 'lable'; did you mean 'label'\?; .* changes={'optim.steps'"
    with pytest.raises(TypeError, match=says):
        transferkit.adapt("bundled-toy", tiny.target, data="t.csv", lable="queue")  # type: ignore[call-arg]
    table: Any = pd.DataFrame({"text": ["a"]})
    for name in ("data", "unlabelled"):
        with pytest.raises(ConfigError, match=rf"{name}: expected a file, got a DataFrame; write a table to one"):
            transferkit.adapt("bundled-toy", tiny.target, **{name: table})


def test_a_run_shows_what_it_is_and_not_all_that_it_holds() -> None:
    run = Run(Path("runs/a"), {"status": "done", "best": {"step": 4, "score": 70.04}}, [])
    assert repr(run) == "Run('runs/a', done, kept step 4 (dev 70.0))"
    assert repr(Run(Path("runs/a"), {"status": "running"}, [])) == "Run('runs/a', running)"
