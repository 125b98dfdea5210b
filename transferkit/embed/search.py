"""A question -> the nearest of many texts. Their vectors are made once and kept; each question reads all of them."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.instructions import say_cut, warn_of_instruction
from transferkit.data.installed_docs import kept_docs
from transferkit.decoder.device import usable_device
from transferkit.embed.files import embed_blocks, embedder_digest, origin_of
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.lock import sole_use
from transferkit.files.text_files import TextFile
from transferkit.files.vectors.origin import Origin, read_origin
from transferkit.files.vectors.precision import Stored, Vectors
from transferkit.files.vectors.reading import read_vectors
from transferkit.files.vectors.writing import VectorFile
from transferkit.files.writable import writing
from transferkit.methods.base import Embedder
from transferkit.progress import texts_bar


@dataclass(frozen=True)
class Entry:
    """Something that can be found: what is shown as its name and text, and what is embedded."""

    name: str
    text: str
    embedded: str


@dataclass(frozen=True)
class Hit:
    """An entry and its cosine with the question."""

    score: float
    entry: Entry


def docstring_entries(folder: Path, *, packages: Sequence[str] = ()) -> list[Entry]:
    """The docstrings of the packages on this machine; a question is compared with their summaries.

    Args:
        folder: keeps them, beside their vectors.
        packages: those that are searched, ``python`` for the standard library; none: all.

    Raises:
        ConfigError: a folder that cannot be written, or a package that has no docstrings here.
    """
    with _written(folder):
        docs = kept_docs(folder)
    known = sorted({doc.package for doc in docs})
    for package in packages:
        if package not in known:
            raise ConfigError(
                f"--package {package}: no docstrings of it here{did_you_mean(package, known)}; there are those of "
                f"{', '.join(known)}"
            )
    return [Entry(doc.name, doc.summary, doc.summary) for doc in docs if not packages or doc.package in packages]


def file_entries(texts: str, *, column: str) -> list[Entry]:
    """The texts of a file, named by their row.

    Raises:
        ConfigError: see :class:`transferkit.files.text_files.TextFile`.
    """
    rows = enumerate(TextFile.named(texts, column=column), start=1)
    return [Entry(f"row {number}", text, text) for number, text in rows]


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

    Raises:
        ConfigError: no checkpoint there, or no entries.
    """

    stored: Stored

    def __init__(self, checkpoint: Path, entries: Sequence[Entry], *, instruction: str | None) -> None:
        if not entries:
            raise ConfigError("search: there are no texts to search; give a file with at least one")
        self.entries = entries
        self.embedder: Embedder = load(checkpoint, device=usable_device(None))
        self.instruction = self.embedder.usual_instruction() if instruction is None else instruction
        self.of_texts = self.embedder.document_instruction(self.instruction)

    def search(self, question: str, *, top: int = 5) -> list[Hit]:
        """The ``top`` entries with the highest cosine, best first."""
        width = self.stored.width
        cut = None if width == self.embedder.get_embedding_dimension() else width
        (vector,) = self.embedder.encode([question], instruction=self.instruction, truncate_dim=cut)
        scores = self.stored.cosines(vector)
        order = np.argsort(-scores, kind="stable")[:top]
        return [Hit(float(scores[i]), self.entries[i]) for i in order]

    @property
    def vectors(self) -> Vectors:
        """(n, d) of the entries."""
        return self.stored.whole()


class Index(Nearest):
    """Vectors of ``entries`` under one checkpoint, made where they are not kept already.

    Args:
        checkpoint: as for :class:`Nearest`.
        entries: as for :class:`Nearest`.
        folder: keeps the vectors, in a file named after checkpoint, instruction and texts: another one of these is
            another file, so nothing stale is ever served.
        instruction: as for :class:`Nearest`.
        batch_size: texts a forward pass.
        again: what one gives to go on after an interruption, for messages.
        console: for progress, and for a warning where an instruction is missing or not read.

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
    ) -> None:
        super().__init__(checkpoint, entries, instruction=instruction)
        with _written(folder):  # nothing is said before what can be wrong with the input
            warn_of_instruction(self.embedder, instruction, console, side="query")
        digest = hashlib.sha256(f"{embedder_digest(checkpoint)} {self.of_texts!r}".encode())
        for entry in entries:
            digest.update(hashlib.sha256(entry.embedded.encode()).digest())
        file = folder / f"{digest.hexdigest()[:16]}.npy"
        origin = origin_of(
            self.embedder, checkpoint, side="document", instruction=self.of_texts, texts=f"index {file.stem}"
        )
        vectors = self._kept(file, origin)
        if vectors is None:
            self._embed(VectorFile(file, identity={"texts": file.stem}, again=again), origin, batch_size, console)
            vectors = np.load(file, mmap_mode="r")
        self.stored = Stored(vectors, "float32", vectors.shape[1])

    def _kept(self, file: Path, origin: Origin) -> Vectors | None:
        """The vectors in a file; None where it is not there, or is damaged or another's and must be made again."""
        if not file.is_file():
            return None
        try:
            _, vectors = read_vectors(file, where=str(file))
            said = read_origin(file, where=str(file))  # None: of an earlier version, whose name says it all
        except ConfigError:
            return None
        shape = rows, width = len(self.entries), self.embedder.get_embedding_dimension()
        is_own = said is None or said == replace(origin, rows=rows, width=width)
        return vectors if is_own and vectors.shape == shape else None

    def _embed(self, file: VectorFile, origin: Origin, batch_size: int, console: Console) -> None:
        with _written(file.out.parent), sole_use(file.out, option="--index"):
            file.resume()
            texts = [entry.embedded for entry in self.entries]
            with texts_bar(console) as bar:
                task = bar.add_task("reading the texts", total=len(texts), completed=file.rows)
                blocks = embed_blocks(self.embedder, texts, file, instruction=self.of_texts, batch_size=batch_size)
                for rows in blocks:
                    bar.update(task, completed=rows)
            say_cut(self.embedder, console)
            file.finish(origin)


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Make ``folder``, and say in one sentence why something cannot be written there."""
    way_out = "mend that, or choose another folder with --index"
    with writing(f"{folder}: the index cannot be written there", way_out=way_out):
        folder.mkdir(parents=True, exist_ok=True)
        yield
