"""Shares of attention over texts, before and after adaptation, as numbers.

Roth et al. (arXiv 2507.22729) report that fine-tuning moves attention from the prompt to words that carry meaning; this
measures it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from transferkit.attention.shares import GROUPS, Look, before_adaptation, check_readable, eager, look
from transferkit.config.poolings import Pooling
from transferkit.data.words import StopWords
from transferkit.errors import RunError
from transferkit.methods.described import one_line
from transferkit.methods.on_backbone import BackboneEmbedder
from transferkit.progress import Work

FORMAT = 1
CONTENT_OF_WORDS = "content words, of all words"  # what they have of the attention that any word gets
_DIGITS = 6


@dataclass(frozen=True)
class Side:
    """One state of a decoder, before or after adaptation, measured on n texts.

    Attributes:
        method: what reads the text: ``frozen``, ``transfer``, ``LoRA`` or ``prompt tuning``.
        template: what it reads.
        pooling: which positions make the vector.
        layers: numbers, from 1, of the layers that have attention weights.
        shares: (n, layers, groups).
        tokens: (n, groups) what part of each row's positions a group is.
        look: of the text where there is one alone.
    """

    method: str
    template: str
    pooling: Pooling
    layers: list[int]
    shares: np.ndarray
    tokens: np.ndarray
    look: Look | None

    def by_text(self, layers: slice = slice(None)) -> dict[str, np.ndarray]:
        """Figure -> one number a text (n,), mean over ``layers``: each group's share, and content words' among words.

        A text whose words get no attention has no value (NaN) of the last.
        """
        shares = self.shares[:, layers].mean(axis=1)
        figures = {group: shares[:, place] for place, group in enumerate(GROUPS)}
        words = figures["content words"] + figures["stop words"]
        of_words = np.full_like(words, np.nan)
        np.divide(figures["content words"], words, out=of_words, where=words > 0)
        return figures | {CONTENT_OF_WORDS: of_words}


@dataclass(frozen=True)
class Report:
    """Shares of attention over texts.

    ``after`` is None for a decoder that nothing was adapted on, ``instruction`` for a method that reads none.
    """

    backbone: str
    instruction: str | None
    stop_words: str
    before: Side
    after: Side | None

    def sides(self) -> dict[str, Side]:
        """What was measured, by name: before and after, or the frozen decoder alone."""
        return {"frozen": self.before} if self.after is None else {"before": self.before, "after": self.after}

    def groups(self) -> list[str]:
        """Those of ``GROUPS`` that occur in any text."""
        there = sum(side.tokens.sum(axis=0) + side.shares.sum(axis=(0, 1)) for side in self.sides().values())
        return [group for group, found in zip(GROUPS, there, strict=True) if found > 0]

    def figures(self) -> list[str]:
        """Names of the figures that this report has a value of."""
        return [*self.groups(), *([CONTENT_OF_WORDS] if "content words" in self.groups() else [])]

    def change(self) -> dict[str, tuple[float, float | None]]:
        """Figure -> after less before, mean over texts, and its standard error from two texts on."""
        if self.after is None:
            return {}
        before, after = self.before.by_text(), self.after.by_text()
        return {name: mean_and_error(after[name] - before[name]) for name in self.figures()}

    def to_json(self) -> dict[str, Any]:
        """All numbers; shares are of 1."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "backbone": self.backbone,
            "instruction": self.instruction,
            "stop_words": self.stop_words,
            "texts": len(self.before.shares),
        }
        content |= {name: self._side_json(side) for name, side in self.sides().items()}
        if change := self.change():
            content["change"] = {
                name: {"mean": _rounded(mean), "standard_error": None if error is None else _rounded(error)}
                for name, (mean, error) in change.items()
            }
        return content

    def _side_json(self, side: Side) -> dict[str, Any]:
        tokens = dict(zip(GROUPS, side.tokens.mean(axis=0), strict=True))
        content: dict[str, Any] = {
            "method": side.method,
            "template": side.template,
            "pooling": side.pooling,
            "tokens": {group: _rounded(tokens[group]) for group in self.groups()},
            "mean": self._means(side, slice(None)),
            "layers": [
                {"layer": number, **self._means(side, slice(place, place + 1))}
                for place, number in enumerate(side.layers)
            ],
        }
        if side.look is not None:
            content["text"] = [
                {
                    "token": token.name,
                    "group": token.group,
                    "word": token.word,
                    "pooled": _rounded(pooled),
                    "shares": [_rounded(share) for share in shares],
                }
                for token, pooled, shares in zip(side.look.tokens, side.look.pooled, side.look.shares.T, strict=True)
            ]
        return content

    def _means(self, side: Side, layers: slice) -> dict[str, float]:
        found = side.by_text(layers)
        return {name: _rounded(mean_and_error(found[name])[0]) for name in self.figures()}


def measure(
    embedder: BackboneEmbedder, texts: Sequence[str], *, instruction: str, stop_words: StopWords, console: Console
) -> Report:
    """Shares of attention of the positions that ``embedder`` pools, and of its decoder without what was learned.

    Args:
        embedder: any method that embeds through a decoder.
        texts: at least one, none of them blank.
        instruction: of the task, for all texts; not used by a method that reads none.
        stop_words: all other words of a text are content words.
        console: for progress.

    Raises:
        ConfigError: the decoder hands out no attention weights, or its tokenizer no offsets.
        RunError: a text for which other layers hand out attention weights than for the first.
    """
    check_readable(embedder, texts[0], instruction)
    adapted = embedder.facts.learns
    after = None
    with Work(console, "attention", total=len(texts) * (1 + adapted)) as work, eager(embedder.backbone):

        def looks(one: BackboneEmbedder) -> Iterator[Look]:
            for text in texts:
                yield look(one, text, instruction, stop_words=stop_words)
                work.advance()

        with before_adaptation(embedder) as frozen:
            before = _side(frozen, looks(frozen))
        if adapted:
            after = _side(embedder, looks(embedder))
    read = instruction if embedder.reads_instruction else None
    return Report(embedder.backbone.spec.name, read, stop_words.name, before, after)


def _side(embedder: BackboneEmbedder, looks: Iterator[Look]) -> Side:
    first: Look | None = None
    shares, tokens = [], []
    for number, one in enumerate(looks, start=1):
        first = first or one
        if one.layers != first.layers:
            raise RunError(f"text {number}: other layers hand out attention weights than for the first text")
        shares.append(one.by_group())
        tokens.append(one.token_shares())
    assert first is not None
    return Side(
        method=embedder.facts.title,
        template=embedder.template,
        pooling=embedder.pooling,
        layers=first.layers,
        shares=np.stack(shares),
        tokens=np.stack(tokens),
        look=first if len(shares) == 1 else None,
    )


def heading(name: str, side: Side) -> str:
    """What a side is, on one line."""
    method = "" if name == side.method else f"{side.method}, "
    return f"{name}: {method}{side.pooling} pooling, reads “{one_line(side.template)}”"


def mean_and_error(values: np.ndarray) -> tuple[float, float | None]:
    """Mean of (n,) values and its standard error; texts without a value do not count."""
    values = values[~np.isnan(values)]
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return float(values.mean()) if len(values) else 0.0, None if error is None else float(error)


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)
