"""A file of texts -> a file of vectors, in the same order, streaming, and resumable after a kill."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.instructions import say_cut, warn_of_instruction
from transferkit.checkpoints.spaces import read_space
from transferkit.decoder.device import usable_device
from transferkit.errors import ConfigError, RunError
from transferkit.files.lock import sole_use
from transferkit.files.text_files import TextFile
from transferkit.files.vectors.origin import Origin
from transferkit.files.vectors.output import check_output
from transferkit.files.vectors.writing import VectorFile
from transferkit.methods.base import Embedder
from transferkit.methods.encoding import NotFiniteError, Side, check_finite, check_side
from transferkit.progress import Work
from transferkit.runs.checkpoint_folder import embedder_digest

BATCHES_PER_BLOCK = 16  # texts read, sorted by length, embedded and saved together; a kill loses one block at most


def embed_file(
    checkpoint: Path,
    texts: str,
    out: Path,
    *,
    column: str = "text",
    instruction: str | None = None,
    side: Side | None = None,
    space: Path | None = None,
    backbone: str | None = None,
    batch_size: int = 64,
    device: str | None = None,
    resume: bool = False,
    console: Console,
) -> int:
    """Embed every text of a file into ``out``; returns the number of vectors.

    What can be wrong with arguments and rows is found before the model is loaded. With ``resume`` blocks on disk are
    kept and their texts skipped, on standard input too: pipe the same texts again. With the same batch size and device
    the file then equals an uninterrupted one byte for byte.

    Args:
        checkpoint: checkpoint or run folder.
        texts: text file with a text a line, ``.jsonl``, ``.csv``, ``.tsv``, ``.parquet``, or ``-`` for standard input.
        out: ``.npy`` float32 (n, d), or ``.parquet`` or ``.jsonl`` with columns ``text`` and ``vector``. What made the
            vectors stands in the metadata of a .parquet file, else beside it in ``OUT.json``.
        column: holds the text, in files with columns.
        instruction: the task's; None: the checkpoint's on this side, where it was trained with one alone.
        side: of the texts, questions or what is to be found. None: questions, which is said where it counts.
        space: an older embedder, or a map that `bridge` made: vectors in its space are written.
        backbone: where the checkpoint's backbone lies now, if it has moved.
        batch_size: texts a forward pass.
        device: default CUDA where there is one.
        resume: go on after an interruption; without one it starts afresh.
        console: for progress.

    Raises:
        ConfigError: wrong input, an output that exists or that another process writes, or a part that was begun with
            something else.
        RunError: the disk or the device's memory is full; what was done is kept.
    """
    place = usable_device(device)
    check_output(out, resume=resume)
    source = TextFile.named(texts, column=column)
    there = "" if space is None else read_space(checkpoint, space)[1].old
    made_from = _identity(checkpoint, instruction, side, source) | ({"space": there} if there else {})
    file = VectorFile(out, identity=made_from, again="the same command and --resume")
    with sole_use(out, option="--out"):
        check_output(out, resume=resume)  # again, for another process may have ended meanwhile
        if resume:
            file.resume()
        total = source.count()
        embedder = load(checkpoint, backbone=backbone, device=place, space=space)
        warn_of_instruction(embedder, instruction, console, side=side)
        if instruction is None:
            instruction = embedder.usual_instruction(side or "query")
        blocks = embed_blocks(embedder, source, file, instruction=instruction, batch_size=batch_size)
        _write(file, blocks, total=total, console=console)
        say_cut(embedder, console)
        if not file.rows:
            raise source.without_texts()
        made = origin_of(embedder, checkpoint, side=side or "query", instruction=instruction, texts=source)
        file.finish(replace(made, space=there))
    return file.rows


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
    embedder: Embedder, texts: Iterable[str], file: VectorFile, *, instruction: str, batch_size: int
) -> Iterator[int]:
    """Embed what ``file`` does not hold yet, a block at a time; yields the rows in it after each.

    No more than one block of texts is read ahead.
    """
    rest = iter(texts)
    skipped = sum(1 for _ in islice(rest, file.rows))
    if skipped < file.rows:
        raise ConfigError(
            f"{file.part}: holds {file.rows} vectors, the input {skipped} texts; give the same input, or remove the "
            "file to start again"
        )
    blocks = in_blocks(
        rest,
        lambda block: embedder.encode(block, instruction=instruction, batch_size=batch_size),
        batch_size=batch_size,
        kept=lambda: f"the {file.rows} vectors before are kept, go on with {file.again}, at",
        first=file.rows + 1,
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


def _identity(checkpoint: Path, instruction: str | None, side: Side | None, source: TextFile) -> dict[str, str]:
    """What the vectors come from."""
    check_side(side or "query")
    return {
        "checkpoint": embedder_digest(checkpoint),
        "instruction": repr(instruction),
        "side": side or "query",
        "input": source.fingerprint(),
    }
