"""Text -> token ids, the same for every caller: plain text, left padding, ids that exist, and how many were cut."""

import threading
from array import array
from collections.abc import Hashable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from transferkit.config.template import Template
from transferkit.errors import ConfigError

# A tokenizer's settings (to split special tokens or not) are switched inside it at each call.
_TOKENIZING = threading.Lock()


def opens_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether sequences open with BOS where no spec says so.

    They do where the tokenizer has a BOS token of its own, and where one token is both BOS and EOS but the tokenizer
    itself puts it in front.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        return False
    return bos != tokenizer.eos_token_id or tokenizer("a")["input_ids"][:1] == [bos]


class CutTexts:
    """Cuts rows of tokens to what one model reads, and counts.

    Args:
        reader: who reads them, as a sentence names it.
        limit: tokens that it reads.
        remedy: what a user can do.
        what: is read.
    """

    def __init__(self, reader: str, *, limit: int, remedy: str, what: str = "texts") -> None:
        self.reader = reader
        self.limit = limit
        self.remedy = remedy
        self.what = what
        self.texts = 0
        self.lengths = array("L")  # tokens of those that were cut

    def cut(self, rows: list[list[int]]) -> list[list[int]]:
        """The rows, none longer than the limit."""
        self.texts += len(rows)
        self.lengths.extend(len(row) for row in rows if len(row) > self.limit)
        return [row[: self.limit] for row in rows]

    def take(self) -> "CutTexts":
        """What was counted so far; the count begins anew."""
        taken = copy(self)
        self.texts, self.lengths = 0, array("L")
        return taken

    def facts(self) -> dict[str, Any]:
        """For records."""
        return {
            "reader": self.reader,
            "what": self.what,
            "limit": self.limit,
            "texts": self.texts,
            "cut": len(self.lengths),
            "median_tokens": median(self.lengths) if self.lengths else None,
        }


def cut_in_words(counts: Iterable[CutTexts]) -> list[str]:
    """A sentence a reader that cut any."""
    return [
        f"{len(one.lengths):,} of {one.texts:,} {one.what} are longer than the {one.limit} tokens that {one.reader} "
        f"reads of each and were cut (their median: {median(one.lengths):,.0f} tokens); {one.remedy}"
        for one in counts
        if one.lengths
    ]


class TextEncoder:
    """A tokenizer behind the two calls that the models need.

    Special tokens written inside a user's text are encoded as plain text: a text that holds ``<|endoftext|>`` must
    neither end the sequence nor, where a tokenizer has more entries than the model has rows, read a wrong row.

    Args:
        tokenizer: any tokenizer of ``transformers``.
        num_rows: rows of the model's embedding; an id beyond them is refused.
        add_bos: open every sequence with BOS. None: see :func:`opens_with_bos`.
        append_eos: close every sequence with EOS.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_rows: int,
        add_bos: bool | None = None,
        append_eos: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.num_rows = num_rows
        self.bos = self._special("bos", wanted=opens_with_bos(tokenizer) if add_bos is None else add_bos)
        self.eos = self._special("eos", wanted=append_eos)
        candidates = (tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, 0)
        # A text without tokens still needs one position: a fully masked row has no defined attention.
        self.filler = next(i for i in candidates if i is not None and i < num_rows)

    def _special(self, name: str, *, wanted: bool) -> list[int]:
        if not wanted:
            return []
        token_id = getattr(self.tokenizer, f"{name}_token_id")
        if token_id is None:
            raise ConfigError(f"{self.tokenizer.name_or_path} has no {name}_token, but its spec asks for one")
        if token_id >= self.num_rows:
            raise ConfigError(
                f"{self.tokenizer.name_or_path}: the {name} token has id {token_id}, but the model has "
                f"{self.num_rows} embedding rows"
            )
        return [token_id]

    @property
    def vocabulary_rows(self) -> int:
        """Embedding rows that belong to a token; rows beyond are padding of the matrix."""
        return min(len(self.tokenizer), self.num_rows)

    def texts(self, texts: Sequence[str], *, max_length: int, cut: CutTexts | None = None) -> list[list[int]]:
        """Ids of each text as plain text, cut to ``max_length`` tokens or by ``cut``, which counts; nothing added.

        Raises:
            ConfigError: a token id lies beyond the model's embedding.
        """
        if not texts:
            return []
        plain = [_well_formed(text) for text in texts]
        with _TOKENIZING:
            rows: list[list[int]] = self.tokenizer(
                plain, add_special_tokens=False, split_special_tokens=True, truncation=False, verbose=False
            )["input_ids"]
        # Here and not by the tokenizer, which may cut on the left, or to a length of its own.
        rows = [row[:max_length] for row in rows] if cut is None else cut.cut(rows)
        for row in rows:
            if row and max(row) >= self.num_rows:
                raise ConfigError(
                    f"{self.tokenizer.name_or_path}: token id {max(row)} lies beyond the model's {self.num_rows} "
                    "embedding rows; tokenizer and model do not belong together"
                )
        return rows

    def literal(self, text: str) -> list[int]:
        """Ids of a template's own text, in which special tokens are meant as such."""
        with _TOKENIZING:
            ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids and max(ids) >= self.num_rows:
            raise ConfigError(
                f"template text {text!r}: token id {max(ids)} lies beyond the model's {self.num_rows} embedding rows"
            )
        return ids


