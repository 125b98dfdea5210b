"""The closed-form readout against float64 algebra, and on the samples on which algebra degenerates."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, prompt_embedder
from helpers.tiny import Tiny
from sklearn.cross_decomposition import CCA
from torch import Tensor

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.sections import ReadoutKind
from transferkit.errors import RunError
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Readout, Settings


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
    y = Fitter(x).fit(Settings("whiten", ridge=0.0)).linear(x).double().numpy()
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
    y = Fitter(x).fit(Settings("whiten", ridge=ridge)).linear(new).double().numpy()
    expected = centred @ inverse @ centred.T
    np.testing.assert_allclose(y @ y.T, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_center_and_none() -> None:
    x, new = vectors(50, 6), vectors(9, 6, seed=1)
    centred = unit(new) - unit(x).mean(0)
    found = Fitter(x).fit(Settings("center"))(new).numpy()
    np.testing.assert_allclose(found, centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(Fitter(x).fit(Settings("none"))(new).numpy(), unit(new), atol=1e-6)


@pytest.mark.parametrize("kind", ["center", "whiten", "pairs"])
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
def test_degenerate_samples_stay_finite(sample: Tensor, ridge: float, kind: ReadoutKind) -> None:
    width = sample.shape[1]
    pairs = torch.arange(len(sample) // 2 * 2).view(-1, 2)
    readout = Fitter(sample, pairs).fit(Settings(kind, ridge=ridge, alpha=0.5))
    for x in (sample, vectors(20, width, seed=2)):
        assert torch.isfinite(readout.linear(x)).all()
        assert torch.isfinite(readout(x)).all()
        assert readout(x).norm(dim=-1).max() <= 1 + 1e-5
    fresh = readout(vectors(20, width, seed=2))
    torch.testing.assert_close(fresh.norm(dim=-1), torch.ones(20))


def test_rank_deficient_sample_is_white_where_it_has_variance() -> None:
    """Five vectors span four directions about their mean: the covariance is a projection of rank four."""
    x = vectors(5, 12)
    y = Fitter(x).fit(Settings("whiten", ridge=0.0)).linear(x).double().numpy()
    eigenvalues = np.linalg.eigvalsh(y.T @ y / len(y))
    np.testing.assert_allclose(eigenvalues, [0] * 8 + [1] * 4, atol=1e-2)


def test_useless_samples_are_refused() -> None:
    bad = vectors(5, 3)
    bad[2, 1] = float("nan")
    for sample in (bad, vectors(1, 3)):
        with pytest.raises(RunError, match="readout: needs at least two finite vectors"):
            Fitter(sample).fit(Settings("whiten", ridge=0.1))


@pytest.mark.parametrize("kind", ["none", "center", "whiten", "pairs"])
def test_survives_a_checkpoint(tiny: Tiny, tmp_path: Path, kind: ReadoutKind) -> None:
    embedder = prompt_embedder(tiny)
    width = embedder.backbone.output_width
    pairs = torch.arange(30).view(-1, 2)
    embedder.readout = Fitter(vectors(30, width), pairs).fit(Settings(kind, ridge=0.1, alpha=0.5))
    save(embedder, tmp_path / "checkpoint", instructions={})
    again = load(tmp_path / "checkpoint")
    assert again.readout.settings == embedder.readout.settings
    assert torch.equal(again.readout.mean, embedder.readout.mean)
    assert torch.equal(again.readout.matrix, embedder.readout.matrix)
    embedder.requires_grad_(False)  # matmul folds differently for a tensor that wants a gradient
    np.testing.assert_array_equal(again.encode(TEXTS), embedder.encode(TEXTS))


# The order of columns


@pytest.mark.parametrize("kind", ["whiten", "pairs"])
def test_columns_stand_from_the_strongest_on(kind: ReadoutKind) -> None:
    """By the variance that is left of each after the ridge, and by what pairs share."""
    x, pairs = paired_vectors(300, 8)
    y = Fitter(x, pairs).fit(Settings(kind, ridge=1.0, alpha=1.0)).linear(x).double()
    spread = y.var(0) if kind == "whiten" else (y[::2] * y[1::2]).mean(0)
    assert (spread.diff() <= 1e-6).all()
    assert spread[0] > 2 * spread[-1]


@pytest.mark.parametrize("kind", ["none", "center", "whiten", "pairs"])
def test_a_checkpoint_of_an_earlier_version_has_the_strongest_last(
    tiny: Tiny, tmp_path: Path, kind: ReadoutKind
) -> None:
    """Its file does not say how its columns are ordered, and its vectors are as they were."""
    embedder = prompt_embedder(tiny)
    width = embedder.backbone.output_width
    readout = Fitter(vectors(30, width), torch.arange(30).view(-1, 2)).fit(Settings(kind, ridge=0.1, alpha=0.5))
    before = Readout(readout.settings, width, descending=False)
    before.mean.copy_(readout.mean)
    before.matrix.copy_(readout.matrix.flip(-1))
    embedder.use_readout(before)
    save(embedder, tmp_path / "checkpoint", instructions={})
    assert "descending" not in json.loads((tmp_path / "checkpoint" / "embedder.json").read_text())["readout"]
    again, x = load(tmp_path / "checkpoint").readout, vectors(5, width, seed=1)
    torch.testing.assert_close(again(x), before(x), rtol=0, atol=0)
    torch.testing.assert_close(again.strongest(again(x), 7), readout.strongest(readout(x), 7), rtol=1e-5, atol=1e-6)


# From pairs


def paired_vectors(n: int, width: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Both sides of n pairs share some directions and differ in the others; sides alternate."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 1, width)) * np.geomspace(1, 0.1, width)
    own = rng.normal(size=(n, 2, width)) * np.geomspace(0.1, 1, width)
    mixing = rng.normal(size=(width, width))
    x = (shared + own) @ mixing + rng.normal(size=width)
    return torch.tensor(x.reshape(2 * n, width), dtype=torch.float32), torch.arange(2 * n).view(-1, 2)


def canonical_map(x: Tensor, pairs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlations and the scores of the rows, from a singular value decomposition of orthonormal bases.

    Björck and Golub, 1973: no covariance is formed, and nothing is inverted.
    """
    rows = unit(x)
    first, second = (np.concatenate([rows[a], rows[b]]) for a, b in (pairs.T.numpy(), pairs.T.flip(0).numpy()))
    mean = first.mean(0)
    q_first, r_first = np.linalg.qr(first - mean)
    q_second, _ = np.linalg.qr(second - mean)
    u, correlations, _ = np.linalg.svd(q_first.T @ q_second)
    return correlations, (rows - mean) @ np.linalg.solve(r_first, u) * np.sqrt(len(first))


