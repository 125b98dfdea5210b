"""The closed-form readout against float64 algebra, and on the samples on which algebra degenerates."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, prompt_embedder
from helpers.tiny import Tiny
from torch import Tensor

from transferkit.checkpoints.checkpoint import load, save
from transferkit.errors import RunError
from transferkit.readout.readout import Kind, Readout


def vectors(n: int, width: int, *, seed: int = 0) -> Tensor:
    """Correlated vectors with a large common part, as pooled states are."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) * np.geomspace(1, 0.05, width)
    return torch.tensor(rng.normal(size=(n, width)) @ mixing + 3 * rng.normal(size=width), dtype=torch.float32)


def unit(x: Tensor) -> np.ndarray:
    rows = x.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("width", [3, 16])
def test_whitened_vectors_have_zero_mean_and_unit_covariance(width: int) -> None:
    x = vectors(400, width)
    y = Readout("whiten", width).fit(x, ridge=0.0).linear(x).double().numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(width), atol=1e-3)


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_ridge_against_the_formula(ridge: float) -> None:
    """Compared are inner products, which do not depend on the signs of eigenvectors."""
    x, new = vectors(200, 8), vectors(30, 8, seed=1)
    fitted = unit(x)
    covariance = np.cov(fitted.T, bias=True)
    inverse = np.linalg.inv(covariance + ridge * np.trace(covariance) / 8 * np.eye(8))
    centred = unit(new) - fitted.mean(0)
    y = Readout("whiten", 8).fit(x, ridge=ridge).linear(new).double().numpy()
    expected = centred @ inverse @ centred.T
    np.testing.assert_allclose(y @ y.T, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_center_and_none() -> None:
    x, new = vectors(50, 6), vectors(9, 6, seed=1)
    centred = unit(new) - unit(x).mean(0)
    found = Readout("center", 6).fit(x, ridge=0.1)(new).numpy()
    np.testing.assert_allclose(found, centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(Readout("none", 6).fit(x, ridge=0.1)(new).numpy(), unit(new), atol=1e-6)


@pytest.mark.parametrize("kind", ["center", "whiten"])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(vectors(5, 12), id="fewer vectors than dimensions"),
        pytest.param(vectors(4, 6).repeat(10, 1), id="duplicated rows"),
        pytest.param(vectors(2, 12), id="two vectors"),
        pytest.param(vectors(1, 12).repeat(7, 1), id="all rows equal"),
        pytest.param(torch.zeros(4, 12), id="all rows zero"),
        pytest.param(vectors(40, 12) * torch.cat([torch.ones(6), torch.zeros(6)]), id="dead dimensions"),
    ],
)
def test_degenerate_samples_stay_finite(sample: Tensor, ridge: float, kind: Kind) -> None:
    width = sample.shape[1]
    readout = Readout(kind, width).fit(sample, ridge=ridge)
    for x in (sample, vectors(20, width, seed=2)):
        assert torch.isfinite(readout.linear(x)).all()
        assert torch.isfinite(readout(x)).all()
        assert readout(x).norm(dim=-1).max() <= 1 + 1e-5
    fresh = readout(vectors(20, width, seed=2))
    torch.testing.assert_close(fresh.norm(dim=-1), torch.ones(20))


def test_rank_deficient_sample_is_white_where_it_has_variance() -> None:
    """Five vectors span four directions about their mean: the covariance is a projection of rank four."""
    x = vectors(5, 12)
    y = Readout("whiten", 12).fit(x, ridge=0.0).linear(x).double().numpy()
    eigenvalues = np.linalg.eigvalsh(y.T @ y / len(y))
    np.testing.assert_allclose(eigenvalues, [0] * 8 + [1] * 4, atol=1e-2)


def test_useless_samples_are_refused() -> None:
    bad = vectors(5, 3)
    bad[2, 1] = float("nan")
    for sample in (bad, vectors(1, 3)):
        with pytest.raises(RunError, match="readout: needs at least two finite vectors"):
            Readout("whiten", 3).fit(sample, ridge=0.1)


@pytest.mark.parametrize("kind", ["center", "whiten"])
def test_survives_a_checkpoint(tiny: Tiny, tmp_path: Path, kind: Kind) -> None:
    embedder = prompt_embedder(tiny)
    width = embedder.backbone.output_width
    embedder.readout = Readout(kind, width).fit(vectors(30, width), ridge=0.1)
    save(embedder, tmp_path / "checkpoint", instructions={})
    again = load(tmp_path / "checkpoint")
    assert again.readout.kind == kind
    assert torch.equal(again.readout.mean, embedder.readout.mean)
    assert torch.equal(again.readout.matrix, embedder.readout.matrix)
    embedder.requires_grad_(False)  # matmul folds differently for a tensor that wants a gradient
    np.testing.assert_array_equal(again.encode(TEXTS), embedder.encode(TEXTS))
