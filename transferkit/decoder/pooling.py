"""Hidden states of a sequence -> one vector, alone or beside token embeddings: the table of poolings."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from transferkit.config.poolings import STATIC, parts_of


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


def pool(states: Tensor, mask: Tensor, soft: Tensor, static: Callable[[], Tensor], *, how: str) -> Tensor:
    """One vector a row, in fp32.

    Args:
        states: (B, L, d) last hidden states.
        mask: (B, L) True at real positions, soft tokens included.
        soft: (B, L) True at soft positions.
        static: gives the mean token embeddings (B, d_e), where they are asked for.
        how: ``soft`` reads the soft positions alone, ``last`` the last real position, ``static`` no state but the
            token embeddings, the others all real positions. ``X+static``: both, see :func:`side_by_side`.

    Returns:
        (B, d), (B, d_e) or (B, d + d_e) float32.
    """
    made = [static() if part == STATIC else STATE_POOLINGS[part](states.float(), mask, soft) for part in parts_of(how)]
    return side_by_side(made)


def side_by_side(vectors: Sequence[Tensor]) -> Tensor:
    """One (B, m) as it is; of several the unit vectors in one, (B, sum of widths)."""
    return vectors[0] if len(vectors) == 1 else torch.cat([normalize(one) for one in vectors], dim=1)
