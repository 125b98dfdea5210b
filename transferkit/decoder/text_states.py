"""What a frozen model has read already: continued more than once, kept between evaluations under a memory budget."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, LinearAttentionCacheLayerMixin

from transferkit.decoder.tokens import Rows

# Per-layer dicts of linear-attention, convolution and state-space layers (transformers >= 5.16).
_STATE_DICTS = (
    "conv_states",
    "recurrent_states",
    "has_previous_state",
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "conv_kernel_size",
)


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


def fork(cache: Cache) -> Cache:
    """A shallow copy of ``cache`` that can be continued without touching the original.

    No tensor is copied. Attention layers concatenate and reassign, which a shallow copy survives; recurrent and
    convolution layers write their state in place, which would also break the backward pass, so in the copy they
    assign instead.
    """
    forked = copy.copy(cache)
    forked.layers = [_fork_layer(layer) for layer in cache.layers]
    return forked


def _fork_layer(layer: Any) -> Any:
    new = copy.copy(layer)
    if not isinstance(layer, LinearAttentionCacheLayerMixin):
        return new
    for name in _STATE_DICTS:
        if isinstance(getattr(layer, name, None), dict):
            setattr(new, name, dict(getattr(layer, name)))

    def update_recurrent_state(recurrent_states: Tensor, state_idx: int = 0, **_: Any) -> Tensor:
        new.recurrent_states[state_idx] = recurrent_states
        new.is_recurrent_states_initialized[state_idx] = True
        return recurrent_states

    def update_conv_state(conv_states: Tensor, state_idx: int = 0, **_: Any) -> Tensor:
        width = new.conv_kernel_size[state_idx]
        full = torch.cat([new.conv_states[state_idx], conv_states], dim=-1)
        new.conv_states[state_idx] = full[..., -width:]
        return full

    new.update_recurrent_state = update_recurrent_state
    new.update_conv_state = update_conv_state
    return new
