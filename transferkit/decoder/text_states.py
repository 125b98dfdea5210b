"""What a frozen backbone has read of the dev texts, kept between evaluations under a memory budget."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

from transferkit.decoder.tokens import Rows


@dataclass
class TextState:
    """What stands before the soft tokens, already read: computed once, continued any number of times."""

    cache: Cache
    states: Tensor  # (B, T, d_out) last hidden states
    mask: Tensor  # (B, T)

    def num_bytes(self) -> int:
        """Bytes of all its tensors."""
        tensors = [self.states, self.mask, *(t for layer in self.cache.layers for t in _tensors(vars(layer)))]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class TextStateMemory:
    """States of whole batches. Evaluations ask for the same batches each time, so nothing is taken apart.

    Beyond the budget a batch is read again each time: slower, never an error. A state that was kept is the very
    tensors that reading again would give, so scores do not depend on the budget.
    """

    def __init__(self, *, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._kept: dict[tuple[tuple[int, ...], ...], TextState] = {}

    def get(self, rows: Rows, *, read: Callable[[Rows], TextState]) -> TextState:
        """The state of ``rows``, read now where it is not kept."""
        key = tuple(map(tuple, rows.before))
        state = self._kept.get(key)
        if state is None:
            state = read(rows)
            size = state.num_bytes()
            if self.used_bytes + size <= self.budget_bytes:
                self._kept[key] = state
                self.used_bytes += size
        return state


def _tensors(values: dict[str, Any]) -> Iterator[Tensor]:
    """Tensors of a cache layer: its attributes, and those inside its dicts."""
    for value in values.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value)
