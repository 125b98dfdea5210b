"""A finished run says which bytes it wrote: what was edited or rotted since makes no table."""

import json
from pathlib import Path

import pytest
from helpers.run_builder import make_run, rising, unseal

from transferkit.errors import ConfigError
from transferkit.files.json import write_json
from transferkit.runs.folder import read_record, read_run, sealed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = rising(100, start=40.0, end=60.0, pace=30, lift=4.0, step_seconds=0.1)
    folder = make_run(tmp_path, "lora-1", rows).folder
    write_json(folder / "record.json", sealed(folder, read_record(folder)))
    return folder


def test_a_sealed_run_is_read_and_edits_are_refused(run: Path) -> None:
    before = read_run(run)
    for name, old, new in (
        ("record.json", '"seed": 17', '"seed": 18'),
        ("metrics.jsonl", '"seconds": 50.0', '"seconds": 51.0'),
        ("recipe.yaml", "batch_size: 48", "batch_size: 40"),
    ):
        whole = (run / name).read_text()
        old = old if old in whole else old.replace("50.0", "5.0")
        assert old in whole
        (run / name).write_text(whole.replace(old, new, 1))
        with pytest.raises(ConfigError, match=rf"{name}: differs from what was written .*; restore it from a copy"):
            read_run(run)
        (run / name).write_text(whole)
    assert read_run(run).record == before.record


def test_who_stands_by_an_edit_takes_the_seal_away(run: Path) -> None:
    (run / "record.json").write_text((run / "record.json").read_text().replace('"seed": 17', '"seed": 18'))
    unseal(run)
    assert read_run(run).record["seed"] == 18


@pytest.mark.parametrize("value", [None, {}])
def test_records_of_earlier_versions_have_none(value: object, run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps(record | {"sha256": value, "seed": 18}))
    assert read_run(run).record["seed"] == 18


@pytest.mark.parametrize("value", [3, [], "x", {"record.json": 5}, {"../../x": None}])
def test_a_seal_of_another_shape_is_a_sentence(value: object, run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps(record | {"sha256": value}))
    with pytest.raises(ConfigError, match=r"record\.json: sha256"):
        read_run(run)


@pytest.mark.parametrize("content", [b"\xff\n", b'{"step": 0, "x": "\\ud800"}\n{}\n', b"[" * 9000 + b"\n{}\n"])
def test_metrics_that_are_no_text_name_their_file(content: bytes, run: Path) -> None:
    (run / "metrics.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=r"metrics\.jsonl"):
        read_run(run)
