"""Fork a KV cache: a second, independent continuation of the same text that shares its tensors."""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, LinearAttentionCacheLayerMixin

# Per-layer dicts of linear-attention, convolution and state-space layers (transformers >= 5.16).
_STATE_DICTS = (
    "conv_states",
    "recurrent_states",
    "has_previous_state",
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "conv_kernel_size",
)


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
