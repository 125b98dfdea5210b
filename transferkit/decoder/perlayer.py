"""Decoders with a second embedding that every layer reads by token id, beside the one at the bottom."""

import inspect
from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedModel


def per_layer_inputs(model: PreTrainedModel, ids: Tensor) -> dict[str, Tensor]:
    """What such a decoder needs beside ``inputs_embeds`` for ``ids`` (B, T); nothing for all other decoders.

    Soft tokens have no id: they read the row of id 0.
    """
    if not getattr(model.config.get_text_config(), "hidden_size_per_layer_input", 0):
        return {}
    look_up: Callable[..., Tensor] = getattr(model.get_decoder(), "get_per_layer_inputs")  # noqa: B009 - untyped upstream
    rest = [None] * (len(inspect.signature(look_up).parameters) - 1)
    return {"per_layer_inputs": look_up(ids, *rest)}
