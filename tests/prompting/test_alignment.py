"""Where W starts, by another route; and W = 0 with offsets is prompt tuning, gradient for gradient."""

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, load_prompting, load_reader, relative, ridge_regression
from helpers.tiny import Tiny
from torch import Tensor

from transferkit.methods.base import Embedder
from transferkit.methods.prompt_tuning import PromptTuningEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import Alignment, anchor_start, fit_quality, random_start
from transferkit.prompting.writer import Writer
from transferkit.training.losses import contrastive_loss


def tables(n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """X (n, 7) of uneven scale and Y (n, 4) that X explains in part."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 7)) * np.geomspace(2, 0.01, 7)
    y = x @ rng.normal(size=(7, 4)) + 0.3 * rng.normal(size=(n, 4))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


@pytest.mark.parametrize("n", [40, 3])
@pytest.mark.parametrize("ridge", [0.1, 1.0, 1e-3])
def test_anchor_start_is_ridge_regression(n: int, ridge: float) -> None:
    expected = ridge_regression(*(table.numpy() for table in tables(n)), ridge=ridge)
    found = anchor_start(*tables(n), ridge=ridge)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_fit_quality_is_r2() -> None:
    x, y = tables(40)
    weight = anchor_start(x, y)
    residual = np.square(y.numpy() - x.numpy() @ weight.numpy()).sum()
    total = np.square(y.numpy() - y.numpy().mean(0)).sum()
    assert fit_quality(weight, x, y) == pytest.approx(1 - residual / total, abs=1e-5)
    assert fit_quality(torch.zeros(7, 4), x, y - y.mean(0)) == pytest.approx(0, abs=1e-6)


def test_random_start_has_the_size_of_the_backbone() -> None:
    generator = torch.Generator().manual_seed(1)
    prompting = 0.02 * torch.randn(3000, 64, generator=generator)
    backbone = 1.7 * torch.randn(3000, 48, generator=generator)
    mapped = prompting @ random_start(prompting, backbone, seed=5)
    rms = [float(table.square().mean().sqrt()) for table in (mapped, backbone)]
    assert rms[0] == pytest.approx(rms[1], rel=0.03)  # 64 x 48 draws


def test_random_start_follows_from_the_seed_alone() -> None:
    x, y = tables(20)
    first = random_start(x, y, seed=5)
    torch.manual_seed(99)
    assert torch.equal(random_start(x, y, seed=5), first)
    assert not torch.equal(random_start(x, y, seed=6), first)


def test_forward_is_one_matrix_and_one_offset_a_position() -> None:
    x, _ = tables(6)
    soft = x.view(2, 3, 7)
    alignment = Alignment(torch.randn(7, 4, dtype=torch.float64), tokens=3, offset=True)
    assert alignment.offset is not None
    assert alignment.weight.dtype == torch.float32
    assert not alignment.offset.any()
    alignment.offset.data = torch.randn(3, 4)
    w, b = alignment.weight.detach().numpy(), alignment.offset.detach().numpy()
    for text in range(2):
        for position in range(3):
            expected = soft[text, position].numpy() @ w + b[position]
            np.testing.assert_allclose(alignment(soft)[text, position].detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert Alignment(torch.ones(7, 4), tokens=3, offset=False).offset is None


@pytest.mark.parametrize("template", ["{text}{soft}", "{soft}{text}"])
def test_zero_matrix_with_offsets_is_prompt_tuning(tiny: Tiny, template: str) -> None:
    reader = load_reader(tiny.target, template=template)
    pooling = "soft" if template.endswith("{soft}") else "mean"
    tuned = PromptTuningEmbedder.on(reader, pooling=pooling, tokens=3, seed=2)
    prompting = load_prompting(tiny.prompting)
    alignment = Alignment(torch.zeros(prompting.width, reader.decoder.embedding_width), tokens=3, offset=True)
    assert alignment.offset is not None
    alignment.offset.data.copy_(tuned.prompt.data)
    transfer = PromptEmbedder(Writer(prompting), alignment, reader, pooling=pooling)
    losses = [one_loss(tuned), one_loss(transfer)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    for loss in losses:
        loss.backward()
    assert tuned.prompt.grad is not None
    assert alignment.offset.grad is not None
    assert float(tuned.prompt.grad.norm()) > 0
    assert relative(alignment.offset.grad, tuned.prompt.grad) < 1e-5


def one_loss(embedder: Embedder) -> Tensor:
    vectors = embedder.embed(TEXTS[:6], [""] * 6)
    ids = torch.arange(6)
    return contrastive_loss(
        vectors[:3], vectors[3:], anchor_ids=ids[:3], positive_ids=ids[3:], temperature=0.05, symmetric=True
    )
