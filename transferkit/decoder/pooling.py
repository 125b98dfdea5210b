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


def _at_last(states: Tensor, chosen: Tensor) -> Tensor:
    """The state at the last of the ``chosen`` (B, L) positions of each row."""
    return states[torch.arange(len(states), device=states.device), _last_place(chosen)]


def _last_place(chosen: Tensor) -> Tensor:
    """(B,) the last of the ``chosen`` (B, L) positions of each row; -1 where there is none."""
    return torch.where(chosen, torch.arange(chosen.shape[1], device=chosen.device), -1).max(dim=1).values


def _last(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return _at_last(states, mask)


def _before(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    ahead = _ahead(mask, soft)  # of an empty text nothing may stand there
    return torch.where(ahead.any(1, keepdim=True), _at_last(states, ahead), 0.0)


def _ahead(mask: Tensor, soft: Tensor) -> Tensor:
    """(B, L) True at the real positions before the first soft one."""
    return mask & (soft.long().cumsum(1) == 0)


def _mean_all(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return mean(states, mask)


def _weighted_mean(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    # SGPT's weights: the n-th real token counts n times, since later positions have read more of the text.
    return mean(states, mask.long().cumsum(1) * mask)


def _max(states: Tensor, mask: Tensor, soft: Tensor) -> Tensor:
    return states.masked_fill(~mask.unsqueeze(-1), float("-inf")).max(dim=1).values


STATE_POOLINGS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "soft": _soft,
    "before": _before,
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
        how: ``soft`` reads the soft positions alone, ``before`` the real position before them, ``last`` the last one,
            ``static`` no state but the token embeddings, the others all real positions. ``X+Y``: both, see
            :func:`side_by_side`.

    Returns:
        (B, sum of the parts' widths) float32: d for states, d_e for token embeddings.
    """
    made = [static() if part == STATIC else STATE_POOLINGS[part](states.float(), mask, soft) for part in parts_of(how)]
    return side_by_side(made)


def side_by_side(vectors: Sequence[Tensor]) -> Tensor:
    """One (B, m) as it is; of several the unit vectors in one, (B, sum of widths)."""
    return vectors[0] if len(vectors) == 1 else torch.cat([normalize(one) for one in vectors], dim=1)


def positions_read(mask: Tensor, soft: Tensor, part: str) -> Tensor:
    """(B, L) True at the positions whose states a part of a pooling reads."""
    match part:
        case "soft":
            return soft
        case "last":
            return _only_last(mask)
        case "before":
            return _only_last(_ahead(mask, soft))
        case _:
            return mask


def _only_last(chosen: Tensor) -> Tensor:
    """The last True of each row alone."""
    return torch.arange(chosen.shape[1], device=chosen.device) == _last_place(chosen).unsqueeze(1)
