"""Hidden states and token embeddings of a sequence -> one vector: the table of poolings."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from transferkit.specs import Pooling

STATIC = "static"


def mean(states: Tensor, weights: Tensor) -> Tensor:
    """Mean of ``states`` (B, L, d) over positions by ``weights`` (B, L), which may be a mask: (B, d)."""
    weights = weights.to(states.dtype)
    return (states * weights.unsqueeze(-1)).sum(1) / weights.sum(1, keepdim=True)


def _soft(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return mean(states, soft)


def _last(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    last = torch.where(mask, positions, -1).max(dim=1).values
    return states[torch.arange(len(states), device=states.device), last]


def _mean_all(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return mean(states, mask)


def _weighted_mean(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    # SGPT's weights: the n-th real token counts n times, since later positions have read more of the text.
    return mean(states, mask.long().cumsum(1) * mask)


def _max(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return states.masked_fill(~mask.unsqueeze(-1), float("-inf")).max(dim=1).values


STATE_POOLINGS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "soft": _soft,
    "last": _last,
    "mean": _mean_all,
    "weighted_mean": _weighted_mean,
    "max": _max,
}


def of_states(pooling: Pooling) -> str | None:
    """The part of a pooling that reads hidden states, a name of ``STATE_POOLINGS``; None: it reads none."""
    states = pooling.removesuffix(f"+{STATIC}")
    return None if states == STATIC else states


def pooled_width(pooling: Pooling, *, states: int, static: int) -> int:
    """Length of a pooled vector, from the widths of hidden states and token embeddings."""
    return (of_states(pooling) is not None) * states + pooling.endswith(STATIC) * static


def pool(states: Tensor, mask: Tensor, soft: Tensor, static: Tensor, *, how: Pooling) -> Tensor:
    """One vector a row, in fp32.

    Args:
        states: (B, L, d) last hidden states.
        mask: (B, L) True at real positions, soft tokens included.
        soft: (B, L) True at soft positions.
        static: (B, d_e) mean token embeddings.
        how: ``soft`` reads the soft positions alone, ``last`` the last real position, ``static`` no state but the
            token embeddings, the others all real positions. ``X+static``: unit vectors of both, side by side. Upper
            layers of a causal decoder keep little of the words that they read; there they are.

    Returns:
        (B, d), (B, d_e) or (B, d + d_e) float32.
    """
    by_states = of_states(how)
    if by_states is None:
        return static.float()
    pooled = STATE_POOLINGS[by_states](states.float(), mask, soft)
    return side_by_side(pooled, static.float()) if how.endswith(STATIC) else pooled


def side_by_side(first: Tensor, second: Tensor) -> Tensor:
    """Unit vectors of (B, m) and (B, n) in one, (B, m + n)."""
    return torch.cat([normalize(first), normalize(second)], dim=1)
