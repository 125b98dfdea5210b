"""The record of a run: docs/formats.md names every key of it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.parts import source_checkpoint
from helpers.run_parts import QUIET, Stopped
from helpers.tiny import Tiny

from transferkit.errors import ConfigError, RunError
from transferkit.files.builtin import TOY
from transferkit.runner.prepare import Inputs
from transferkit.runner.resuming import check_unchanged
from transferkit.runner.run import resume, start
from transferkit.runs.checkpoint_folder import _RESEALED, source_facts
from transferkit.runs.folder import read_metrics, read_run, write_metrics
from transferkit.training.signals import Interrupted

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"


def documented(heading: str) -> set[str]:
    """Names in the first column of the table below a line."""
    text = PAGE.read_text(encoding="utf-8").partition(f"{heading}\n\n")[2].partition("\n\n")[0]
    return set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in text.splitlines())))


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return content


def test_every_key_is_documented(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_checkpoint(tiny, tmp_path / "source")
    written: set[str] = set()
    for task, given in (("train", None), ("adapt", source)):
        inputs = Inputs(source=given, data_dir=tiny.data)
        folder = start(tiny.recipe(task, optim={"steps": 1}), inputs, runs=tmp_path, name=task, console=QUIET)
        written |= record(folder).keys()
        kept = read_run(folder).outcomes["intents"]
        assert 100 * np.mean(kept["values"]) == pytest.approx(record(folder)["best"]["score"])
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        assert {key for row in rows for key in row} <= named_in_prose()
    ready = tiny.recipe("baseline", method="encoder", embedding={"backbone": str(tiny.encoder)})
    written |= record(start(ready, Inputs(data_dir=tiny.data), runs=tmp_path, name="ready", console=QUIET)).keys()

    with monkeypatch.context() as patch:
        patch.setattr("transferkit.training.step.batch_loss", lambda vectors, *_: vectors.sum() * float("nan"))
        with pytest.raises(RunError, match="the loss is nan"):
            start(tiny.recipe("adapt"), inputs, runs=tmp_path, name="diverged", console=QUIET)
    written |= record(tmp_path / "diverged").keys()

    def fail(*_: object, **__: object) -> None:
        raise RunError("no more of this")

    monkeypatch.setattr("transferkit.runner.work.fit", fail)
    with pytest.raises(RunError, match="no more of this"):
        start(tiny.recipe("adapt"), inputs, runs=tmp_path, name="failed", console=QUIET)
    assert record(tmp_path / "failed")["error"] == "no more of this"
    assert written | record(tmp_path / "failed").keys() == documented("`record.json`:")


def named_in_prose() -> set[str]:
    """Names in the paragraph on the rows of ``metrics.jsonl``."""
    (paragraph,) = re.findall(r"^A row of `metrics\.jsonl` has .*?\n\n", PAGE.read_text("utf-8"), re.DOTALL | re.M)
    return set(re.findall(r"`(\w+)`", paragraph))


def test_a_run_from_the_bundled_toy_as_it_was_sealed_before_goes_on(tmp_path: Path) -> None:
    (now,) = set(_RESEALED.values())
    before = next(iter(_RESEALED))
    assert source_facts(TOY)["sha256"] == now
    rest: dict[str, Any] = {"data": {}, "backbone": None}
    check_unchanged(tmp_path, {"source": {"sha256": before}} | rest, {"source": {"sha256": now}} | rest)
    for other in ({"sha256": "0"}, None):
        with pytest.raises(ConfigError, match="the source checkpoint changed since this run began"):
            check_unchanged(tmp_path, {"source": other} | rest, {"source": {"sha256": now}} | rest)
    with pytest.raises(ConfigError, match="the Prompting LLM changed since this run began"):  # it is not there any more
        check_unchanged(tmp_path, {"source": None, "prompting_weights_sha256": "0"} | rest, {"source": None} | rest)


@pytest.mark.parametrize("dev", ["intents", "sts"])
def test_a_run_from_before_there_were_halves_does_not_go_on(
    dev: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its dev set has halves by now, or is too small for them."""
    sets = [{**one, "select": True} for one in tiny.mapping("adapt")["data"]["dev"] if one["name"] == dev]
    recipe = tiny.recipe("baseline", method="prompt-tuning", data={"dev": sets})
    monkeypatch.setattr("transferkit.runner.run.Progress", Stopped)
    folder = tmp_path / "old"
    with pytest.raises(Interrupted):
        start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, name="old", console=QUIET)
    now, rows = record(folder), read_metrics(folder)
    then = {**now, "data": {**now["data"], "dev": [_without(one, "reported_rows") for one in now["data"]["dev"]]}}
    for begun, measured in ((then, []), (now, [_without(row, "choosing") for row in rows])):
        (folder / "record.json").write_text(json.dumps(begun))
        write_metrics(folder, measured)
        with pytest.raises(
            ConfigError, match=r"old: an earlier version .* began this run.*finish it with that version"
        ):
            resume(folder, console=QUIET)
    assert rows


def _without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
