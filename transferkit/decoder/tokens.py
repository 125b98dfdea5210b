"""Text -> token ids, the same for every caller: plain text, left padding, ids that exist in the embedding."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from transferkit.config.template import Template
from transferkit.errors import ConfigError


def opens_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether sequences open with BOS where no spec says so.

    They do where the tokenizer has a BOS token of its own, and where one token is both BOS and EOS but the tokenizer
    itself puts it in front.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        return False
    return bos != tokenizer.eos_token_id or tokenizer("a")["input_ids"][:1] == [bos]


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

    def texts(self, texts: Sequence[str], *, max_length: int) -> list[list[int]]:
        """Ids of each text as plain text, cut to ``max_length`` tokens, nothing added.

        Raises:
            ConfigError: a token id lies beyond the model's embedding.
        """
        if not texts:
            return []
        rows: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True, truncation=True, max_length=max_length
        )["input_ids"]
        for row in rows:
            if row and max(row) >= self.num_rows:
                raise ConfigError(
                    f"{self.tokenizer.name_or_path}: token id {max(row)} lies beyond the model's {self.num_rows} "
                    "embedding rows; tokenizer and model do not belong together"
                )
        return rows

    def literal(self, text: str) -> list[int]:
        """Ids of a template's own text, in which special tokens are meant as such."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids and max(ids) >= self.num_rows:
            raise ConfigError(
                f"template text {text!r}: token id {max(ids)} lies beyond the model's {self.num_rows} embedding rows"
            )
        return ids


@dataclass(frozen=True)
class Rows:
    """Token ids of a batch, split at the soft tokens: ``before[i]`` + soft + ``after[i]``; and of its texts alone."""

    before: list[list[int]]
    after: list[list[int]]
    texts: list[list[int]] = field(default_factory=list)

    def num_tokens(self) -> int:
        """Real tokens in the batch, soft tokens not counted."""
        return sum(map(len, self.before)) + sum(map(len, self.after))


class TemplateEncoder:
    """Fills a template with texts and instructions: (texts, instructions) -> :class:`Rows`.

    ``closed``: whether rows end with EOS where the encoder has one.
    """

    def __init__(self, encoder: TextEncoder, template: Template, *, max_length: int, closed: bool = True) -> None:
        self.encoder = encoder
        self.template = template
        self.eos = encoder.eos if closed else []
        self.max_length = max_length  # tokens of the text and of the instruction, each

    def overhead(self) -> int:
        """Positions that the template, BOS and EOS take around text and soft tokens."""
        literals = sum(len(self.encoder.literal(p)) for p in self.template.parts if not p.startswith("{"))
        return literals + len(self.encoder.bos) + len(self.eos)

    def __call__(self, texts: Sequence[str], instructions: Sequence[str]) -> Rows:
        """Ids of each row; every row has at least one token before the soft ones or, without, at all."""
        filled = {"{text}": self.encoder.texts(texts, max_length=self.max_length)}
        if "{instruction}" in self.template.parts:
            filled["{instruction}"] = self.encoder.texts(instructions, max_length=self.max_length)
        before = self._join(self.template.before, filled, len(texts))
        after = self._join(self.template.after, filled, len(texts))
        closing = after if self.template.has_soft else before
        for i in range(len(texts)):
            before[i] = self.encoder.bos + before[i]
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
