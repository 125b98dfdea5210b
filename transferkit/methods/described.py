"""What records, plans and evaluations say of a method, and what it really reads of a text, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import nn
from transformers import PreTrainedTokenizerBase

from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.examples import Batch
from transferkit.decoder.tokens import CutTexts
from transferkit.errors import ConfigError

Side = Literal["query", "document"]  # of a training set: the anchors, or what belongs to them
POOLED = "▸"
_SHOWN = 12  # tokens at either end of a long row
Rows = list[tuple[str, str]]  # of a plan: name and what is said of it


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


class Described(nn.Module):
    """The part of a method that is read and not run.

    Attributes:
        instructions: training set -> task instruction that a loaded checkpoint was trained with, of the anchors.
        document_instructions: the same of what the anchors belong to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.instructions: dict[str, str] = {}
        self.document_instructions: dict[str, str] = {}

    @property
    def reads_instruction(self) -> bool:
        """Whether an instruction can change a vector."""
        return False

    def remember(self, instructions: dict[str, str], document_instructions: dict[str, str]) -> None:
        """Take the instructions that it was trained with."""
        self.instructions, self.document_instructions = instructions, document_instructions

    def usual_instruction(self, side: Side = "query") -> str:
        """The one that it was trained with on this side, where it was one alone; else none."""
        known = set((self.instructions if side == "query" else self.document_instructions).values())
        return known.pop() if len(known) == 1 else ""

    def document_instruction(self, instruction: str) -> str:
        """What documents are read with where questions are read with ``instruction``.

        As in the training sets that had it; where none had, the same, unless all had another one for documents.
        """
        trained = {self.document_instructions[name] for name, one in self.instructions.items() if one == instruction}
        if len(trained) == 1:
            return trained.pop()
        alike = any(self.document_instructions[name] == one for name, one in self.instructions.items())
        return instruction if trained or alike or not self.instructions else self.usual_instruction("document")

    @property
    def has_sides(self) -> bool:
        """Whether a text without an instruction of its own has another vector as a question than as a document."""
        return self.reads_instruction and self.usual_instruction("query") != self.usual_instruction("document")

    @property
    def writing_seconds(self) -> float:
        """Spent so far on what is written once and kept, for training and for dev texts."""
        return 0.0

    @property
    def cache_seconds(self) -> float:
        """Of them, those of training; the record has them beside the seconds of all steps."""
        return 0.0

    def cut_texts(self) -> list[CutTexts]:
        """What its models had to cut so far."""
        return []

    def figures(self) -> dict[str, float]:
        """What a metrics row and the progress line show of the last step; one left out keeps its last value.

        Names that a row does not have yet, or ``collapse``, which every row has.
        """
        return {}

    @property
    def record_facts(self) -> dict[str, Any]:
        """What the record keeps of how it was built."""
        return {}

    def backbone_facts(self) -> dict[str, Any] | None:
        """Which decoder embeds and how it is loaded; None: none does."""
        return None

    def summary(self) -> list[str]:
        """What a run's first line says beside label and trainable parameters."""
        return []

    def sections(self, recipe: ResolvedRecipe, batch: Batch) -> list[tuple[str, Rows]]:
        """More parts of a plan: title and rows; ``batch`` is the first one."""
        return []

    def kept_bytes(self, num_texts: int) -> int:
        """Memory for what is written once a text and kept."""
        return 0

    def memory_note(self) -> str | None:
        """Instead of an estimate, where what it holds hangs on its texts alone."""
        return None

    def examples_title(self) -> str:
        """What a plan calls its examples."""
        return "examples"

    def example(self, text: str, instruction: str) -> Example:
        """One text as it reads it."""
        return Example(text, instruction)

    def token_tables(self) -> list[nn.Embedding]:
        """The token embeddings among its weights."""
        return []

    @property
    def max_tokens(self) -> int | None:
        """Tokens of a text that are read; None: all."""
        return None


def check_side(side: str) -> None:
    """Refuse a side that there is not.

    Raises:
        ConfigError: says which there are.
    """
    if side not in get_args(Side):
        raise ConfigError(f"side: expected one of {', '.join(get_args(Side))}, got {side!r}")


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
