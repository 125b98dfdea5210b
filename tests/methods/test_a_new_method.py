"""A method is one file: the documentation's example is trained, saved, opened, compared, embedded and evaluated."""

import importlib.util
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.evaluate_call import evaluate
from helpers.parts import load_reader
from helpers.run_parts import QUIET, Stopped, learned, trial, untimed
from helpers.tiny import Tiny
from rich.console import Console

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config import methods
from transferkit.config.methods import baseline_methods
from transferkit.convergence.comparison import compare
from transferkit.embed.files import embed_file
from transferkit.errors import ConfigError
from transferkit.evaluation.encoder import MtebEncoder
from transferkit.evaluation.models import find_models
from transferkit.evaluation.readings import ReadingOptions
from transferkit.methods import registry
from transferkit.methods.base import Embedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.runner.dry_run import describe
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import resume, start
from transferkit.runs.folder import read_run
from transferkit.training.signals import Interrupted

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"
TEXTS = ["a red cat", "i see two cars in the water", "no"]
LEARNING = {"optim": {"steps": 4, "lr": 0.1}, "eval": {"every": 2, "keep": "last"}}


@pytest.fixture(name="gain")
def make_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's class, known for the time of a test."""
    monkeypatch.setattr(methods, "_registered", {})
    monkeypatch.setattr(registry, "_registered", {})
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    file = tmp_path / "gain.py"
    file.write_text(code[1], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("gain", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return registry.register(module.GainEmbedder)


def test_it_is_not_known_before_it_is_there(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"method: expected 'lora', .* or 'tfidf', got 'gain'"):
        tiny.recipe("baseline", method="gain")


def test_it_is_trained_saved_opened_compared_embedded(tiny: Tiny, tmp_path: Path, gain: type[Embedder]) -> None:
    assert baseline_methods()[-1] == "gain"
    recipe, inputs = tiny.recipe("baseline", method="gain", **LEARNING), Inputs(data_dir=tiny.data)
    folder = start(recipe, inputs, runs=tmp_path / "runs", console=QUIET)
    run = read_run(folder)
    assert (run.record["method"], run.record["label"]) == ("gain", "gain")
    assert run.record["parameters"]["trainable"] == 48

    opened = load(folder)
    assert isinstance(opened, gain)
    one = trial(tiny, recipe)
    before = one.embedder.encode(TEXTS)
    one.fit(tmp_path / "again")
    np.testing.assert_allclose(opened.encode(TEXTS, readout=False), one.embedder.encode(TEXTS), atol=1e-6)
    assert np.abs(one.embedder.encode(TEXTS) - before).max() > 1e-3

    other = tiny.recipe("baseline", method="lora", **LEARNING)
    lora = start(other, inputs, runs=tmp_path / "runs", console=QUIET)
    table = compare([run, read_run(lora)])
    assert [row.series.method for row in table.rows if row.series.readout == "plain"] == ["lora", "gain"]

    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    embed_file(folder, str(tmp_path / "texts.txt"), tmp_path / "texts.npy", console=QUIET)
    np.testing.assert_allclose(np.load(tmp_path / "texts.npy"), opened.encode(TEXTS), atol=1e-5)
    assert MtebEncoder(opened, name="gain").revision != MtebEncoder(load(lora), name="lora").revision


def test_it_is_planned_and_resumed_bit_for_bit(
    tiny: Tiny, tmp_path: Path, gain: type[Embedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, inputs = tiny.recipe("baseline", method="gain", **LEARNING), Inputs(data_dir=tiny.data)
    plan = describe(recipe, inputs)
    assert "method: gain" in plan
    assert "full: no soft tokens, so the whole row is one pass" in plan
    whole = start(recipe, inputs, runs=tmp_path, console=QUIET, name="whole")
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(recipe, inputs, runs=tmp_path, console=QUIET, name="halves")
    resume(tmp_path / "halves", console=QUIET)
    assert untimed(read_run(tmp_path / "halves").metrics) == untimed(read_run(whole).metrics)
    first, second = load(whole), load(tmp_path / "halves")
    assert learned(first).keys() == learned(second).keys()
    np.testing.assert_array_equal(first.encode(TEXTS), second.encode(TEXTS))


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
