"""Training through the readout of the first evaluation: the gradient, from when on, and a stop that changes no bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import relative, source_checkpoint
from helpers.run_parts import Trial, interrupt_at, learned, trial
from helpers.tiny import Tiny

from transferkit.config.recipe import Recipe
from transferkit.training.signals import Interrupted
from transferkit.training.step import backward, batch_loss

WHITEN = {"kind": "whiten", "sample": 40, "ridge": 1.0}
PAIRS = {"kind": "pairs", "sample": 40, "ridge": 1.0, "alpha": 0.5}


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")


def make(tiny: Tiny, source: Path, *, readout: dict[str, Any], steps: int = 6, task: str = "adapt") -> Trial:
    optim = {"steps": steps, "batch_size": 8}
    recipe = tiny.recipe(task, readout=readout, optim=optim, eval={"every": 3}, save_every=2)
    return trial(tiny, recipe, source=source if task == "adapt" else None)


def gradient(one: Trial, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    one.embedder.zero_grad(set_to_none=True)
    value = backward(one.embedder, one.data.batch(0), one.recipe.loss, seed=3, step=0, **options)
    found = one.embedder.get_parameter("alignment.weight").grad
    assert found is not None
    return value, found.clone()


@pytest.mark.parametrize("settings", [WHITEN, PAIRS], ids=["whiten", "pairs"])
@pytest.mark.parametrize("size", [None, 5], ids=["whole", "cached"])
def test_gradient_is_that_of_the_finished_vectors(
    tiny: Tiny, source: Path, settings: dict[str, Any], size: int | None
) -> None:
    """The reference maps vectors in float64, by the formula."""
    one = make(tiny, source, readout=settings)
    readout = one.scorer(one.embedder).readout
    assert readout is not None
    assert readout.kind == settings["kind"]
    one.embedder.train()
    value, found = gradient(one, micro_batch_size=size, readout=readout)
    one.embedder.zero_grad(set_to_none=True)
    batch = one.data.batch(0)
    vectors = one.embedder.embed(*batch.inputs()).double()
    unit = vectors / vectors.square().sum(1, keepdim=True).sqrt()
    finished = (unit - readout.mean.double()) @ readout.matrix.double()
    expected = batch_loss(finished, batch, one.recipe.loss)  # cosines: the last norm is the loss's
    expected.backward()
    weight = one.embedder.get_parameter("alignment.weight").grad
    assert weight is not None
    torch.testing.assert_close(value.double(), expected.detach(), rtol=1e-4, atol=0)
    assert relative(found, weight) < 1e-3
    assert relative(gradient(one, micro_batch_size=size)[1], weight) > 0.05  # the premise: it is another gradient


def test_it_is_the_readout_of_the_first_evaluation_throughout(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def watched(*arguments: Any, readout: Any, **options: Any) -> Any:
        seen.append(readout)
        return backward(*arguments, readout=readout, **options)

    monkeypatch.setattr("transferkit.training.step.backward", watched)
    one = make(tiny, source, readout=WHITEN | {"in_loss": True})
    expected = one.scorer(one.embedder).readout
    assert expected is not None
    one.fit(tmp_path)
    assert len(seen) == 6
    assert len({id(readout) for readout in seen}) == 1
    torch.testing.assert_close(seen[0].matrix, expected.matrix)
    seen.clear()
    make(tiny, source, readout=WHITEN).fit(tmp_path / "without")
    assert seen == [None] * 6


def test_a_stop_changes_no_bit(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    settings = PAIRS | {"in_loss": True}
    straight, halves = (make(tiny, source, readout=settings) for _ in range(2))
    straight.fit(tmp_path / "straight")
    halves.progress.on_step = interrupt_at(4)
    with pytest.raises(Interrupted):
        halves.fit(tmp_path / "halves")
    second = make(tiny, source, readout=settings)
    second.fit(tmp_path / "halves")
    first, again = learned(straight.embedder), learned(second.embedder)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_readout_that_is_none_changes_nothing(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    on, off = (make(tiny, source, readout={"kind": "none", "in_loss": chosen}) for chosen in (True, False))
    losses = [one.fit(tmp_path / str(i)).state.metrics for i, one in enumerate((on, off))]
    assert [row["loss"] for row in losses[0]] == [row["loss"] for row in losses[1]]


def test_a_source_that_learns_alone_begins_with_its_decoder(tiny: Tiny, tmp_path: Path) -> None:
    """While it has none, vectors are soft tokens side by side, and no readout is of their length."""
    mapping = tiny.mapping("train", optim={"steps": 5, "batch_size": 8}, eval={"every": 5}, readout=WHITEN)
    mapping["prompting"]["alone_steps"] = 2
    mapping["readout"]["in_loss"] = True
    one = trial(tiny, Recipe.model_validate(mapping))
    fitted = one.fit(tmp_path)
    assert [row["step"] for row in fitted.state.metrics] == [0, 2, 5]
    assert fitted.state.in_loss is not None
    assert np.isfinite(one.progress.losses).all()


def test_backbones_in_turn_have_no_readout_in_common(tiny: Tiny) -> None:
    mapping = tiny.mapping("train", readout=WHITEN | {"in_loss": True})
    mapping["embedding"]["more_backbones"] = [str(tiny.target)]
    with pytest.raises(ValueError, match=r"readout\.in_loss: a readout is one backbone's"):
        Recipe.model_validate(mapping)
