"""Methods in bfloat16: what they compute in, what they keep, and that a checkpoint gives the vectors of its run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, relative, source_checkpoint
from helpers.products import Products
from helpers.run_parts import Trial, trial
from helpers.tiny import Tiny
from torch import Tensor

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.methods import MethodFacts, all_methods
from transferkit.evaluation.meta import revision
from transferkit.training.step import backward

WITH_A_MODEL = [facts for facts in all_methods().values() if facts.has_backbone or facts.needs_source]
LEARNS = [facts for facts in WITH_A_MODEL if facts.learns]
NAMES: dict[str, Any] = {"ids": lambda facts: facts.name}


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("precision") / "source", offsets=0.1)


def built(tiny: Tiny, facts: MethodFacts, source: Path, precision: str, **changes: Any) -> Trial:
    named = {"method": facts.name} if facts.task == "baseline" else {}
    recipe = tiny.recipe(facts.task, **named, precision=precision, **{"optim": {"steps": 2}} | changes)
    return trial(tiny, recipe, source=source if facts.needs_source else None)


def gradients(one: Trial, *, micro_batch_size: int | None = None) -> dict[str, Tensor]:
    one.embedder.train()
    one.embedder.zero_grad(set_to_none=True)
    backward(one.embedder, one.data.batch(0), one.recipe.loss, micro_batch_size=micro_batch_size, seed=3, step=0)
    return {name: p.grad for name, p in one.embedder.named_parameters() if p.grad is not None}


def whole(found: dict[str, Tensor], like: dict[str, Tensor]) -> Tensor:
    assert found.keys() == like.keys()
    return torch.cat([found[name].flatten() for name in like])


@pytest.mark.parametrize("facts", LEARNS, **NAMES)
def test_a_step_is_float32s_but_for_rounding_and_what_learns_is_fp32(
    tiny: Tiny, source: Path, facts: MethodFacts
) -> None:
    exact, fast = (built(tiny, facts, source, precision) for precision in ("float32", "bfloat16"))
    expected, found = gradients(exact), gradients(fast)
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    assert {p.dtype for group in fast.embedder.trainable().values() for p in group} == {torch.float32}
    assert 1e-4 < relative(whole(found, expected), whole(expected, expected)) < 0.15


@pytest.mark.parametrize("facts", LEARNS, **NAMES)
def test_gradient_caching_gives_the_same_gradient(tiny: Tiny, source: Path, facts: MethodFacts) -> None:
    """Autocast covers both forward passes of a micro-batch alike."""
    one = built(tiny, facts, source, "bfloat16")
    at_once = {name: gradient.clone() for name, gradient in gradients(one).items()}
    cached = gradients(one, micro_batch_size=5)
    assert relative(whole(cached, at_once), whole(at_once, at_once)) < 0.05


def test_every_product_of_a_lora_step_runs_in_bfloat16(tiny: Tiny, source: Path) -> None:
    """Those of decoder and adapters, forward and backward; the loss alone is fp32."""
    (facts,) = [facts for facts in LEARNS if facts.name == "lora"]
    slow, fast = (built(tiny, facts, source, precision) for precision in ("float32", "bfloat16"))
    with Products() as exact:
        gradients(slow)
    assert exact.found.keys() == {"float32"}
    with Products() as products:  # without what a decoder's loading measures
        gradients(fast)
    assert products.raised <= 2  # what is pooled; `peft` by itself raises what every adapter reads
    loss = 2 * (1 + 3)  # of both directions: which pairs are no negatives, the cosines, and two products backward
    assert products.found["float32"] <= loss
    assert products.found["bfloat16"] > 50


def test_adapters_are_read_without_the_embedder_too(tiny: Tiny, source: Path) -> None:
    """As `attention` reads them: by the reader alone."""
    (facts,) = [facts for facts in LEARNS if facts.name == "lora"]
    embedder: Any = built(tiny, facts, source, "bfloat16").embedder
    rows = embedder.reader.rows(TEXTS, [""] * len(TEXTS))
    with torch.no_grad():
        states = embedder.reader.full_pass(rows, None).states
        assert torch.equal(states, embedder.read(TEXTS, [""] * len(TEXTS)).states)
    assert states.dtype == torch.bfloat16


@pytest.mark.parametrize("facts", [facts for facts in WITH_A_MODEL if facts.kind is not None], **NAMES)
def test_a_checkpoint_gives_the_vectors_of_its_run(
    tiny: Tiny, source: Path, tmp_path: Path, facts: MethodFacts
) -> None:
    """Bit for bit, in the same batches: what learned is rounded when it is frozen as it was at each step."""
    one = built(tiny, facts, source, "bfloat16", eval={"every": 99, "keep": "last"})
    if facts.learns:
        one.fit(tmp_path / "run")
    _, (way, *_) = next(iter(one.embedder.variants(one.recipe)))
    expected = way.embedder.eval().encode(TEXTS, instruction="see")
    save(way.embedder, tmp_path / "saved", instructions={"intents": "see"})
    again = load(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode(TEXTS, instruction="see"), expected)
    description = again.describe()
    assert description.get("backbone", {}).get("dtype", "bfloat16") == "bfloat16"
    assert description.get("prompting", {}).get("precision", "bfloat16") == "bfloat16"
    exact = built(tiny, facts, source, "float32").embedder
    if not facts.learns:
        assert revision(exact) != revision(again)
        _, (way, *_) = next(iter(exact.variants(one.recipe)))
        np.testing.assert_allclose(way.embedder.encode(TEXTS, instruction="see"), expected, atol=0.05)


def test_adapters_of_the_prompting_llm_are_merged_into_its_checkpoint(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    """Weights with their adapters are rounded anew, and what is scored is so too: these are the same vectors."""
    (facts,) = [facts for facts in LEARNS if facts.task == "train"]
    changes = {
        "prompting": {"tuning": "lora"},
        "optim": {"steps": 4, "lr": 0.002},
        "eval": {"every": 99, "keep": "last"},
    }
    one = built(tiny, facts, source, "bfloat16", **changes)
    before = one.embedder.eval().encode(TEXTS, instruction="see")
    one.fit(tmp_path / "run")
    expected = one.embedder.eval().encode(TEXTS, instruction="see")
    assert np.abs(expected - before).max() > 0.01  # the premise: it learned
    save(one.embedder, tmp_path / "saved", instructions={"intents": "see"})
    np.testing.assert_allclose(load(tmp_path / "saved").encode(TEXTS, instruction="see"), expected, atol=1e-6)
