"""What a method really reads of a text: its tokens, with the positions that become the vector marked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

POOLED = "▸"
_SHOWN = 12  # tokens at either end of a long row


@dataclass(frozen=True)
class Example:
    """One text as the models read it.

    Attributes:
        prompts: tokens of each prompt that the Prompting LLM read.
        tokens: what is made a vector of; soft tokens as ``⟨soft 1⟩``.
        pooled: whether each of ``tokens`` is part of the vector; empty: all are, and nothing else is said of the text.
        reader: what ``tokens`` are, in the words of a line.
    """

    text: str
    instruction: str
    prompts: list[list[str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    pooled: list[bool] = field(default_factory=list)
    reader: str = "backbone reads"

    def lines(self) -> list[str]:
        """The example as lines, indented below its text."""
        if not self.pooled:
            return [" ".join(self.tokens)]
        instruction = f"  instruction {one_line(self.instruction)!r}" if self.instruction else ""
        lines = [f"{one_line(self.text)!r}{instruction}"]
        lines += [f"  Prompting LLM reads  {_row(prompt, [False] * len(prompt))}" for prompt in self.prompts]
        return [*lines, f"  {self.reader:<21}{_row(self.tokens, self.pooled)}"]


def token_names(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Each token as its vocabulary writes it, on one line."""
    return [one_line(str(name)) for name in tokenizer.convert_ids_to_tokens(list(ids))]


def soft_names(count: int) -> list[str]:
    """What soft tokens, which no vocabulary holds, are called."""
    return [f"⟨soft {i}⟩" for i in range(1, count + 1)]


def one_line(text: str) -> str:
    """``text`` on one line, shortened."""
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return text if len(text) <= 100 else f"{text[:97]}..."


def _row(tokens: list[str], pooled: list[bool]) -> str:
    marked = [POOLED * mark + token for token, mark in zip(tokens, pooled, strict=True)]
    if len(marked) <= 2 * _SHOWN:
        return " ".join(marked)
    hidden = pooled[_SHOWN:-_SHOWN]
    note = f"({len(hidden)} more, {sum(hidden)} of them pooled)" if any(hidden) else f"({len(hidden)} more)"
    return " ".join([*marked[:_SHOWN], f"… {note} …", *marked[-_SHOWN:]])