def _well_formed(text: str) -> str:
    """The text, with U+FFFD for each half of a surrogate pair that stands alone: no tokenizer takes one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclass(frozen=True)
class Rows:
    """Token ids of a batch, split at the soft tokens: ``before[i]`` + soft + ``after[i]``; and of its texts alone."""

    before: list[list[int]]
    after: list[list[int]]
    texts: list[list[int]] = field(default_factory=list)

    def num_tokens(self) -> int:
        """Real tokens in the batch, soft tokens not counted."""
        return sum(map(len, self.before)) + sum(map(len, self.after))

    def take(self, places: Sequence[int]) -> "Rows":
        """Some of the rows."""
        return Rows(*([ids[i] for i in places] for ids in (self.before, self.after, self.texts) if ids))


def alike(keys: Sequence[Hashable]) -> list[list[int]]:
    """Places of equal keys, group by group."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def in_order(groups: Sequence[Sequence[int]]) -> Tensor:
    """Index that puts what was made group by group back in its places."""
    return torch.tensor([place for group in groups for place in group]).argsort()


def way_out(key: str, *, full: bool) -> str:
    """What helps against texts that are cut; a checkpoint's ``key`` cannot be changed any more.

    ``full``: whether the model reads as much as the key allows, and its context holds more.
    """
    return f"raise {key} in the recipe that trains, or split them" if full else "its context holds no more; split them"


class TemplateEncoder:
    """Fills a template with texts and instructions: (texts, instructions) -> :class:`Rows`.

    Args:
        encoder: the decoder's.
        template: with at least one of ``{text}`` and ``{soft}``.
        max_length: tokens of the text and of the instruction, each.
        closed: whether rows end with EOS where the encoder has one.
        remedy: what a user can do about texts that are cut.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        template: Template,
        *,
        max_length: int,
        closed: bool = True,
        remedy: str = "split them",
    ) -> None:
        self.encoder = encoder
        self.template = template
        self.eos = encoder.eos if closed else []
        self.max_length = max_length
        self.cut_texts = CutTexts("the decoder", limit=max_length, remedy=remedy)
        self.cut_instructions = CutTexts(
            "the decoder", limit=max_length, remedy="say it in fewer words", what="instructions"
        )
        self._instructions: dict[str, list[int]] = {}

    def counts(self) -> list[CutTexts]:
        """What was cut; of instructions where the template has any, each of them counted once."""
        return [self.cut_texts, *([self.cut_instructions] if "{instruction}" in self.template.parts else [])]

    def overhead(self) -> int:
        """Positions that the template, BOS and EOS take around text and soft tokens."""
        literals = sum(len(self.encoder.literal(p)) for p in self.template.parts if not p.startswith("{"))
        return literals + len(self.encoder.bos) + len(self.eos)

    def __call__(self, texts: Sequence[str], instructions: Sequence[str]) -> Rows:
        """Ids of each row; every row has at least one token before the soft ones or, without, at all."""
        filled = {"{text}": self.encoder.texts(texts, max_length=self.max_length, cut=self.cut_texts)}
        if "{instruction}" in self.template.parts:
            new = [one for one in dict.fromkeys(instructions) if one not in self._instructions]
            ids = self.encoder.texts(new, max_length=self.max_length, cut=self.cut_instructions)
            self._instructions.update(zip(new, ids, strict=True))
            filled["{instruction}"] = [self._instructions[one] for one in instructions]
        before = self._join(self.template.before, filled, len(texts))
        after = self._join(self.template.after, filled, len(texts))
        closing = after if self.template.has_soft else before
        for i in range(len(texts)):
            if before[i][: len(self.encoder.bos)] != self.encoder.bos:  # a template may write it itself
                before[i] = self.encoder.bos + before[i]
            if self.eos and closing[i][-len(self.eos) :] != self.eos:
                closing[i] += self.eos
            if not before[i] and (self.template.soft_sees_text or not after[i]):
                before[i] = [self.encoder.filler]
        return Rows(before=before, after=after, texts=filled["{text}"])

    def _join(self, parts: Sequence[str], filled: dict[str, list[list[int]]], count: int) -> list[list[int]]:
        rows: list[list[int]] = [[] for _ in range(count)]
        for part in parts:
            literal = None if part in filled else self.encoder.literal(part)
            for i, row in enumerate(rows):
                row += filled[part][i] if literal is None else literal
        return rows


def positions(mask: Tensor, width: int) -> Tensor:
    """Position ids (B, width) of the last ``width`` columns of ``mask`` (B, T): real tokens counted from 0."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)[:, -width:]


def pad_left(rows: Sequence[Sequence[int]], *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and mask (B, T), True where a token is real, rows aligned at their last token.

    Left padding is the only one that is right for sliding windows, ALiBi by slot and recurrent layers.
    """
    width = max(map(len, rows), default=0)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        if row:
            ids[i, width - len(row) :] = torch.tensor(row)
            mask[i, width - len(row) :] = True
    return ids.to(device), mask.to(device)