def test_pairs_equal_canonical_correlation_analysis() -> None:
    """At ridge 0 and alpha 1 every direction is a canonical one, times its correlation; signs are free."""
    x, pairs = paired_vectors(300, 6)
    correlations, scores = canonical_map(x, pairs)
    y = Fitter(x, pairs).fit(Settings("pairs", ridge=0.0, alpha=1.0)).linear(x).double().numpy()
    assert correlations.min() > 0.02  # all positive: else a direction would be cut
    np.testing.assert_allclose(np.abs(y), np.abs(scores * correlations), rtol=1e-3, atol=1e-3)


def test_pairs_equal_scikit_learns_cca() -> None:
    x, pairs = paired_vectors(300, 4)
    rows = unit(x)
    first, second = (np.concatenate([rows[a], rows[b]]) for a, b in (pairs.T.numpy(), pairs.T.flip(0).numpy()))
    reference = CCA(4, scale=False, max_iter=10_000, tol=1e-12).fit(first, second)
    expected = reference.transform(rows)
    expected /= expected.std(0)
    y = Fitter(x, pairs).fit(Settings("pairs", ridge=0.0, alpha=0.0)).linear(x).double().numpy()
    np.testing.assert_allclose(np.abs(y), np.abs(expected), atol=5e-3)


@pytest.mark.parametrize("ridge", [0.0, 0.1, 3.0])
def test_pairs_with_alpha_zero_are_whitening(ridge: float) -> None:
    x, pairs = paired_vectors(60, 8)
    new, _ = paired_vectors(10, 8, seed=1)
    fitter = Fitter(x, pairs)
    whitened = fitter.fit(Settings("whiten", ridge=ridge))(new)
    found = fitter.fit(Settings("pairs", ridge=ridge, alpha=0.0))(new)
    torch.testing.assert_close(found @ found.T, whitened @ whitened.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ridge", [0.1, 3.0])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_pairs_against_the_formula(ridge: float, alpha: float) -> None:
    """Compared are inner products, which do not depend on the signs and the order of eigenvectors."""
    x, pairs = paired_vectors(80, 7)
    new, _ = paired_vectors(10, 7, seed=1)
    rows = unit(x)
    mean = rows.mean(0)
    total = np.cov(rows.T, bias=True)
    values, vectors_of = np.linalg.eigh(total + ridge * np.trace(total) / 7 * np.eye(7))
    z = vectors_of @ np.diag(values**-0.5) @ vectors_of.T
    a, p = ((rows[side] - mean) @ z for side in pairs.T.numpy())
    c, v = np.linalg.eigh((a.T @ p + p.T @ a) / (2 * len(a)))
    expected = (unit(new) - mean) @ z @ v @ np.diag(np.maximum(c, 0) ** alpha)
    y = Fitter(x, pairs).fit(Settings("pairs", ridge=ridge, alpha=alpha)).linear(new).double().numpy()
    np.testing.assert_allclose(y @ y.T, expected @ expected.T, rtol=1e-3, atol=1e-4 * np.abs(expected).max() ** 2)


def test_pairs_bring_pairs_together() -> None:
    """On new pairs, where what a pair does not share varies as much as what it does."""
    both, pairs = paired_vectors(500, 8)
    x, pairs, new = both[:800], pairs[:400], both[800:]

    def found(readout: object) -> float:
        y = readout(new)  # type: ignore[operator]
        return float(((y[::2] @ y[1::2].T).argmax(1) == torch.arange(100)).float().mean())

    fitter = Fitter(x, pairs)
    by_kind = {kind: found(fitter.fit(Settings(kind, ridge=0.1, alpha=1.0))) for kind in ("none", "whiten", "pairs")}
    assert by_kind["pairs"] > 1.3 * by_kind["whiten"]
    assert by_kind["pairs"] > 1.3 * by_kind["none"]


def test_pairs_that_are_opposites_are_whitened() -> None:
    """No direction is shared: turning towards nothing would make every vector zero."""
    half = vectors(20, 5) - vectors(20, 5).mean(0)
    x = torch.stack([half, -half], 1).flatten(0, 1)
    fitter = Fitter(x, torch.arange(40).view(-1, 2))
    turned, whitened = (fitter.fit(Settings(kind, ridge=0.1, alpha=1.0)) for kind in ("pairs", "whiten"))
    torch.testing.assert_close(turned(x), whitened(x))


def test_pairs_from_a_sample_without_any_are_refused() -> None:
    with pytest.raises(RunError, match="hold no pairs"):
        Fitter(vectors(10, 3)).fit(Settings("pairs", ridge=0.1, alpha=1.0))
