"""A Prompting LLM that learns alone first: no backbone runs, W starts from what it learned, a stop changes no bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import relative
from helpers.run_parts import Trial, interrupt_at, learned, trial
from helpers.tiny import Tiny

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.recipe import Recipe
from transferkit.errors import ConfigError
from transferkit.methods.prompting_alone import PromptingAlone
from transferkit.methods.source import SourceEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import anchor_start
from transferkit.prompting.anchors import shared_tokens
from transferkit.training.signals import Interrupted
from transferkit.training.step import backward


def recipe_alone(tiny: Tiny, *, alone: int, steps: int, contrast: float | None = None, **changes: object) -> Recipe:
    mapping = tiny.mapping("train", optim={"steps": steps}, **changes)
    mapping["prompting"] |= {"alone_steps": alone, "contrast": contrast}
    return Recipe.model_validate(mapping)


def source_of(tiny: Tiny, recipe: Recipe) -> SourceEmbedder:
    found = trial(tiny, recipe).embedder
    assert isinstance(found, SourceEmbedder)
    return found


def learn(one: Trial, step: int) -> None:
    """A plain gradient step."""
    one.embedder.train()
    one.embedder.before_step(step)
    backward(one.embedder, one.data.batch(step), one.recipe.loss, micro_batch_size=None, seed=0, step=step)
    with torch.no_grad():
        for parameter in one.embedder.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
                parameter.grad = None


def anchors_now(embedder: SourceEmbedder) -> torch.Tensor:
    """The regression between the two vocabularies, from their tables as they are."""
    prompting, backbone = embedder.writer.prompting, embedder.backbone
    p, e = shared_tokens(
        prompting.encoder.tokenizer,
        backbone.encoder.tokenizer,
        rows=(prompting.encoder.num_rows, backbone.encoder.num_rows),
    )
    return anchor_start(prompting.token_table().detach()[p], backbone.token_table(e).float())


def test_alone_its_vectors_are_what_it_writes_and_no_backbone_reads(tiny: Tiny) -> None:
    embedder = source_of(tiny, recipe_alone(tiny, alone=2, steps=4))
    texts, tasks = ["a lost card", "the weather in rome"], ["Find it.", "Find it."]
    embedder.train()
    embedder.before_step(1)
    vectors = embedder.embed(texts, tasks)
    written = embedder.writer(texts, tasks)
    nothing = embedder.writer([""], ["Find it."])
    assert relative(vectors, (written - nothing).flatten(1)) < 1e-5
    assert embedder.take_tokens() == 0
    embedder.before_step(2)
    assert embedder.embed(texts, tasks).shape[1] == embedder.pooled_width(embedder.pooling)
    assert embedder.take_tokens() > 0


def test_w_starts_from_what_it_learned_alone(tiny: Tiny) -> None:
    one = trial(tiny, recipe_alone(tiny, alone=2, steps=3))
    embedder = one.embedder
    assert isinstance(embedder, SourceEmbedder)
    first = anchors_now(embedder)
    for step in range(2):
        learn(one, step)
    assert torch.equal(embedder.alignment.weight, first)  # nothing has touched it
    embedder.before_step(2)
    assert relative(embedder.alignment.weight, anchors_now(embedder)) < 1e-6
    assert relative(embedder.alignment.weight, first) > 1e-6


def test_an_evaluation_meanwhile_reads_through_such_a_start(tiny: Tiny) -> None:
    one = trial(tiny, recipe_alone(tiny, alone=2, steps=3))
    embedder = one.embedder
    assert isinstance(embedder, SourceEmbedder)
    learn(one, 0)
    embedder.eval()
    assert relative(embedder.alignment.weight, anchors_now(embedder)) < 1e-6
    assert embedder.encode(["a text"]).shape[1] == embedder.pooled_width(embedder.pooling)


@pytest.mark.parametrize(("stop", "contrast"), [(1, None), (2, 0.5), pytest.param(3, None, marks=pytest.mark.slow)])
def test_a_stop_changes_no_bit(tiny: Tiny, tmp_path: Path, stop: int, contrast: float | None) -> None:
    recipe = recipe_alone(tiny, alone=2, steps=4, contrast=contrast, save_every=1, eval={"every": 2})
    whole, stopped = trial(tiny, recipe), trial(tiny, recipe)
    whole.fit(tmp_path / "whole")
    stopped.progress.on_step = interrupt_at(stop)
    with pytest.raises(Interrupted):
        stopped.fit(tmp_path / "stopped")
    again = trial(tiny, recipe)
    again.fit(tmp_path / "stopped")
    expected = learned(whole.embedder)
    assert all(torch.equal(value, expected[name]) for name, value in learned(again.embedder).items())


def test_every_backbone_starts_anew(tiny: Tiny) -> None:
    mapping = tiny.mapping("train", optim={"steps": 3})
    mapping["prompting"]["alone_steps"] = 1
    mapping["embedding"]["more_backbones"] = [str(tiny.target)]
    one = trial(tiny, Recipe.model_validate(mapping))
    embedder = one.embedder
    assert isinstance(embedder, SourceEmbedder)
    before = [a.alignment.weight.clone() for a in (embedder, *embedder.others)]  # type: ignore[union-attr]
    learn(one, 0)
    embedder.before_step(1)
    after = [a.alignment.weight for a in (embedder, *embedder.others)]  # type: ignore[union-attr]
    assert all(relative(b, a) > 1e-6 for a, b in zip(before, after, strict=True))


def test_contrast_goes_with_the_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    """Its gain is measured where W starts, kept in the checkpoint, and taken over by whoever adapts."""
    recipe = recipe_alone(tiny, alone=2, steps=4, contrast=0.5)
    one = trial(tiny, recipe)
    embedder = one.embedder
    assert isinstance(embedder, SourceEmbedder)
    at_first = embedder.writer.gain
    one.fit(tmp_path / "run")
    gain = embedder.writer.gain
    assert at_first is not None
    assert gain is not None
    assert gain != at_first
    save(embedder.eval(), tmp_path / "checkpoint", instructions={})
    again = load(tmp_path / "checkpoint")
    np.testing.assert_allclose(again.encode(["a cat"]), embedder.encode(["a cat"]), atol=1e-5)
    adapted = trial(tiny, tiny.recipe("adapt"), source=tmp_path / "checkpoint").embedder
    assert isinstance(adapted, PromptEmbedder)
    assert adapted.writer.gain == gain
    alone = adapted.without_backbone()
    assert isinstance(alone, PromptingAlone)
    assert alone.writer.gain == gain


@pytest.mark.parametrize(
    ("task", "changes", "sentence"),
    [
        ("adapt", {"contrast": 0.5}, "prompting.contrast: only in train, later the source decides it"),
        ("train", {"contrast": 0.5, "reads": "instruction"}, "prompting.contrast: a prompt of the instruction alone"),
    ],
)
def test_contrast_where_there_is_none(tiny: Tiny, task: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiny.recipe(task, prompting=changes)


@pytest.mark.parametrize(
    ("task", "alone", "sentence"),
    [
        ("adapt", 1, "prompting.alone_steps: only in train does the Prompting LLM learn"),
        ("train", 4, r"prompting.alone_steps: expected fewer than optim.steps \(4\), so that W learns too, got 4"),
    ],
)
def test_steps_that_cannot_be(tiny: Tiny, task: str, alone: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiny.recipe(task, prompting={"alone_steps": alone}, optim={"steps": 4})
