"""Where the pooled positions of one text look: what they attend to, layer by layer, and what each token is.

A text runs alone and unpadded in one pass over the whole row, which is what every other way of running a decoder is
measured against.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.config.poolings import Pooling, of_states, reads_soft
from transferkit.data.words import StopWords, words_of_pieces
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.layers import layer_stack
from transferkit.decoder.loading import quiet_transformers
from transferkit.decoder.passes import Hidden
from transferkit.decoder.pooling import STATE_POOLINGS
from transferkit.decoder.reader import Reader
from transferkit.decoder.tokens import Rows
from transferkit.errors import ConfigError
from transferkit.methods.described import soft_names, token_names
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.on_backbone import BackboneEmbedder

NO_TOKEN = "no token"  # what a decoder with attention sinks gives to none of its tokens
GROUPS = ("special", "template", "instruction", "stop words", "content words", "punctuation", "soft tokens", NO_TOKEN)
_NOISE = 1e-9  # of sums of shares that were made to add up to 1


@dataclass(frozen=True)
class Token:
    """One position of a row.

    Attributes:
        name: as it is written in the text or template; soft and special tokens by their names.
        group: one of ``GROUPS``.
        word: the whole word of the text that it is a piece of.
        opens: whether it is not a further piece of the word before.
    """

    name: str
    group: str
    word: str | None = None
    opens: bool = True


@dataclass(frozen=True)
class Look:
    """Where the vector of one text looks.

    Attributes:
        tokens: the row, L positions.
        pooled: (L,) how much each position counts in the vector; adds up to 1.
        layers: numbers, from 1, of the layers that have attention weights.
        shares: (layers, L) attention of the pooled positions to each position, averaged over heads.
    """

    tokens: list[Token]
    pooled: np.ndarray
    layers: list[int]
    shares: np.ndarray

    def by_group(self) -> np.ndarray:
        """(layers, groups); each row adds up to 1."""
        member = np.array([[token.group == group for group in GROUPS] for token in self.tokens], dtype=float)
        grouped = self.shares @ member
        rest = 1.0 - self.shares.sum(axis=1)
        grouped[:, GROUPS.index(NO_TOKEN)] = np.where(rest > _NOISE, rest, 0.0)
        return grouped

    def token_shares(self) -> np.ndarray:
        """(groups,) what part of the row's positions each group is: its share if all were looked at alike."""
        return np.array([sum(token.group == group for token in self.tokens) for group in GROUPS]) / len(self.tokens)


@contextmanager
def before_adaptation(embedder: BackboneEmbedder) -> Iterator[FrozenEmbedder]:
    """The decoder of ``embedder`` without what was learned: no soft tokens in its template, adapters switched off.

    Where soft positions are pooled, it reads what stands before them and its last position is pooled: that one has read
    the same text and, like them, nothing of what follows.
    """
    reader, pooling = embedder.reader, embedder.pooling
    # The room of the soft tokens is for no more text.
    if reads_soft(pooling):
        before = "".join(reader.template.before)
        frozen, pooling = reader.behind(before, closed=False, max_length=reader.text_tokens), "last"
    else:
        frozen = reader.behind(reader.template.without_soft().source, max_length=reader.text_tokens)
    with embedder.unadapted():
        yield FrozenEmbedder(frozen, pooling=pooling)


@torch.no_grad()
def check_readable(embedder: BackboneEmbedder, text: str, instruction: str) -> None:
    """Refuse a decoder whose attention weights cannot be had, or are not those that its vectors come from.

    Raises:
        ConfigError: the pooling reads no state, no layer hands out weights, or handing them out changes the hidden
            states.
    """
    backbone = embedder.backbone
    if not of_states(embedder.pooling):
        raise ConfigError(
            f"{backbone.spec.name}: pooling {embedder.pooling!r} reads token embeddings, which look nowhere; choose "
            "one that reads hidden states, such as mean"
        )
    reader = embedder.reader
    rows, soft = reader.rows([text], [instruction]), embedder.soft_prompt([text], [instruction])
    plain = reader.full_pass(rows, soft).states.float()
    with eager(backbone):
        hidden, layers = _attentions(reader, rows, soft)
    error = float((hidden.states.float() - plain).norm() / plain.norm())
    if not error <= backbone.exactness.allowed[0]:
        raise ConfigError(
            f"{backbone.spec.name}: its hidden states change by {error:.2g} (relative) when it hands out attention "
            "weights, so those would not be the ones that make its vectors; choose another decoder"
        )
    if not layers:
        raise ConfigError(
            f"{backbone.spec.name}: this decoder hands out no attention weights, so there is nothing to show; choose "
            "one whose layers attend"
        )


