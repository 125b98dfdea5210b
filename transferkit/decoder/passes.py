"""The ways of running a decoder's trunk: whole padded rows, or text in a cache with soft tokens on top of it."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from transferkit.decoder.device import short_attention
from transferkit.decoder.loading import input_embeddings
from transferkit.decoder.pooling import mean, pool
from transferkit.decoder.text_states import TextState, fork
from transferkit.decoder.tokens import Rows, TextEncoder, in_order, pad_left, positions
from transferkit.errors import ConfigError


@dataclass
class Hidden:
    """What was read of a batch: last hidden ``states`` (B, L, d_out), ``mask`` and ``soft`` (B, L) booleans.

    ``mask`` is True at the positions that may be pooled: real tokens and soft tokens, without BOS wherever the row
    has anything else (its state is nearly constant and would drown a mean). ``static`` gives the texts' mean token
    embeddings (B, d_e).
    """

    states: Tensor
    mask: Tensor
    soft: Tensor
    static: Callable[[], Tensor]

    def pool(self, how: str) -> Tensor:
        """One vector a row, as :func:`transferkit.decoder.pooling.pool` gives it."""
        return pool(self.states, self.mask, self.soft, self.static, how=how)


def joined(parts: Sequence[Hidden], groups: Sequence[Sequence[int]], *, static: Callable[[], Tensor]) -> Hidden:
    """The rows of a batch that were read in ``groups``, in their order; shorter ones are padded on the left."""
    longest = max(part.mask.shape[1] for part in parts)
    order = in_order(groups)

    def whole(tensors: list[Tensor]) -> Tensor:
        padded = [pad(one, (0, 0) * (one.dim() - 2) + (longest - one.shape[1], 0)) for one in tensors]
        return torch.cat(padded)[order]

    states, mask, soft = ([getattr(part, name) for part in parts] for name in ("states", "mask", "soft"))
    return Hidden(whole(states), whole(mask), whole(soft), static)


class Passes:
    """A trunk with its tokens. ``layers`` of a pass: hidden states are the mean over so many last layers' outputs.

    Args:
        trunk: the decoder without its head.
        encoder: its tokenizer.
        stack_scale: factor that puts token embeddings into the scale that the layers receive.
        short_attention: whether short texts attend in bfloat16 as it is fastest, once that was found to be exact.
    """

    def __init__(
        self, trunk: PreTrainedModel, encoder: TextEncoder, *, stack_scale: float = 1.0, short_attention: bool = False
    ) -> None:
        self.trunk = trunk
        self.encoder = encoder
        self.stack_scale = stack_scale
        self.short_attention = short_attention
        self._accepted = set(inspect.signature(trunk.forward).parameters)
        # State-space decoders call theirs by another name.
        self._cache_name = "cache_params" if "cache_params" in self._accepted else "past_key_values"

    def with_short_attention(self) -> "Passes":
        """The same ways, in which short texts attend as it is fastest."""
        return Passes(self.trunk, self.encoder, stack_scale=self.stack_scale, short_attention=True)

    @property
    def device(self) -> torch.device:
        """Where the decoder's weights lie."""
        return input_embeddings(self.trunk).weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of embeddings and activations."""
        return input_embeddings(self.trunk).weight.dtype

    @property
    def has_adapters(self) -> bool:
        """Whether `peft` put adapters into the trunk: weights in float32 beside those of :attr:`dtype`."""
        return hasattr(self.trunk, "peft_config")

    def embed_ids(self, ids: Tensor) -> Tensor:
        """Token embeddings (..., d_e) in the scale in which the decoder's layers receive them."""
        return input_embeddings(self.trunk)(ids) * self.stack_scale

    def token_table(self, ids: Sequence[int] | None = None) -> Tensor:
        """Embeddings (n, d_e) of ``ids``, or of all rows, without gradient."""
        rows = torch.arange(self.encoder.num_rows) if ids is None else torch.as_tensor(ids, dtype=torch.long)
        with torch.no_grad():
            return self.embed_ids(rows.to(self.device))

    @torch.no_grad()
    def mean_token_embeddings(self, rows: Rows) -> Tensor:
        """Of each text alone, (B, d_e) in fp32: what the pooling ``static`` gives, without any pass."""
        ids, mask = pad_left([text or [self.encoder.filler] for text in rows.texts], device=self.device)
        return mean(self.embed_ids(ids).float(), mask)

    def read_text(self, rows: Rows, *, layers: int = 1) -> TextState:
        """Run what stands before the soft tokens into a KV cache, without gradient."""
        ids, mask = pad_left(rows.before, device=self.device)
        with torch.no_grad():
            out = self.run(input_ids=ids, mask=mask, use_cache=True, layers=layers)
        return TextState(cache=getattr(out, self._cache_name), states=_states(out, layers), mask=mask)

    def continue_text(self, state: TextState, rows: Rows, soft: Tensor, *, layers: int = 1) -> Hidden:
        """Run the soft tokens and what follows on top of ``state``, which stays as it is."""
        after = torch.tensor(rows.after, dtype=torch.long, device=self.device).view(len(soft), -1)
        embeds = torch.cat([soft, self.embed_ids(after)], dim=1)
        ones = torch.ones(embeds.shape[:2], dtype=torch.bool, device=self.device)
        mask = torch.cat([state.mask, ones], dim=1)
        ids = torch.cat([after.new_zeros(soft.shape[:2]), after], dim=1)
        out = self.run(input_ids=ids, inputs_embeds=embeds, mask=mask, cache=fork(state.cache), layers=layers)
        soft_at = torch.zeros_like(mask)
        soft_at[:, state.mask.shape[1] : state.mask.shape[1] + soft.shape[1]] = True
        states = torch.cat([state.states, _states(out, layers)], dim=1)
        return Hidden(states, self._poolable(mask), soft_at, partial(self.mean_token_embeddings, rows))

    def full_pass(self, rows: Rows, soft: Tensor | None, *, layers: int = 1) -> Hidden:
        """One pass over whole rows, padded on the left, with gradient everywhere."""
        before, before_mask = pad_left(rows.before, device=self.device)
        after, after_mask = pad_left(rows.after, device=self.device)
        soft_ids = before.new_zeros(len(before), 0 if soft is None else soft.shape[1])
        soft_mask = torch.ones_like(soft_ids, dtype=torch.bool)
        mask = torch.cat([before_mask, soft_mask, after_mask], dim=1)
        soft_at = torch.cat([torch.zeros_like(before_mask), soft_mask, torch.zeros_like(after_mask)], dim=1)
        # Stable sort on "is real": padding moves to the left, everything else keeps its order.
        # So much of it as the longest row leaves is cut off: how a row attends depends on the width.
        longest = max(len(a) + len(b) for a, b in zip(rows.before, rows.after, strict=True)) + soft_ids.shape[1]
        order = mask.long().argsort(dim=1, stable=True)[:, -longest:]
        mask, soft_at = mask.gather(1, order), soft_at.gather(1, order)
        ids = torch.cat([before, soft_ids, after], dim=1).gather(1, order)
        embeds = None
        if soft is not None:
            embeds = torch.cat([self.embed_ids(before), soft, self.embed_ids(after)], dim=1)
            embeds = embeds.gather(1, order.unsqueeze(-1).expand_as(embeds))
        out = self.run(input_ids=ids, inputs_embeds=embeds, mask=mask, layers=layers)
        states = _states(out, layers)
        return Hidden(states, self._poolable(mask), soft_at, partial(self.mean_token_embeddings, rows))

    def run(
        self,
        *,
        input_ids: Tensor,
        mask: Tensor,
        inputs_embeds: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
        layers: int = 1,
    ) -> Any:
        """The trunk on ``input_ids`` (B, new) or, where given, on ``inputs_embeds`` in their place.

        ``mask`` (B, cached + new) covers what the cache holds too; positions follow from it. Soft tokens have id 0.
        """
        options: dict[str, Any] = {"attention_mask": mask.long()}
        if "position_ids" in self._accepted:
            options["position_ids"] = positions(mask, input_ids.shape[1])
        if cache is not None:
            options[self._cache_name] = cache
        if inputs_embeds is None:
            options["input_ids"] = input_ids
        else:
            options |= {"inputs_embeds": inputs_embeds, **per_layer_inputs(self.trunk, input_ids)}
        if layers > 1:
            options["output_hidden_states"] = True
        with ExitStack() as stack:
            if self.dtype is torch.bfloat16:
                if self.short_attention:
                    stack.enter_context(short_attention(self.trunk, queries=input_ids.shape[1], keys=mask.shape[1]))
                stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, enabled=self.has_adapters))
            return self.trunk(use_cache=use_cache or cache is not None, **options)

    def _poolable(self, mask: Tensor) -> Tensor:
        if not self.encoder.bos:
            return mask
        bos = mask & (mask.long().cumsum(1) == 1)
        return torch.where((mask.sum(1) > 1).unsqueeze(1), mask & ~bos, mask)


def _states(out: Any, layers: int) -> Tensor:
    """Last hidden states (B, L, d_out), or the mean over the last layers' where several are asked for."""
    if layers == 1:
        states: Tensor = out.last_hidden_state
        return states
    found = getattr(out, "hidden_states", None) or ()
    if len(found) <= layers:  # the first ones are the embeddings
        raise ConfigError(
            f"embedding.layers, --layers: {layers} asked for, this decoder hands out the states of "
            f"{max(0, len(found) - 1)} layers; lower it"
        )
    return torch.stack(found[-layers:]).mean(0)


def per_layer_inputs(model: PreTrainedModel, ids: Tensor) -> dict[str, Tensor]:
    """What a decoder whose layers read a second embedding by id needs beside ``inputs_embeds``, for ``ids`` (B, T).

    Nothing for all other decoders. Soft tokens have no id: they read the row of id 0.
    """
    if not getattr(model.config.get_text_config(), "hidden_size_per_layer_input", 0):
        return {}
    look_up: Callable[..., Tensor] = getattr(model.get_decoder(), "get_per_layer_inputs")  # noqa: B009 - untyped upstream
    rest = [None] * (len(inspect.signature(look_up).parameters) - 1)
    return {"per_layer_inputs": look_up(ids, *rest)}
