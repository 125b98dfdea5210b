"""What a run says of its precision: resolved once, kept when it goes on, told in its first line, record and plan."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.run_parts import QUIET, Stopped
from helpers.tiny import Tiny
from rich.console import Console

from transferkit.config.recipes import read_recipe, recorded_recipe
from transferkit.config.schema import dump_yaml, read_yaml
from transferkit.decoder import device
from transferkit.errors import ConfigError
from transferkit.files.builtin import bundled_dir
from transferkit.runner.dry_run import describe
from transferkit.runner.prepare import Inputs, resolved
from transferkit.runner.run import resume, start
from transferkit.runs.folder import read_run
from transferkit.study.plan import Planned
from transferkit.study.run import is_same_run
from transferkit.training.signals import Interrupted


@pytest.fixture(name="fast")
def make_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which bfloat16 is 3.4 times as fast."""
    monkeypatch.setenv(device.CACHE, str(tmp_path / "cache"))
    device.remember(torch.device("cpu"), 3.4)


def inputs(tiny: Tiny) -> Inputs:
    return Inputs(data_dir=tiny.data)


@pytest.mark.usefixtures("fast")
def test_auto_is_resolved_and_said(tiny: Tiny, tmp_path: Path) -> None:
    said = Console(file=StringIO(), width=400)
    recipe = tiny.recipe("baseline", method="lora", precision="auto", optim={"steps": 1})
    run = read_run(start(recipe, inputs(tiny), runs=tmp_path / "runs", console=said))
    first, *_ = said.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.endswith("trainable parameters; precision bfloat16 (measured: 3.4x float32 here)")
    assert run.recipe["precision"] == "bfloat16"
    assert (run.record["precision"], run.record["bfloat16_speed"]) == ("bfloat16", 3.4)
    assert run.record["backbone"]["dtype"] == "bfloat16"
    checkpoint = json.loads((run.folder / "checkpoint" / "embedder.json").read_text(encoding="utf-8"))
    assert checkpoint["backbone"]["dtype"] == "bfloat16"


@pytest.mark.usefixtures("fast")
def test_the_plan_says_it(tiny: Tiny) -> None:
    auto = describe(tiny.recipe("baseline", method="lora", precision="auto"), inputs(tiny))
    asked = describe(tiny.recipe("baseline", method="lora"), inputs(tiny))
    assert "computed in             precision bfloat16 (measured: 3.4x float32 here)" in auto
    assert "weights                 bfloat16, quantization none" in auto
    assert "computed in             precision float32\n" in asked
    backward = [float(text.split("kept for backward")[1].split()[0]) for text in (auto, asked)]
    assert 0.3 < backward[0] / backward[1] < 0.9  # activations of half the size, and some that are not


def test_a_method_without_a_model_measures_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.runner.prepare.choose_precision", pytest.fail)
    found = resolved(tiny.recipe("baseline", method="tfidf", precision="auto"), source=None)
    assert found.precision == "float32"


def test_a_run_goes_on_in_what_it_began_with(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe("train", precision="auto")
    for speed, runs in ((3.4, "straight"), (3.4, "halves"), (0.2, "halves")):  # and then another machine
        monkeypatch.setenv(device.CACHE, str(tmp_path / f"cache-{speed}"))
        device.remember(torch.device("cpu"), speed)
        with monkeypatch.context() as patch:
            if runs == "straight":
                straight = start(recipe, inputs(tiny), runs=tmp_path / runs, console=QUIET)
            elif speed == 3.4:
                patch.setattr("transferkit.runner.run.Progress", Stopped)
                with pytest.raises(Interrupted):
                    start(recipe, inputs(tiny), runs=tmp_path / runs, console=QUIET)
            else:
                (folder,) = (tmp_path / runs).iterdir()
                resume(folder, console=QUIET)
    first, second = read_run(straight), read_run(folder)
    for run in (first, second):
        assert (run.record["precision"], run.record["bfloat16_speed"]) == ("bfloat16", 3.4)
    assert [row["scores"] for row in first.metrics] == [row["scores"] for row in second.metrics]
    # A study that asks for `auto` takes the run for its own here too, and refuses it where another one is asked for.
    planned = Planned(name="halves", recipe=recipe, source=None, folder=folder)
    assert is_same_run(planned)
    other = tiny.recipe("train", precision="float32")
    with pytest.raises(ConfigError, match="holds a run of another recipe"):
        is_same_run(Planned(name="halves", recipe=other, source=None, folder=folder))


# Recipes of earlier versions, in which the backbone alone had a precision


def earlier(tiny: Tiny, folder: Path, **embedding: Any) -> Path:
    mapping = tiny.mapping("baseline", method="lora", embedding=embedding)
    del mapping["precision"]
    file = folder / "recipe.yaml"
    file.write_text(dump_yaml(mapping), encoding="utf-8")
    return file


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_embedding_dtype_is_refused_in_a_recipe_and_understood_in_a_run_folder(
    tiny: Tiny, tmp_path: Path, dtype: str
) -> None:
    file = earlier(tiny, tmp_path, dtype=dtype)
    with pytest.raises(ConfigError) as refused:
        read_recipe(str(file))
    assert str(refused.value) == (
        f"{file}: embedding.dtype: is the key `precision` now, at the top level, for every model of a run; remove this "
        f"one and write precision: {dtype}, or precision: auto"
    )
    assert recorded_recipe(tmp_path).precision == dtype
    assert read_yaml(file)["embedding"]["dtype"] == dtype  # what lies there is left alone


def test_embedding_dtype_is_refused_as_an_override(tiny: Tiny, tmp_path: Path) -> None:
    file = tiny.write(tmp_path, "train")
    with pytest.raises(ConfigError, match=r"embedding\.dtype: is the key `precision` now.*write precision: bfloat16"):
        read_recipe(str(file), overrides=["embedding.dtype=bfloat16"])


def test_a_published_run_is_one_in_float32() -> None:
    assert recorded_recipe(bundled_dir("toy")).precision == "float32"