@torch.no_grad()
def look(embedder: BackboneEmbedder, text: str, instruction: str, *, stop_words: StopWords) -> Look:
    """Where the vector of ``text`` looks; inside :func:`eager`, which asks the decoder for its weights."""
    reader = embedder.reader
    rows, soft = reader.rows([text], [instruction]), embedder.soft_prompt([text], [instruction])
    hidden, layers = _attentions(reader, rows, soft)
    pooled = _pooled_weights(hidden, embedder.pooling)
    # Weights (heads, from, to): the mean over heads, and over the pooled positions by what they count.
    shares = np.stack([pooled @ weights.mean(0).double().cpu().numpy() for _, weights in layers])
    total = shares.sum(axis=1, keepdims=True)
    shares = np.where(abs(total - 1) <= _rounding(embedder.backbone.dtype), shares / total, shares)
    tokens = _tokens(reader, rows, text, instruction, soft=0 if soft is None else soft.shape[1], words=stop_words)
    return Look(tokens, pooled, [number for number, _ in layers], shares)


@contextmanager
def eager(backbone: Decoder) -> Iterator[None]:
    """The decoder's own attention code inside the block: the faster ones never hold the weights."""
    usual = backbone.trunk.config._attn_implementation
    with quiet_transformers():
        backbone.trunk.set_attn_implementation("eager")
    try:
        yield
    finally:
        with quiet_transformers():
            backbone.trunk.set_attn_implementation(usual)


def _attentions(reader: Reader, rows: Rows, soft: Tensor | None) -> tuple[Hidden, list[tuple[int, Tensor]]]:
    """Hidden states of one row, and number and attention weights (heads, L, L) of each layer that has any."""
    with _watched(reader.decoder.trunk) as seen:
        hidden = reader.full_pass(rows, soft)
    layers = [(number, weights[0]) for number, weights in seen if _are_weights(weights, hidden.states.shape[1])]
    return hidden, layers


