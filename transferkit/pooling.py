"""Hidden states of a sequence -> one vector: the table of poolings."""

from collections.abc import Callable

import torch
from torch import Tensor

from transferkit.specs import Pooling


def _mean(states: Tensor, weights: Tensor) -> Tensor:
    weights = weights.to(states.dtype)
    return (states * weights.unsqueeze(-1)).sum(1) / weights.sum(1, keepdim=True)


def _soft(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return _mean(states, soft)


def _last(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    last = torch.where(mask, positions, -1).max(dim=1).values
    return states[torch.arange(len(states), device=states.device), last]


def _mean_all(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return _mean(states, mask)


def _weighted_mean(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    # SGPT's weights: the n-th real token counts n times, since later positions have read more of the text.
    return _mean(states, mask.long().cumsum(1) * mask)


def _max(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return states.masked_fill(~mask.unsqueeze(-1), float("-inf")).max(dim=1).values


POOLINGS: dict[Pooling, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "soft": _soft,
    "last": _last,
    "mean": _mean_all,
    "weighted_mean": _weighted_mean,
    "max": _max,
}


def pool(states: Tensor, mask: Tensor, soft: Tensor, *, how: Pooling) -> Tensor:
    """One vector a row, in fp32.

    Args:
        states: (B, L, d) last hidden states.
        mask: (B, L) True at real positions, soft tokens included.
        soft: (B, L) True at soft positions.
        how: ``soft`` reads the soft positions alone, ``last`` the last real position, the others all real ones.

    Returns:
        (B, d) float32.
    """
    return POOLINGS[how](states.float(), mask, soft)
