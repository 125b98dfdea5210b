"""A file of texts -> a file of vectors, in the same order, streaming, and resumable after a kill."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.instructions import say_cut, warn_of_instruction
from transferkit.checkpoints.opening import Opening, what_differs
from transferkit.decoder.device import usable_device
from transferkit.embed.append import Before, read_before, rows_of_finished
from transferkit.errors import ConfigError, RunError
from transferkit.files.lock import sole_use
from transferkit.files.manifest import sha256_file
from transferkit.files.text_files import TextFile
from transferkit.files.vectors.finite import NotFiniteError, check_finite
from transferkit.files.vectors.origin import Origin
from transferkit.files.vectors.output import check_output
from transferkit.files.vectors.precision import Precision, check_precision, check_truncation
from transferkit.files.vectors.writing import VectorFile
from transferkit.methods.base import Embedder
from transferkit.methods.described import Side, check_side
from transferkit.progress import Work, warn
from transferkit.runs.checkpoint_folder import embedder_digest

_CLIPPED = 0.01  # share of numbers from which on it is said
BATCHES_PER_BLOCK = 16  # texts read, sorted by length, embedded and saved together; a kill loses one block at most


def embed_file(
    checkpoint: Path,
    texts: str,
    out: Path,
    *,
    column: str = "text",
    instruction: str | None = None,
    side: Side | None = None,
    batch_size: int = 64,
    truncate_dim: int | None = None,
    precision: Precision = "float32",
    resume: bool = False,
    append: bool = False,
    console: Console,
    **opening: Unpack[Opening],
) -> int:
    """Embed every text of a file into ``out``; returns the number of vectors in it.

    What can be wrong with rows is found before the model is loaded. With ``resume`` blocks on disk are kept and their
    texts skipped, on standard input too. With the same batch size and device the file then equals an uninterrupted one.

    Args:
        checkpoint: checkpoint or run folder.
        texts: text file with a text a line, ``.jsonl``, ``.csv``, ``.tsv``, ``.parquet``, or ``-`` for standard input.
        out: ``.npy`` (n, d), or ``.parquet`` or ``.jsonl`` with columns ``text`` and ``vector``. What made the vectors
            stands in the metadata of a .parquet file, else beside it in ``OUT.json``.
        column: holds the text, in files with columns.
        instruction: the task's; None: the checkpoint's on this side, where it was trained with one alone.
        side: of the texts, questions or what is to be found. None: questions, which is said where it counts.
        batch_size: texts a forward pass.
        truncate_dim: numbers of each vector that are kept, see :meth:`Embedder.encode`.
        precision: of the numbers; ``int8`` and ``uint8`` are calibrated with the first block.
        resume: go on after an interruption; without one it starts afresh.
        append: put them behind those of a finished .parquet file that was made in the same way.
        console: for progress.
        **opening: see :class:`transferkit.checkpoints.opening.Opening`.

    Raises:
        ConfigError: wrong input, an output that is there or in another's hands, or made or begun with something else.
        RunError: the disk or the device's memory is full; what was done is kept.
    """
    check_precision(precision, where="--precision")
    opening["device"] = usable_device(opening.get("device"))
    check_output(out, resume=resume, append=append)
    out = out.resolve() if append else out  # of a link the file grows
    source = TextFile.named(texts, column=column)
    identity = _identity(checkpoint, instruction, side, source, truncate_dim, precision)
    identity |= (differs := what_differs(checkpoint, opening))
    file = VectorFile(out, identity=identity, again="the same command and --resume", precision=precision)
    with sole_use(out, option="--out"):
        check_output(out, resume=resume, append=append)  # again, for another process may have ended meanwhile
        if append and resume and (rows := rows_of_finished(file)):
            return rows
        space = differs.get("space", "")
        before = _before(file, source, space=space) if append else None
        if resume:
            file.resume()
        options = {"instruction": instruction, "batch_size": batch_size, "truncate_dim": truncate_dim}
        _embed(file, checkpoint, source, options, opening, side=side, space=space, before=before, console=console)
    return file.rows


def _embed(
    file: VectorFile,
    checkpoint: Path,
    source: TextFile,
    options: dict[str, Any],
    opening: Opening,
    *,
    side: Side | None,
    space: str,
    before: Before | None,
    console: Console,
) -> None:
    """Load the model, embed what the file does not hold yet, and finish it; ``options`` of :func:`embed_blocks`."""
    total, given = source.count(), options["instruction"]
    embedder = _loaded(checkpoint, opening, options["truncate_dim"])
    warn_of_instruction(embedder, given, console, side=side)
    instruction = options["instruction"] = embedder.usual_instruction(side or "query") if given is None else given
    made = origin_of(embedder, checkpoint, side=side or "query", instruction=instruction, texts=source)
    made = replace(made, space=space)
    if before is not None:
        made = _begun(file, before, made, width=options["truncate_dim"] or embedder.get_embedding_dimension())
        if again := before.again(source):
            warn(f"{again:,} of the texts of {source} stand in {file.out} already, and are appended again", console)
    _fill(file, embedder, source, options, total=total, first=len(before or ()), console=console)
    file.finish(made)


def _before(file: VectorFile, source: TextFile, *, space: str) -> Before:
    """The finished file that is to grow, as far as what it must have in common is known before a model is loaded."""
    before = read_before(file.out, source)
    known = file.identity
    before.check_same(embedder=known["checkpoint"], side=known["side"], space=space, precision=file.precision)
    known["append"] = sha256_file(file.out)
    return before


def _begun(file: VectorFile, before: Before, made: Origin, *, width: int) -> Origin:
    """What the grown file says of itself; it begins with the rows before, unless it has them from an earlier call."""
    before.check_same(instruction=made.instruction, readout=made.readout, width=width)
    file.begin_with(before.texts, before.stored)
    return replace(made, input=before.with_input(made.input))


def _loaded(checkpoint: Path, opening: Opening, truncate_dim: int | None) -> Embedder:
    embedder = load(checkpoint, **opening)
    if truncate_dim is not None:
        check_truncation(truncate_dim, embedder.get_embedding_dimension(), where="--truncate-dim")
    return embedder


def _fill(
    file: VectorFile,
    embedder: Embedder,
    source: TextFile,
    options: dict[str, Any],
    *,
    total: int | None,
    first: int,
    console: Console,
) -> None:
    """Embed all texts behind the ``first`` ones and say what a user should know; ``options`` of embed_blocks."""
    whole = None if total is None else first + total
    _write(file, embed_blocks(embedder, source, file, first=first, **options), total=whole, console=console)
    say_cut(embedder, console)
    if file.rows <= first:
        raise source.without_texts()
    if file.share_clipped > _CLIPPED:
        warn(
            f"{file.share_clipped:.1%} of the numbers lie outside of the ranges that the first texts gave, and "
            f"{file.precision} cuts them there; embed {'all texts' if first else 'texts'} in random order, or with "
            "--precision float16",
            console,
        )


def origin_of(embedder: Embedder, checkpoint: Path, *, side: Side, instruction: str, texts: TextFile | str) -> Origin:
    """What a file of vectors says of the ``embedder`` loaded from ``checkpoint`` that made it.

    ``texts`` are the file that was read, or what else tells them from others.
    """
    return Origin(
        embedder=embedder_digest(checkpoint),
        side=side,
        instruction=instruction,
        readout=embedder.readout.kind,
        input=texts if isinstance(texts, str) else texts.fingerprint(),
    )


def _write(file: VectorFile, blocks: Iterator[int], *, total: int | None, console: Console) -> None:
    try:
        with Work(console, file.out.name, total=total, done=file.rows):
            for _ in blocks:
                pass
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {file.rows} vectors are kept, go on with {file.again}") from None


def embed_blocks(
    embedder: Embedder,
    texts: Iterable[str],
    file: VectorFile,
    *,
    instruction: str,
    batch_size: int,
    truncate_dim: int | None = None,
    first: int = 0,
) -> Iterator[int]:
    """Embed what ``file`` does not hold yet, a block at a time; yields the rows in it after each.

    No more than one block of texts is read ahead. The ``first`` vectors of the file are of other texts.
    """
    rest, done = iter(texts), max(file.rows - first, 0)
    skipped = sum(1 for _ in islice(rest, done))
    if skipped < done:
        raise ConfigError(
            f"{file.part}: holds {done} vectors, the input {skipped} texts; give the same input, or remove the "
            "file to start again"
        )
    blocks = in_blocks(
        rest,
        lambda block: embedder.encode(block, instruction=instruction, batch_size=batch_size, truncate_dim=truncate_dim),
        batch_size=batch_size,
        kept=lambda: f"the {file.rows} vectors before are kept, go on with {file.again}, at",
        first=done + 1,
    )
    for block, vectors in blocks:
        file.append(block, vectors)
        yield file.rows


def in_blocks(
    texts: Iterable[str],
    encode: Callable[[list[str]], npt.NDArray[np.float32]],
    *,
    batch_size: int,
    kept: Callable[[], str],
    where: str = "",
    first: int | None = None,
) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
    """Blocks of texts and their vectors; no more than one block is read ahead.

    Args:
        texts: in the order in which they are embedded.
        encode: texts -> vectors (n, d).
        batch_size: texts a forward pass; a block is a few of these.
        kept: what is not lost where it fails, and how to go on, as a message says it before ``--batch-size``.
        where: opens the message.
        first: number of the first text; None: a message shows the text instead.

    Raises:
        RunError: memory that does not suffice, or a vector that is not finite.
    """
    rest, done = iter(texts), 0
    while block := list(islice(rest, BATCHES_PER_BLOCK * batch_size)):
        try:
            vectors = encode(block)
            check_finite(vectors)
        except torch.OutOfMemoryError:
            raise RunError(
                f"{where}out of memory at {batch_size} texts a forward pass; {kept()} "
                f"--batch-size {max(1, batch_size // 2)}"
            ) from None
        except NotFiniteError as error:
            text = repr(block[error.row][:60]) if first is None else first + done + error.row
            raise NotFiniteError(error.row, name=f"{where}text {text}") from None
        yield block, vectors
        done += len(block)


def _identity(
    checkpoint: Path,
    instruction: str | None,
    side: Side | None,
    source: TextFile,
    truncate_dim: int | None,
    precision: Precision,
) -> dict[str, str]:
    """What the vectors come from, and how they are stored."""
    check_side(side or "query")
    return {
        "checkpoint": embedder_digest(checkpoint),
        "instruction": repr(instruction),
        "side": side or "query",
        "input": source.fingerprint(),
        "truncate_dim": str(truncate_dim or "none"),
        "precision": precision,
    }