@contextmanager
def _watched(trunk: nn.Module) -> Iterator[list[tuple[int, Tensor]]]:
    """Collects what ``trunk`` hands out as attention in a forward pass, with the number of the layer it came from.

    Not every layer of a decoder has attention, and what it hands out does not say whose it is.
    """
    running = 0
    made: list[tuple[int, Tensor]] = []  # every tensor that may be attention, kept so that no other takes its place
    found: list[tuple[int, Tensor]] = []

    def enter(number: int) -> Any:
        def hook(*_: Any) -> None:
            nonlocal running
            running = number

        return hook

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, tuple):
            made.extend((running, value) for value in output if isinstance(value, Tensor) and value.dim() == 4)

    def ask(module: nn.Module, args: Any, options: dict[str, Any]) -> Any:
        return args, options | {"output_attentions": True}

    def take(module: nn.Module, args: Any, output: Any) -> None:
        for place, weights in enumerate(getattr(output, "attentions", None) or (), start=1):
            if isinstance(weights, Tensor):
                found.append((next((number for number, value in made if value is weights), place), weights))

    layers = enumerate(layer_stack(trunk) or (), start=1)
    hooks = [layer.register_forward_pre_hook(enter(number)) for number, layer in layers]
    hooks += [module.register_forward_hook(leave) for module in trunk.modules() if module is not trunk]
    hooks += [trunk.register_forward_pre_hook(ask, with_kwargs=True), trunk.register_forward_hook(take)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _are_weights(weights: Tensor, length: int) -> bool:
    """Whether ``weights`` are shares of attention of one row to itself: some layers hand out a state in their place."""
    if weights.dim() != 4 or weights.shape[0] != 1 or weights.shape[2:] != (length, length):
        return False
    looks_ahead = weights.triu(diagonal=1).any()
    largest = weights.float().sum(-1).max()
    return bool((weights >= 0).all() and not looks_ahead and largest <= 1 + _rounding(weights.dtype))


def _rounding(dtype: torch.dtype) -> float:
    """How far from 1 weights that were rounded one by one may add up."""
    return 1e-4 + torch.finfo(dtype).eps


def _pooled_weights(hidden: Hidden, pooling: Pooling) -> np.ndarray:
    """How much the state of each position of one row counts in its vector, (L,): the pooling's own derivative.

    Exact for every mean; of a maximum it is the part of the vector's numbers that a position gives. Token embeddings
    beside the states look nowhere and are left aside.
    """
    with torch.enable_grad():
        states = hidden.states.detach().float().requires_grad_()
        made = [STATE_POOLINGS[part](states, hidden.mask, hidden.soft).sum() for part in of_states(pooling)]
        (gradient,) = torch.autograd.grad(made, states)
    weights: np.ndarray = gradient[0].double().mean(dim=1).cpu().numpy()
    return weights / weights.sum()


def _tokens(reader: Reader, rows: Rows, text: str, instruction: str, *, soft: int, words: StopWords) -> list[Token]:
    """What each position of one row is, in the order of the row."""
    encoder, template = reader.decoder.encoder, reader.template
    if not encoder.tokenizer.is_fast:
        raise ConfigError(
            f"{reader.decoder.spec.name}: its tokenizer does not say where in a text its tokens stand, so they cannot "
            "be told apart; put a tokenizer.json beside its config.json"
        )

    def named(ids: Sequence[int]) -> list[tuple[int, Token]]:
        names = token_names(encoder.tokenizer, ids)
        return [(i, Token(name, "special")) for i, name in zip(ids, names, strict=True)]

    def read(parts: Sequence[str]) -> list[tuple[int, Token]]:
        found: list[tuple[int, Token]] = []
        for part in parts:
            if part == "{text}":
                found += _text_tokens(reader, text, words)
            elif part == "{instruction}":
                found += [(i, Token(instruction[a:b], "instruction")) for i, a, b in _pieces(reader, instruction)]
            else:
                found += [(i, Token(part[a:b], "template")) for i, a, b in _pieces(reader, part, literal=True)]
        return found

    before, after = named(encoder.bos) + read(template.before), read(template.after)
    (after if template.has_soft else before).extend(named(reader.rows.eos))
    before = before or named(rows.before[0])  # a row of nothing holds one token all the same
    assert ([i for i, _ in before], [i for i, _ in after]) == (rows.before[0], rows.after[0])
    soft_tokens = [Token(name, "soft tokens") for name in soft_names(soft)]
    return [*(token for _, token in before), *soft_tokens, *(token for _, token in after)]


def _text_tokens(reader: Reader, text: str, stop_words: StopWords) -> list[tuple[int, Token]]:
    pieces = _pieces(reader, text)
    found: list[tuple[int, Token]] = []
    before: tuple[int, str] | None = None
    for (i, start, end), owner in zip(pieces, words_of_pieces(text, [(a, b) for _, a, b in pieces]), strict=True):
        word = None if owner is None else owner[1]
        group = "punctuation" if word is None else "stop words" if word in stop_words else "content words"
        found.append((i, Token(text[start:end], group, word, opens=owner is None or owner != before)))
        before = owner
    return found


def _pieces(reader: Reader, text: str, *, literal: bool = False) -> list[tuple[int, int, int]]:
    """Id, start and end in ``text`` of each of its tokens, as the decoder reads a text or a template's own text."""
    plain = {"split_special_tokens": True, "truncation": True, "max_length": reader.text_tokens}
    read = reader.decoder.encoder.tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, **({} if literal else plain)
    )
    return [(i, start, end) for i, (start, end) in zip(read["input_ids"], read["offset_mapping"], strict=True)]
