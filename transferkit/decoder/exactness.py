"""Measure, on a handful of random tokens, which ways of running a decoder equal its plain unpadded forward pass.

A table of families would rot with every release of ``transformers``; a measurement cannot.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.decoder.device import has_short_attention
from transferkit.decoder.layers import layer_stack
from transferkit.decoder.loading import input_embeddings
from transferkit.decoder.passes import Passes
from transferkit.decoder.tokens import Rows
from transferkit.errors import ConfigError

_LENGTHS = (12, 5)  # tokens before the soft ones; the difference is padding, longer than small test windows
_SOFT = 2
_ALLOWED = 1e-4  # relative, in fp32: rounding stays far below and a wrong mask far above (6e-6 and 1e-2 seen)
# In bfloat16 rounding grows with depth, in gradients most, and every decoder has its own: it is measured, and so many
# times as much is allowed. Never less than four roundings of one number, for a decoder that rounds nothing in one draw;
# never more than what would no longer be the same states or gradients.
TIMES_ROUNDING, LEAST, _MOST = 2.0, 4 * 2**-8, (0.2, 0.5)
_DRAWS = 2


@dataclass(frozen=True)
class Exactness:
    """Largest relative errors of hidden states and soft-token gradients on each path, and how large they may be.

    ``short``: short texts may attend as :func:`transferkit.decoder.device.short_attention` has them, for what they give
    equals what they give beside long ones.
    """

    cached_errors: tuple[float, float]  # states, gradients
    full_errors: tuple[float, float]
    allowed: tuple[float, float]
    short: bool = False

    @property
    def full(self) -> bool:
        """The left-padded full pass equals single rows."""
        return all(error <= limit for error, limit in zip(self.full_errors, self.allowed, strict=True))

    @property
    def cached(self) -> bool:
        """Reading the text into a cache and continuing with gradient equals single rows."""
        return all(error <= limit for error, limit in zip(self.cached_errors, self.allowed, strict=True))

    def facts(self, *, cached: bool) -> dict[str, float]:
        """The errors of a path, for the record."""
        return dict(zip(("states", "gradients"), self.cached_errors if cached else self.full_errors, strict=True))

    def in_words(self, *, cached: bool) -> str:
        """What a path's errors mean to whoever trains on it."""
        states, gradients = self.facts(cached=cached).values()
        if max(states, gradients) <= _ALLOWED:
            return "exact"
        percent = f"states {100 * states:.1g} %, gradients {100 * gradients:.1g} %"
        return f"exact but for what bfloat16 rounds ({percent}; precision: float32 rounds nothing to speak of)"


def measure(passes: Passes, *, name: str) -> Exactness:
    """Errors of both paths on two random rows of different length.

    Raises:
        ConfigError: neither path equals the unpadded forward pass, so no batch of this decoder could be trusted.
    """
    rows = _random_rows(passes)
    generator = torch.Generator().manual_seed(1)
    some = passes.token_table(range(min(1000, passes.encoder.num_rows))).float()
    soft = torch.randn(2, _SOFT, some.shape[1], generator=generator).to(some.device) * some.std()
    reference = _single_rows(passes, rows, soft)
    weights = [torch.randn(h.shape, generator=generator).to(h.device) for h, _ in reference]
    reference = [(h, _gradient(h, s, w)) for (h, s), w in zip(reference, weights, strict=True)]
    allowed = (_ALLOWED, _ALLOWED)
    if passes.dtype is torch.bfloat16:
        allowed = _allowed_rounding(passes, rows, soft, reference, weights)
    cached, full = (_padded_errors(passes, rows, soft, reference, weights, cached=one) for one in (True, False))
    result = Exactness(cached_errors=cached, full_errors=full, allowed=allowed)
    if not (result.full or result.cached):
        raise ConfigError(
            f"{name}: this decoder cannot embed batches: padded rows differ from single rows by "
            f"{max(result.full_errors):.2g} (relative) and cached text by {max(result.cached_errors):.2g}; choose "
            f"another decoder{'' if passes.dtype is torch.float32 else ', or precision: float32'}"
        )
    if passes.dtype is torch.float32 or not has_short_attention(passes.trunk):
        return result
    way = passes.with_short_attention()
    cached, full = (_padded_errors(way, rows, soft, reference, weights, cached=one) for one in (True, False))
    short = Exactness(cached_errors=cached, full_errors=full, allowed=allowed)
    return replace(result, short=(short.full or not result.full) and (short.cached or not result.cached))


def _random_rows(passes: Passes) -> Rows:
    generator = torch.Generator().manual_seed(0)
    high = passes.encoder.vocabulary_rows
    before = [torch.randint(0, high, (n,), generator=generator).tolist() for n in _LENGTHS]
    return Rows(before=before, after=[[before[0][0]], [before[1][0]]])


