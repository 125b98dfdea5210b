"""A question -> the nearest of many texts. Their vectors are made once and kept; each question reads all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from rich.console import Console

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.instructions import warn_of_instruction
from transferkit.checkpoints.opening import Opening, what_differs
from transferkit.data.installed_docs import check_packages, kept_docs
from transferkit.decoder.device import usable_device
from transferkit.embed.entries import other_columns
from transferkit.embed.once import kept_vectors, written
from transferkit.embed.standing_out import limit
from transferkit.errors import ConfigError
from transferkit.files.text_files import TextFile
from transferkit.files.vectors.precision import Stored
from transferkit.methods.base import Embedder


@dataclass(frozen=True)
class Entry:
    """Something that can be found: what is shown as its name and text, and what is embedded.

    ``columns``: what else its row holds.
    """

    name: str
    text: str
    embedded: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """An entry and its cosine with the question.

    ``stands_out``: whether that is above what unrelated texts reach (:mod:`transferkit.embed.standing_out`); None
    where there are too few to tell.
    """

    score: float
    entry: Entry
    stands_out: bool | None = None


def docstring_entries(folder: Path, *, packages: Sequence[str] = ()) -> list[Entry]:
    """The docstrings of the packages on this machine; a question is compared with their summaries.

    Args:
        folder: keeps them, beside their vectors.
        packages: those that are searched, ``python`` for the standard library; none: all.

    Raises:
        ConfigError: a folder that cannot be written, or a package whose docstrings are not read.
    """
    check_packages(packages)
    with written(folder):
        docs = kept_docs(folder)
    return [Entry(doc.name, doc.summary, doc.summary) for doc in docs if not packages or doc.package in packages]


def file_entries(texts: str, *, column: str) -> list[Entry]:
    """The texts of a file, named by their row.

    Raises:
        ConfigError: see :class:`transferkit.files.text_files.TextFile`.
    """
    found = list(TextFile.named(texts, column=column))
    others = other_columns(texts, column=column) or [{}] * len(found)
    rows = enumerate(zip(found, others, strict=True), start=1)
    return [Entry(f"row {number}", text, text, columns) for number, (text, columns) in rows]


class Nearest:
    """A checkpoint that reads questions, and entries with their vectors, which a subclass gives as ``stored``.

    A question is compared with all of them: one pass over n x d numbers, exact, milliseconds for 100,000 texts. An
    approximate index takes longer to build than thousands of such passes. The question itself loses no bits: of vectors
    that did, the steps are undone, and signs are taken as +-1.

    Args:
        checkpoint: checkpoint or run folder, or ``bundled``.
        entries: at least one.
        instruction: of questions; None: the checkpoint's, where it was trained with one alone. Texts are read with
            what the checkpoint read documents with beside such questions.
        **opening: see :class:`transferkit.checkpoints.opening.Opening`. In another space the questions are.

    Raises:
        ConfigError: no checkpoint there, no entries, or a readout that the checkpoint does not hold.
    """

    stored: Stored

    def __init__(
        self, checkpoint: Path, entries: Sequence[Entry], *, instruction: str | None, **opening: Unpack[Opening]
    ) -> None:
        if not entries:
            raise ConfigError("search: there are no texts to search; give a file with at least one")
        self.entries = entries
        opening["device"] = usable_device(opening.get("device"))
        self.embedder: Embedder = load(checkpoint, **opening)
        self.instruction = self.embedder.usual_instruction() if instruction is None else instruction
        self.of_texts = self.embedder.document_instruction(self.instruction)

    @cached_property
    def needed(self) -> float | None:
        """The cosine above which a hit stands out; None of too few texts."""
        return limit(self.stored)

    def search(self, question: str, *, top: int = 5) -> list[Hit]:
        """The ``top`` entries with the highest cosine, best first."""
        width = self.stored.width
        cut = None if width == self.embedder.get_embedding_dimension() else width
        (vector,) = self.embedder.encode([question], instruction=self.instruction, truncate_dim=cut)
        scores = self.stored.cosines(vector)
        order = np.argsort(-scores, kind="stable")[:top]
        marks = [None if self.needed is None else bool(scores[i] > self.needed) for i in order]
        return [Hit(float(scores[i]), self.entries[i], mark) for i, mark in zip(order, marks, strict=True)]


class Index(Nearest):
    """Vectors of ``entries`` under one checkpoint, made where they are not kept already.

    Args:
        checkpoint: as for :class:`Nearest`.
        entries: as for :class:`Nearest`.
        folder: keeps the vectors, in a file named after checkpoint, readout, instruction and texts: another one of
            these is another file, so nothing stale is ever served.
        instruction: as for :class:`Nearest`.
        batch_size: texts a forward pass.
        again: what one gives to go on after an interruption, for messages.
        console: for progress, and for a warning where an instruction is missing or not read.
        **opening: as for :class:`Nearest`.

    Raises:
        ConfigError: no checkpoint there, no entries, a folder that cannot be written, or vectors that another process
            is making there.
        RunError: the disk or the device's memory is full; what was done is kept.
    """

    def __init__(
        self,
        checkpoint: Path,
        entries: Sequence[Entry],
        *,
        folder: Path,
        instruction: str | None = None,
        batch_size: int = 64,
        again: str = "the same command",
        console: Console,
        **opening: Unpack[Opening],
    ) -> None:
        super().__init__(checkpoint, entries, instruction=instruction, **opening)
        with written(folder):  # nothing is said before what can be wrong with the input
            warn_of_instruction(self.embedder, instruction, console, side="query")
        vectors = kept_vectors(
            self.embedder,
            checkpoint,
            [entry.embedded for entry in entries],
            instruction=self.of_texts,
            differs=what_differs(checkpoint, opening),
            folder=folder,
            batch_size=batch_size,
            again=again,
            console=console,
        )
        self.stored = Stored(vectors, "float32", vectors.shape[1])
