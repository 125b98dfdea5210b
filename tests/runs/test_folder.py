"""The run folder: what a finished run must hold, what a kill may leave, and how new folders are named."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.run_builder import make_run, metric

from transferkit.errors import ConfigError
from transferkit.runs.folder import Run, begin_in, new_run_folder, read_run, write_metrics


def trained(tmp_path: Path, **record: Any) -> Run:
    """Evaluated at four steps, of which the third is the best."""
    scores = {0: 40.0, 50: 73.0, 100: 80.0, 150: 79.0}
    return make_run(tmp_path, "lora", [metric(step, score) for step, score in scores.items()], **record)


@pytest.mark.parametrize(
    ("kept", "torn"), [((), ""), ((0,), ""), ((0, 1, 2), ""), ((0, 1, 3), ""), ((0, 1, 2, 3), '{"step": 2')]
)
def test_a_finished_run_has_the_rows_that_its_table_hangs_on(tmp_path: Path, kept: tuple[int, ...], torn: str) -> None:
    run = trained(tmp_path)
    file = run.folder / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[row] for row in kept) + torn)
    with pytest.raises(ConfigError, match=r"metrics\.jsonl.*; restore it from a copy, or run it again") as caught:
        read_run(run.folder)
    assert "\n" not in str(caught.value)


def test_a_torn_last_row_of_an_unfinished_run_is_dropped(tmp_path: Path) -> None:
    run = trained(tmp_path, status="interrupted")
    file = run.folder / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 2')
    assert read_run(run.folder).metrics == run.metrics


def test_the_variant_that_a_finished_run_stands_with_is_among_its_rows(tmp_path: Path) -> None:
    rows = [metric(0, 41, variant="mean · {text}"), metric(0, 55, variant="last · {text}")]
    run = make_run(tmp_path, "frozen", rows, method="frozen")
    (run.folder / "metrics.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(ConfigError, match=r"the row of 'last · {text}' is missing, though the run is done"):
        read_run(run.folder)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Also where a text holds what `splitlines` takes for the end of a line."""
    run = trained(tmp_path)
    rows = [row | {"variant": "one\u2028two\x85"} for row in run.metrics]
    write_metrics(run.folder, rows)
    (run.folder / "record.json").write_text(json.dumps(run.record | {"status": "running"}), encoding="utf-8")
    assert read_run(run.folder).metrics == rows


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    folders = [new_run_folder(tmp_path / "runs", "lora") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() and re.match(r"lora-\d{8}-\d{6}", folder.name) for folder in folders)


def test_a_run_begins_where_none_began(tmp_path: Path) -> None:
    begin_in(tmp_path / "new")
    begin_in(tmp_path / "new")  # a kill can leave a folder in which nothing began
    run = trained(tmp_path)
    with pytest.raises(ConfigError, match=r"lora: holds a run already \(done\); continue it with --resume"):
        begin_in(run.folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write runs there"):
        begin_in(tmp_path / "file" / "run")


def test_a_second_has_room_for_a_hundred_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Standing(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Standing":
            return cls(2026, 1, 2, tzinfo=tz)

    monkeypatch.setattr("transferkit.runs.folder.datetime", Standing)
    assert len({new_run_folder(tmp_path, "run") for _ in range(100)}) == 100
    with pytest.raises(ConfigError, match="too many runs started in this second"):
        new_run_folder(tmp_path, "run")
