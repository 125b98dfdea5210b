"""A method from outside of the folder: what is refused, what its facts are read for, and its figures."""

import importlib.util
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluate_call import evaluate
from helpers.pages import python_of
from helpers.parts import load_reader
from helpers.tiny import Tiny
from rich.console import Console

from transferkit.checkpoints.checkpoint import save
from transferkit.config import methods
from transferkit.errors import ConfigError
from transferkit.evaluation.models import find_models
from transferkit.evaluation.readings import ReadingOptions
from transferkit.methods import registry
from transferkit.methods.base import Embedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runs.folder import read_run

TEXTS = ["a red cat", "i see two cars in the water", "no"]
LEARNING = {"optim": {"steps": 4, "lr": 0.1}, "eval": {"every": 2, "keep": "last"}}


@pytest.fixture(name="gain")
def make_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's class, known for the time of a test."""
    monkeypatch.setattr(methods, "_registered", {})
    monkeypatch.setattr(registry, "_registered", {})
    (code,) = python_of("docs/adding-a-method.md")
    file = tmp_path / "gain.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("gain", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return registry.register(module.GainEmbedder)


@pytest.mark.parametrize("mode", [[], ["--dry-run"]])
def test_that_it_is_read_in_one_way_is_said_before_another_model_is_scored(
    tiny: Tiny,
    tmp_path: Path,
    gain: Any,
    mode: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0)
    save(FrozenEmbedder(reader, pooling="mean"), tmp_path / "frozen", instructions={})
    save(gain(reader, torch.ones(48), pooling="mean"), tmp_path / "learned", instructions={})
    common = [tmp_path / "frozen", tmp_path / "learned", "--tasks", "STS12", "--out", tmp_path / "out", *mode]
    assert evaluate(monkeypatch, *common, "--templates", "plain,prompteol") == 2
    said = capsys.readouterr()
    assert said.err == (
        f"error: --templates: {tmp_path / 'learned'} (gain) can be read in one way only; evaluate it without\n"
    )
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_an_unknown_method_is_refused_by_the_plan(
    tiny: Tiny,
    tmp_path: Path,
    gain: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0)
    save(gain(reader, torch.ones(48), pooling="mean"), tmp_path / "learned", instructions={})
    monkeypatch.setattr(methods, "_registered", {})
    assert evaluate(monkeypatch, tmp_path / "learned", "--tasks", "STS12", "--dry-run") == 2
    assert "learned: checkpoint of kind 'gain': no method is called so" in capsys.readouterr().err


def test_what_is_left_of_it_without_its_decoder_is_evaluated_too(tiny: Tiny, tmp_path: Path, gain: Any) -> None:
    class Halves(gain):  # type: ignore[misc]
        facts = replace(gain.facts, name="halves", kind="halves", alone="one half")

        def without_backbone(self) -> Embedder:
            return FrozenEmbedder(self.reader, pooling="static")

    registry.register(Halves)
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0)
    folder = tmp_path / "learned"
    save(Halves(reader, torch.ones(48), pooling="mean"), folder, instructions={})
    (model,) = find_models([str(folder)], ReadingOptions(), instructions={}, device="cpu", prompting_alone=True)
    assert model.methods == ["halves", "one half"]
    assert [encoder.method for group in model.groups() for encoder in group] == model.methods


def test_its_figures_are_in_its_rows_and_on_the_progress_line(tiny: Tiny, tmp_path: Path, gain: Any) -> None:
    class Shown(gain):  # type: ignore[misc]
        facts = replace(gain.facts, name="shown", kind="shown")

        def figures(self) -> dict[str, float]:
            return {"largest": float(self.gain.detach().max())}

    registry.register(Shown)
    recipe, console = tiny.recipe("baseline", method="shown", **LEARNING), Console(file=StringIO(), width=200)
    folder = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, console=console)
    first, *_, last = read_run(folder).metrics
    assert list(last)[4:8] == ["loss", "collapse", "largest", "variant"]
    assert "largest" not in first  # before any step there is none
    assert last["collapse"] is None
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line for line in lines if "step     4" in line and f"  largest {last['largest']:.3f}  " in line]
    assert not [line for line in lines if "collapse" in line]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "lora"}, "Other: the name 'lora' is taken by the method lora; choose another one"),
        ({"name": "gain"}, "Other: the name 'gain' is taken by the method gain; choose another one"),
        ({"name": "other", "kind": "lora"}, "Other: the kind 'lora' is taken by the method lora; choose another one"),
        ({"name": "other", "kind": "gain"}, "Other: the kind 'gain' is taken by the method gain; choose another one"),
        ({"name": "other", "task": "adapt"}, "Other: `adapt` has its method already; the task must be 'baseline'"),
    ],
)
def test_a_name_that_is_taken_is_refused(gain: Any, changes: dict[str, Any], says: str) -> None:
    class Other(gain):  # type: ignore[misc]
        facts = replace(gain.facts, **({"kind": "other"} | changes))

    known = methods.all_methods()
    with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
        registry.register(Other)
    assert methods.all_methods() == known
    assert registry.method_class(gain.facts) is gain


def test_the_same_class_may_be_defined_again(gain: Any) -> None:
    """As a cell of a notebook is run twice."""
    again = type(gain.__name__, (gain,), {"__module__": gain.__module__, "facts": replace(gain.facts, title="gains")})
    registry.register(again)
    assert registry.method_class(again.facts) is again
    assert methods.all_methods()["gain"].title == "gains"


def test_methods_without_a_checkpoint_share_no_kind(gain: Any) -> None:
    class Floor(gain):  # type: ignore[misc]
        facts = replace(gain.facts, name="floor", kind=None)

    assert registry.register(Floor) is Floor
