"""The Prompting LLM alone: its soft tokens are the embedding, and no decoder reads them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from transferkit.config.methods import MethodFacts
from transferkit.config.poolings import STATIC, parts_of
from transferkit.config.resolve import ResolvedRecipe
from transferkit.config.sections import Reads
from transferkit.decoder.identity import tokenizer_sha256
from transferkit.decoder.loading import input_embeddings
from transferkit.decoder.pooling import side_by_side
from transferkit.decoder.text_states import TextStateMemory
from transferkit.decoder.tokens import CutTexts
from transferkit.errors import ConfigError, one_of
from transferkit.methods.base import Embedder, Given, Saved, Variant
from transferkit.methods.described import POOLED, Example, soft_names, token_names
from transferkit.methods.on_backbone import SeveralPoolings
from transferkit.prompting.saved import open_source, open_writer, save_writer, writer_settings
from transferkit.prompting.writer import Writer
from transferkit.readout.readout import Readout
from transferkit.runs.checkpoint_folder import DESCRIPTION

Join = Literal["mean", "side by side", "mean+static", "side by side+static"]
JOINS: dict[Join, str] = {
    "mean": "mean of the soft tokens",
    "side by side": "soft tokens side by side",
    "mean+static": "mean of the soft tokens + static",
    "side by side+static": "soft tokens side by side + static",
}


@dataclass
class Written:
    """What a Prompting LLM gives of a batch: ``soft`` (B, k, d_p) tokens; ``static`` gives mean token embeddings."""

    soft: Tensor
    static: Callable[[], Tensor]

    def pool(self, how: str) -> Tensor:
        """One vector a row: see :class:`PromptingAlone`."""
        made = {"mean": lambda: self.soft.mean(1), "side by side": lambda: self.soft.flatten(1), STATIC: self.static}
        return side_by_side([made[part]() for part in parts_of(how)])


class PromptingAlone(Embedder):
    """The soft tokens themselves as the embedding, without any backbone.

    A transfer that does not beat this row is worthless: its user would drop the backbone.

    Args:
        writer: the Prompting LLM.
        join: ``mean`` of the k soft tokens (d_p), or all of them ``side by side`` (k d_p); ``+static`` puts the mean
            of the Prompting LLM's own token embeddings beside them.
    """

    facts = MethodFacts(
        name="prompting-llm-alone",
        task="baseline",
        place=5,
        title="prompting LLM alone",
        kind="prompting-llm-alone",
        has_backbone=False,
        needs_source=True,
        learns=False,
    )

    def __init__(self, writer: Writer, *, join: Join) -> None:
        check_reads_text(writer.reads, where=self.facts.name)
        # A method's device is its readout's, and vectors are finished there.
        super().__init__(Readout.plain(joined_width(writer, join)).to(writer.prompting.device))
        self.writer = writer
        self.join: Join = join

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """The source's Prompting LLM."""
        source = open_source(given.source_folder)
        return cls(source.writer(recipe.prompting, precision=recipe.precision, device=given.device), join="mean")

    def pooled_width(self, join: str) -> int:
        """Length of the vectors that a join gives."""
        return joined_width(self.writer, join)

    @torch.no_grad()
    def read(self, texts: Sequence[str], instructions: Sequence[str]) -> Written:
        """Soft tokens and token embeddings, without gradient."""
        static = partial(self.writer.prompting.mean_token_embeddings, texts)
        return Written(self.writer(texts, instructions).float(), static)

    def embed(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Tensor:
        """Joined vectors (B, :meth:`pooled_width`), without gradient."""
        return self.read(texts, instructions).pool(self.join)

    def variants(self, recipe: ResolvedRecipe) -> Iterator[tuple[Embedder, list[Variant]]]:
        """Every join, from one pass."""
        together = SeveralPoolings(self, poolings=list(JOINS))
        yield (
            together,
            [
                Variant(name, PromptingAlone(self.writer, join=join), partial(together.part, pooling=join))
                for join, name in JOINS.items()
            ],
        )

    def variant_names(self, recipe: ResolvedRecipe) -> list[str]:
        """Of the joins."""
        return list(JOINS.values())

    def describe(self) -> dict[str, Any]:
        """With Prompting LLM and join."""
        return super().describe() | {"prompting": writer_settings(self.writer), "join": self.join}

    def save_files(self, folder: Path, *, shared: Path | None) -> None:
        """The Prompting LLM."""
        save_writer(self.writer, folder, shared=shared)

    @classmethod
    def open(cls, saved: Saved) -> Self:
        """The Prompting LLM in a checkpoint."""
        join = saved.description["join"]
        if join not in JOINS:
            raise ConfigError(f"{saved.folder / DESCRIPTION}: join: expected {one_of(list(JOINS))}, got {join!r}")
        return cls(open_writer(saved.folder, saved.description["prompting"], saved.device), join=join)

    @property
    def writing_seconds(self) -> float:
        """Of soft tokens that are kept."""
        return self.writer.seconds

    @property
    def reads_instruction(self) -> bool:
        """The Prompting LLM does."""
        return True

    def kept_bytes(self, num_texts: int) -> int:
        """Of soft tokens that are written once, at most their budget."""
        return self.writer.kept_bytes(num_texts)

    def examples_title(self) -> str:
        """Its soft tokens are the vector."""
        return f"examples, as tokens ({POOLED} makes the vector)"

    @torch.no_grad()
    def example(self, text: str, instruction: str) -> Example:
        """The prompt, and the soft tokens that it wrote."""
        encoder, tokens = self.writer.prompting.encoder, soft_names(self.writer.prompting.tokens)
        prompts = [token_names(encoder.tokenizer, row) for row in self.writer.rows([text], [instruction])]
        return Example(text, instruction, prompts, tokens, [True] * len(tokens), reader="soft tokens it wrote")

    def cut_texts(self) -> list[CutTexts]:
        """The Prompting LLM's."""
        return self.writer.cut_texts()

    def token_tables(self) -> list[nn.Embedding]:
        """The Prompting LLM's."""
        return [input_embeddings(self.writer.prompting.model)]

    @property
    def max_tokens(self) -> int:
        """Of instruction and text."""
        return self.writer.prompting.max_length

    def fingerprint(self) -> dict[str, Any]:
        """With the Prompting LLM's tokenizer."""
        own = tokenizer_sha256(self.writer.prompting.encoder.tokenizer)
        return super().fingerprint() | {"prompting_tokenizer_sha256": own}


def joined_width(writer: Writer, join: str) -> int:
    """Length of the vectors that a join gives."""
    prompting = writer.prompting
    static = input_embeddings(prompting.model).weight.shape[1]
    widths = {"mean": prompting.width, "side by side": prompting.width * prompting.tokens, STATIC: static}
    return sum(widths[part] for part in parts_of(join))


def check_reads_text(reads: Reads, *, where: str) -> None:
    """Refuse a Prompting LLM whose soft tokens are the same for every text as an embedding.

    Raises:
        ConfigError: opens with ``where``.
    """
    if reads == "instruction":
        raise ConfigError(
            f"{where}: this Prompting LLM reads the instruction alone, so its tokens are the same for every text; the "
            "row has no meaning"
        )
