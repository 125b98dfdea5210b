"""`transferkit.train`, `adapt` and `baseline`: what the command line does, from Python."""

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import Tiny

import transferkit
from transferkit.convergence import compare

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
