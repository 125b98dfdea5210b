"""The map from one embedder's vectors to another's, and what it keeps of a ranking, against references."""

import numpy as np
import pytest
import torch
from helpers.parts import ridge_regression
from sklearn.linear_model import Ridge as Reference

from transferkit.bridges.ranking import agreement, percent, ten_nearest
from transferkit.bridges.ridge import RIDGES, Ridge
from transferkit.files.vectors.precision import Vectors


def unit(rng: np.random.Generator, *shape: int) -> Vectors:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("ridge", RIDGES)
def test_the_map_is_a_ridge_regression_of_centred_vectors(ridge: float) -> None:
    rng = np.random.default_rng(0)
    new = unit(rng, 300, 12)
    old = np.asarray(new @ rng.normal(size=(12, 7)) + 0.1 * rng.normal(size=(300, 7)), dtype=np.float32)
    found = Ridge(new, old).map(ridge)
    x, y = (one.astype(float) - one.mean(0, dtype=float) for one in (new, old))
    np.testing.assert_allclose(found.matrix, ridge_regression(x, y, ridge=ridge), atol=1e-6)
    reference = Reference(alpha=ridge * np.square(x).sum() / 12).fit(new.astype(float), old.astype(float))
    said = torch.addmm(found.mean, torch.from_numpy(new) - found.centre, found.matrix)
    np.testing.assert_allclose(said, reference.predict(new.astype(float)), atol=1e-5)


def test_a_turned_space_is_turned_back() -> None:
    rng = np.random.default_rng(1)
    old = unit(rng, 400, 16)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0].astype(np.float32)
    fit = Ridge((old @ turn)[:300], old[:300]).map(RIDGES[0])
    carried = np.asarray(torch.addmm(fit.mean, torch.from_numpy(old[300:] @ turn) - fit.centre, fit.matrix))
    same = agreement(ten_nearest(old[300:], old[:300]), ten_nearest(carried, old[:300]))
    assert percent(same.first) == (100.0, 0.0)
    assert percent(same.nearest)[0] > 99


def test_directions_without_variance_are_no_trouble() -> None:
    rng = np.random.default_rng(2)
    new = np.concatenate([unit(rng, 50, 4), np.zeros((50, 4), np.float32)], axis=1)
    found = Ridge(new, unit(rng, 50, 3)).map(RIDGES[0])
    assert bool(found.matrix.isfinite().all())
    np.testing.assert_array_equal(found.matrix[4:], 0)


def test_agreement_is_that_of_sets_of_ten() -> None:
    rng = np.random.default_rng(3)
    index, old, new = unit(rng, 500, 8), unit(rng, 140, 8), unit(rng, 140, 8)
    new = np.float32(0.7) * old + np.float32(0.3) * new
    before, after = (np.argsort(-(one @ index.T), axis=1)[:, :10] for one in (old, new))
    np.testing.assert_array_equal(ten_nearest(old, index), before)
    same = agreement(ten_nearest(old, index), ten_nearest(new, index))
    np.testing.assert_allclose(same.nearest, [len({*a} & {*b}) / 10 for a, b in zip(before, after, strict=True)])
    np.testing.assert_array_equal(same.first, before[:, 0] == after[:, 0])
    assert 0.2 < same.nearest.mean() < 0.95  # the premise
    mean, error = percent(same.nearest)
    assert mean == pytest.approx(100 * same.nearest.mean())
    assert error == pytest.approx(100 * same.nearest.std(ddof=1) / np.sqrt(140))


def test_an_index_of_fewer_than_ten_texts() -> None:
    rng = np.random.default_rng(4)
    assert ten_nearest(unit(rng, 3, 4), unit(rng, 6, 4)).shape == (3, 6)
