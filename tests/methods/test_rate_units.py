"""Learning rates of what stands among token embeddings are in units of their size: one rate suits every decoder."""

from pathlib import Path

import pytest
import torch
from helpers.parts import load_prompting, load_reader, source_checkpoint
from helpers.run_parts import learned, trial
from helpers.tiny import Tiny
from torch import Tensor

from transferkit.config.recipe import Recipe

RATES = {"lr": 3e-3, "lr_alignment": 2e-3, "lr_offset": 1e-2, "clip_norm": None, "steps": 1}


def size(table: Tensor) -> float:
    return float(table.double().square().mean().sqrt())


def moved(before: dict[str, Tensor], after: dict[str, Tensor], name: str) -> float:
    """The largest move of a number: the first step of Adam is the learning rate, whatever the gradient."""
    return float((after[name] - before[name]).abs().max())


def first_step(tiny: Tiny, recipe: Recipe, folder: Path, source: Path | None = None) -> dict[str, float]:
    one = trial(tiny, recipe, source=source)
    before = learned(one.embedder)
    one.fit(folder)
    after = learned(one.embedder)
    return {name: moved(before, after, name) for name in before}


def test_w_and_offsets(tiny: Tiny, tmp_path: Path) -> None:
    source = source_checkpoint(tiny, tmp_path / "source")
    found = first_step(tiny, tiny.recipe("adapt", optim=RATES, eval={"keep": "last"}), tmp_path / "run", source)
    embeddings = size(load_reader(tiny.target).decoder.token_table())
    soft = size(load_prompting(tiny.prompting).token_table().detach())
    assert found["alignment.offset"] == pytest.approx(1e-2 * embeddings, rel=1e-3)
    assert found["alignment.weight"] == pytest.approx(2e-3 * embeddings / soft, rel=1e-3)


def test_every_backbone_of_a_source_has_its_own(tiny: Tiny, tmp_path: Path) -> None:
    mapping = tiny.mapping("train", optim=RATES | {"steps": 2}, eval={"keep": "last"})
    mapping["embedding"]["more_backbones"] = [str(tiny.target)]
    found = first_step(tiny, Recipe.model_validate(mapping), tmp_path / "run")
    for prefix, folder in (("", tiny.source), ("others.0.", tiny.target)):
        expected = 1e-2 * size(load_reader(folder).decoder.token_table())
        assert found[f"{prefix}alignment.offset"] == pytest.approx(expected, rel=1e-3)


def test_free_vectors(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe("baseline", method="prompt-tuning", optim=RATES, eval={"keep": "last"})
    expected = 3e-3 * size(load_reader(tiny.target).decoder.token_table())
    assert first_step(tiny, recipe, tmp_path / "run")["prompt"] == pytest.approx(expected, rel=1e-3)


def test_adapters_learn_at_the_rate_itself(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe("baseline", method="lora", optim=RATES, eval={"keep": "last"})
    assert max(first_step(tiny, recipe, tmp_path / "run").values()) == pytest.approx(3e-3, rel=1e-3)


def test_a_large_vocabulary_is_sampled(tiny: Tiny) -> None:
    decoder = load_reader(tiny.target).decoder
    assert decoder.embedding_rms == pytest.approx(size(decoder.token_table()), rel=1e-5)
    assert torch.isfinite(torch.tensor(decoder.embedding_rms))
