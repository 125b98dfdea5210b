"""Every pooling against a loop over single rows, under every placement of padding."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from transferkit.config.poolings import Pooling
from transferkit.decoder.pooling import STATE_POOLINGS, pool, positions_read

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
Static = Callable[[], Tensor]
LENGTHS = (6, 3, 1, 4)  # real positions of each row; the last two or fewer are soft
WIDTH, SOFT, STATIC = 5, 2, 3


def by_hand(row: np.ndarray, soft: np.ndarray, static: np.ndarray, how: str) -> np.ndarray:
    """One row of real positions (L, d) and its token embeddings (d_e,) alone, in float64."""
    if "+" in how:
        parts = [by_hand(row, soft, static, part) for part in how.split("+")]
        return np.concatenate([part / (np.linalg.norm(part) or 1.0) for part in parts])
    match how:
        case "static":
            return static
        case "soft":
            return row[soft].mean(0)
        case "before":
            return np.zeros(WIDTH) if soft.all() else row[~soft][-1]
        case "last":
            return row[-1]
        case "mean":
            return row.sum(0) / len(row)
        case "weighted_mean":
            weights = np.arange(1, len(row) + 1)
            return sum(w * state for w, state in zip(weights, row, strict=True)) / weights.sum()
        case "max":
            return row.max(0)
        case _:
            raise ValueError(how)


def batch(padding: str, *, fill: float) -> tuple[tuple[Tensor, Tensor, Tensor, Static], list[tuple[np.ndarray, ...]]]:
    """States, mask and soft (4, 8) with ``fill`` at padded positions, token embeddings, and the rows alone."""
    rng = np.random.default_rng(3)
    states, mask, soft = np.full((4, 8, WIDTH), fill), np.zeros((4, 8), bool), np.zeros((4, 8), bool)
    static = rng.normal(size=(4, STATIC))
    rows: list[tuple[np.ndarray, ...]] = []
    for i, length in enumerate(LENGTHS):
        row, row_soft = rng.normal(size=(length, WIDTH)), np.arange(length) >= length - SOFT
        start = {"left": 8 - length, "right": 0, "both": 1}[padding]
        states[i, start : start + length], soft[i, start : start + length] = row, row_soft
        mask[i, start : start + length] = True
        rows.append((row, row_soft, static[i]))
    return (torch.tensor(states), torch.tensor(mask), torch.tensor(soft), lambda: torch.tensor(static).float()), rows


@pytest.mark.parametrize("padding", ["left", "right", "both"])
@pytest.mark.parametrize("how", POOLINGS)
def test_equals_single_rows(how: Pooling, padding: str) -> None:
    read, rows = batch(padding, fill=99.0)
    pooled = pool(*read, how=how)
    assert pooled.dtype == torch.float32
    expected = np.stack([by_hand(*row, how) for row in rows])
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", POOLINGS)
def test_padding_never_matters(how: Pooling) -> None:
    plain = pool(*batch("left", fill=0.0)[0], how=how)
    assert torch.equal(pool(*batch("left", fill=-1e4)[0], how=how), plain)


@pytest.mark.parametrize("how", sorted(STATE_POOLINGS))
def test_gradient_reaches_what_is_pooled_and_nothing_else(how: Pooling) -> None:
    (states, mask, soft, static), _ = batch("left", fill=0.0)
    states.requires_grad_()
    weights = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))
    (pool(states, mask, soft, static, how=how) * weights).sum().backward()
    assert states.grad is not None
    touched = states.grad.abs().sum(-1) > 0
    expected = positions_read(mask, soft, how)
    if how in ("last", "before"):  # rows end at column 7, their soft positions are columns 6 and 7
        assert torch.equal(expected, mask & (torch.arange(8) == {"last": 7, "before": 5}[how]))
    if how == "max":  # each component has one source
        assert (touched & ~mask).sum() == 0
        torch.testing.assert_close(states.grad.sum(1).float(), weights)
    else:
        assert torch.equal(touched, expected)


def test_low_precision_is_pooled_in_fp32() -> None:
    states = torch.full((1, 512, 1), 1.0, dtype=torch.bfloat16)
    states[0, 0] = 3.0  # a bfloat16 sum stops growing at 256
    mask = torch.ones(1, 512, dtype=torch.bool)

    def nothing() -> Tensor:
        raise AssertionError("token embeddings are looked up where a pooling reads them, nowhere else")

    assert float(pool(states, mask, mask, nothing, how="mean")) == pytest.approx(514 / 512)
