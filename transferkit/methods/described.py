"""What records, plans and evaluations say of a method; one with nothing to say of itself says nothing here."""

from typing import Any

from torch import nn

from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.examples import Batch
from transferkit.methods.example import Example

Rows = list[tuple[str, str]]  # of a plan: name and what is said of it


class Described(nn.Module):
    """The part of a method that is read and not run."""

    @property
    def reads_instruction(self) -> bool:
        """Whether an instruction can change a vector."""
        return False

    @property
    def writing_seconds(self) -> float:
        """Spent so far on what is written once and kept, for training and for dev texts."""
        return 0.0

    @property
    def cache_seconds(self) -> float:
        """Of them, those of training; the record has them beside the seconds of all steps."""
        return 0.0

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
