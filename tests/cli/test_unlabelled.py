"""``adapt --unlabelled``: from a file of texts alone to a checkpoint, stopped and resumed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.parts import source_checkpoint
from helpers.run_parts import Stopped
from helpers.tiny import Tiny
from zoo import WORDS

from transferkit.config.recipes import read_recipe
from transferkit.runs.folder import read_record, read_run


@pytest.fixture(name="here")
def make_here(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source and a file of texts: no pairs, no dev sets, though the recipe names some."""
    rng = np.random.default_rng(8)
    lines = {" ".join(rng.choice(WORDS, size=int(rng.integers(4, 9)))) for _ in range(160)}
    (tmp_path / "texts.txt").write_text("\n".join(sorted(lines)) + "\n")
    source_checkpoint(tiny, tmp_path / "source")
    tiny.write(tmp_path, "adapt", readout={"kind": "whiten", "sample": 20, "ridge": 0.2})
    monkeypatch.chdir(tmp_path)
    return tmp_path


ADAPT = ("adapt", "adapt.yaml", "--source", "source", "--unlabelled", "texts.txt")


def the_run(parent: str) -> Path:
    (folder,) = Path(parent).glob("[!.]*")
    return folder


def test_texts_alone_are_enough(here: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*ADAPT) == 0
    folder = the_run("runs")
    assert "the teacher (source) has read" in capsys.readouterr().err
    record, recipe = read_record(folder), read_recipe(str(folder / "recipe.yaml"))
    assert record["status"] == "done"
    assert record["label"].endswith(", label-free")
    assert record["teacher"]["kind"] == "source"
    assert record["teacher"]["sha256"] == record["source"]["sha256"]
    sets = [recipe.data.train, recipe.data.dev]
    assert [[(one.name, one.kind, one.path, one.part) for one in some] for some in sets] == [  # type: ignore[attr-defined]
        [("unlabelled", "texts", str(here / "texts.txt"), part)] for part in ("train", "dev")
    ]
    assert (recipe.readout.ridge, recipe.optim.steps) == (0.2, 4)  # the rest of the recipe
    rows = read_run(folder).metrics
    assert [set(row["scores"]) for row in rows] == [{"unlabelled"}] * 3
    assert all(row["score"]["plain"] and row["score"]["readout"] for row in rows)
    assert rows[1]["seconds"] > rows[0]["seconds"] == 0
    assert call("embed", folder, "texts.txt", "--out", "vectors.npy", "--quiet") == 0
    assert np.isfinite(np.load("vectors.npy")).all()


def test_a_stopped_run_goes_on_from_another_folder(
    here: Path, call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        assert call(*ADAPT, "--runs", here / "stopped") == 130
    assert "continue with `transferkit adapt --resume" in capsys.readouterr().err
    assert call(*ADAPT, "--runs", "straight") == 0
    monkeypatch.chdir(here.parent)
    assert call("adapt", "--resume", the_run(str(here / "stopped"))) == 0
    learned = [the_run(str(here / name)) / "checkpoint" / "learned.safetensors" for name in ("stopped", "straight")]
    assert learned[0].read_bytes() == learned[1].read_bytes()


def test_the_plan_says_who_teaches_what(
    here: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.iterdir())
    assert call(*ADAPT, "--dry-run") == 0
    text = capsys.readouterr().out
    count = len((here / "texts.txt").read_text().splitlines())
    rows = dict(re.findall(r"^  (\S.*?) {2,}(.*)$", text, flags=re.MULTILINE))
    assert f"{count - 50} rows" in rows["train unlabelled"]
    assert rows["dev unlabelled"] == "texts, 50 texts, 0 skipped, selects"
    assert rows["source"] == "source"
    assert rows["reads"] == "32 texts of the steps and 50 of dev sets, once, before the first step"
    assert "similarities, unlabelled" in text
    assert "negatives, unlabelled" not in text
    assert "weight on pairs" not in text
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("teacher", ["model", "kept.parquet", "kept.npy"])
def test_another_teacher(tiny: Tiny, here: Path, call: Callable[..., int], teacher: str) -> None:
    given = str(tiny.source)
    if teacher != "model":
        assert call("embed", "source", "texts.txt", "--out", teacher, "--quiet") == 0
        given = teacher
    assert call(*ADAPT, "--teacher", given, "--set", "optim.steps=1", "--quiet") == 0
    folder = the_run("runs")
    recipe = read_recipe(str(folder / "recipe.yaml"))
    assert recipe.teacher is not None
    found: dict[str, Any] = recipe.teacher.model_dump(include={"model", "vectors"})
    if teacher == "model":
        assert found == {"model": given, "vectors": None}
    else:
        assert found == {"model": None, "vectors": str(here / teacher)}
    assert read_record(folder)["teacher"]["kind"] == ("decoder" if teacher == "model" else "vectors")


def test_a_column_of_a_table(here: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    lines = (here / "texts.txt").read_text().splitlines()
    (here / "table.csv").write_text("id,my: text\n" + "".join(f"{i},{line}\n" for i, line in enumerate(lines)))
    command = (*ADAPT[:-1], "table.csv", "--column", "my: text", "--dry-run")
    assert call(*command) == 0
    assert f"texts, {len(lines) - 50} rows" in capsys.readouterr().out
    assert call("adapt", "adapt.yaml", "--source", "source", "--column", "text") == 2
    assert "--column says where the text is in the file of --unlabelled" in capsys.readouterr().err


def test_pairs_beside_a_teacher(tiny: Tiny, here: Path, call: Callable[..., int]) -> None:
    tiny.write(here, "train")
    command = ("train", "train.yaml", "--data-dir", tiny.data, "--set", "optim.steps=1", "--quiet", "--json")
    assert call(*command, "--teacher", "source", "--set", "teacher.weight=0.5") == 0
    folder = the_run("runs")
    recipe = read_recipe(str(folder / "recipe.yaml"))
    assert recipe.teacher is not None
    assert (recipe.teacher.model, recipe.teacher.weight) == (str(here / "source"), 0.5)
    assert [one.kind for one in recipe.data.train] == ["labelled", "pairs"]
    assert json.loads((folder / "record.json").read_text())["teacher"]["kind"] == "checkpoint"
    # A resolved recipe is a recipe: a section that it leaves out can be set.
    assert call(*command, "--runs", "plain") == 0
    plain = the_run("plain") / "recipe.yaml"
    assert read_recipe(str(plain)).teacher is None
    changed = read_recipe(str(plain), overrides=["teacher.model=source"]).teacher
    assert changed is not None
    assert changed.model == "source"