def _single_rows(passes: Passes, rows: Rows, soft: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Hidden states (1, L, d) of each row alone, without padding or cache, and its soft tokens as a leaf."""
    singles = []
    for i in range(len(rows.before)):
        leaf = soft[i : i + 1].detach().to(passes.dtype).requires_grad_()
        row = Rows(before=rows.before[i : i + 1], after=rows.after[i : i + 1])
        singles.append((passes.full_pass(row, leaf).states, leaf))
    return singles


def _allowed_rounding(
    passes: Passes, rows: Rows, soft: Tensor, reference: list[tuple[Tensor, Tensor]], weights: list[Tensor]
) -> tuple[float, float]:
    """Errors that bfloat16 explains, of states and of gradients.

    The single rows are read again from embeddings that differ by one rounding. All that follows is then rounded anew,
    so how far states and gradients move is how far rounding moves them, whatever the path.
    """
    moved = [0.0, 0.0]
    for draw in range(_DRAWS):
        generator = torch.Generator().manual_seed(2 + draw)
        rounded = partial(_rounded_once, generator=generator)
        with _embedding_output(passes, rounded):
            again = _single_rows(passes, rows, rounded(soft.to(passes.dtype)))
        for (states, leaf), (truth, gradient), w in zip(again, reference, weights, strict=True):
            moved[0] = max(moved[0], _relative(states, truth))
            moved[1] = max(moved[1], _relative(_gradient(states, leaf, w), gradient))
    allowed = [min(max(TIMES_ROUNDING * one, LEAST), most) for one, most in zip(moved, _MOST, strict=True)]
    return allowed[0], allowed[1]


def _rounded_once(values: Tensor, *, generator: torch.Generator) -> Tensor:
    """``values`` in bfloat16 with the noise of one rounding: one in twelve moves to the number beside it."""
    draw = torch.rand(values.shape, generator=generator).to(values.device)
    step = torch.where(draw < 1 / 24, 2.0**-7, torch.where(draw < 1 / 12, -(2.0**-7), 0.0))
    return (values.float() * (1 + step)).to(values.dtype)


@contextmanager
def _embedding_output(passes: Passes, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block the trunk's embeddings are what ``change`` makes of them."""
    handle = input_embeddings(passes.trunk).register_forward_hook(lambda module, args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def _padded_errors(
    passes: Passes,
    rows: Rows,
    soft: Tensor,
    reference: list[tuple[Tensor, Tensor]],
    weights: list[Tensor],
    *,
    cached: bool,
) -> tuple[float, float]:
    """Largest relative errors of states and of gradients over rows; infinite where the pass cannot run."""
    leaf = soft.detach().to(passes.dtype).requires_grad_()
    try:
        hidden = passes.continue_text(passes.read_text(rows), rows, leaf) if cached else passes.full_pass(rows, leaf)
        loss = torch.stack([(_real(hidden.states[i], w) * w[0]).sum() for i, w in enumerate(weights)]).sum()
        # The cached text carries no gradient of its own: only what follows it may be compared and differentiated.
        gradient = torch.autograd.grad(loss, leaf)[0]
    except Exception:
        return float("inf"), float("inf")
    states = [_relative(_real(hidden.states[i], truth), truth[0]) for i, (truth, _) in enumerate(reference)]
    gradients = [_relative(gradient[i], truth[0]) for i, (_, truth) in enumerate(reference)]
    return max(states), max(gradients)


def _real(states: Tensor, like: Tensor) -> Tensor:
    """The last L rows of left-padded ``states`` (T, d), L as in ``like`` (1, L, d)."""
    return states[-like.shape[1] :].float()


def _gradient(states: Tensor, leaf: Tensor, weights: Tensor) -> Tensor:
    # A random weighting: the plain sum of squares after a final norm is constant and has no gradient.
    return torch.autograd.grad((states.float() * weights).sum(), leaf)[0]


def _relative(value: Tensor, truth: Tensor) -> float:
    difference = (value.detach().float() - truth.detach().float()).norm()
    error = float(difference / truth.detach().float().norm().clamp(min=1e-12))
    return error if error == error else float("inf")


def measure_stack_scale(passes: Passes) -> float:
    """Factor between what the first layer receives from ids and from ``embeddings(ids)``: 1 in nearly all decoders.

    A few multiply on the ids path only; soft tokens must then arrive in the same scale.
    """
    ids = torch.arange(min(6, passes.encoder.vocabulary_rows), device=passes.device).unsqueeze(0)
    mask = torch.ones_like(ids, dtype=torch.bool)
    try:
        with torch.no_grad():
            from_ids = _first_layer_input(passes, input_ids=ids, mask=mask)
            embeds = input_embeddings(passes.trunk)(ids)
            from_embeds = _first_layer_input(passes, input_ids=ids, inputs_embeds=embeds, mask=mask)
    except Exception as error:
        raise ConfigError(f"{passes.encoder.tokenizer.name_or_path}: a plain forward pass fails ({error})") from None
    if from_ids is None or from_embeds is None or from_ids.shape != from_embeds.shape:
        return 1.0
    scale = float((from_ids * from_embeds).sum() / from_embeds.square().sum().clamp(min=1e-30))
    return scale if abs(scale - 1) > 1e-3 and _relative(from_embeds * scale, from_ids) < 1e-2 else 1.0


def _first_layer_input(passes: Passes, **inputs: Any) -> Tensor | None:
    layers = layer_stack(passes.trunk)
    if layers is None:
        return None
    caught: list[Tensor] = []

    def catch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        value = args[0] if args else kwargs.get("hidden_states")
        if isinstance(value, Tensor):
            caught.append(value.float())

    handle = layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        passes.run(**inputs)
    finally:
        handle.remove()
    return caught[0] if caught else None
