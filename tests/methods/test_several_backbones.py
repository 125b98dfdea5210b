"""A source trained on several backbones: whose turn it is, whose weights learn, and what is kept."""

from pathlib import Path

import pytest
import torch
from helpers.parts import digests, relative
from helpers.run_parts import QUIET, build, trial
from helpers.tiny import Tiny

from transferkit.checkpoints.checkpoint import load
from transferkit.config.recipe import Recipe
from transferkit.errors import ConfigError
from transferkit.methods.source import SourceEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.runner.prepare import Inputs, resolved
from transferkit.runner.run import start
from transferkit.training.step import backward


def recipe_on_both(tiny: Tiny, **changes: object) -> Recipe:
    mapping = tiny.mapping("train", **changes)
    mapping["embedding"]["more_backbones"] = [str(tiny.target)]
    return Recipe.model_validate(mapping)


def gradients(embedder: PromptEmbedder, batch: object, recipe: Recipe) -> dict[str, torch.Tensor]:
    embedder.train()
    backward(embedder, batch, recipe.loss, micro_batch_size=None, seed=0, step=0)  # type: ignore[arg-type]
    return {name: p.grad for name, p in embedder.named_parameters() if p.grad is not None}


def test_each_turn_is_the_backbone_alone(tiny: Tiny) -> None:
    both = trial(tiny, recipe_on_both(tiny))
    assert isinstance(both.embedder, SourceEmbedder)
    batch = both.data.batch(0)
    mapping = tiny.mapping("train")
    mapping["embedding"]["backbone"] = str(tiny.target)
    recipe = resolved(Recipe.model_validate(mapping), source=None)
    alone = build(recipe, source=None)
    assert isinstance(alone, PromptEmbedder)
    expected = gradients(alone, batch, recipe)

    both.embedder.before_step(1)
    found = gradients(both.embedder, batch, recipe)
    assert not any(name.startswith("alignment.") for name in found)
    for name, gradient in expected.items():
        same = name.replace("alignment.", "others.0.alignment.")
        assert relative(found[same], gradient) < 1e-5, name
    assert both.embedder.take_tokens() == alone.take_tokens()

    for parameter in both.embedder.parameters():
        parameter.grad = None
    both.embedder.before_step(2)
    assert not any(name.startswith("others.") for name in gradients(both.embedder, batch, recipe))


def test_training_moves_every_alignment_and_keeps_the_first_backbone(tiny: Tiny, tmp_path: Path) -> None:
    recipe = recipe_on_both(tiny, optim={"steps": 4}, save_every=2, eval={"keep": "last"})
    one = trial(tiny, recipe)
    before = digests(one.embedder)
    one.fit(tmp_path / "whole")
    changed = {name for name, digest in digests(one.embedder).items() if before[name] != digest}
    assert {"alignment.weight", "others.0.alignment.weight"} <= changed
    assert not any("backbone." in name for name in changed)


def test_the_checkpoint_is_an_ordinary_source(tiny: Tiny, tmp_path: Path) -> None:
    recipe = recipe_on_both(tiny, optim={"steps": 2})
    folder = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, console=QUIET)
    loaded = load(folder)
    assert isinstance(loaded, PromptEmbedder)
    assert not isinstance(loaded, SourceEmbedder)
    assert loaded.backbone.spec.location == str(tiny.source)


@pytest.mark.parametrize("task", ["adapt", "baseline"])
def test_only_train_takes_several(tiny: Tiny, task: str) -> None:
    embedding = tiny.mapping(task)["embedding"] | {"more_backbones": [str(tiny.source)]}
    with pytest.raises(ConfigError, match="only in train do several backbones share a Prompting LLM"):
        tiny.recipe(task, embedding=embedding)
