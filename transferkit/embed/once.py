"""The vectors of some texts, made once and kept in a folder for whoever needs them again."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from transferkit.checkpoints.instructions import say_cut
from transferkit.embed.files import embed_blocks, origin_of
from transferkit.errors import ConfigError
from transferkit.files.lock import sole_use
from transferkit.files.vectors.origin import Origin, read_origin
from transferkit.files.vectors.precision import Vectors
from transferkit.files.vectors.reading import read_vectors
from transferkit.files.vectors.writing import VectorFile
from transferkit.files.writable import writing
from transferkit.methods.base import Embedder
from transferkit.methods.described import Side
from transferkit.progress import Work
from transferkit.runs.checkpoint_folder import embedder_digest


def kept_vectors(
    embedder: Embedder,
    checkpoint: Path,
    texts: Sequence[str],
    *,
    instruction: str,
    side: Side = "document",
    differs: Mapping[str, str] | None = None,
    folder: Path,
    batch_size: int = 64,
    again: str = "the same command",
    console: Console,
) -> Vectors:
    """Vectors (n, d) of ``texts``, from ``folder`` where they lie there; a kill loses one block at most.

    The file there is named after checkpoint, readout, instruction and texts: another one of these is another file, so
    nothing stale is ever served.

    Args:
        embedder: loaded from ``checkpoint``.
        checkpoint: checkpoint or run folder.
        texts: at least one.
        instruction: with which they are read.
        side: what they are taken for.
        differs: what tells its vectors from those of the checkpoint as it stands.
        folder: made where it is missing.
        batch_size: texts a forward pass.
        again: what one gives to go on after an interruption, for messages.
        console: for progress.

    Raises:
        ConfigError: vectors that another process is making there.
        RefusedError: nothing can be written there.
        RunError: the device's memory is full; what was done is kept.
    """
    other = "".join(f" {key}={value}" for key, value in (differs or {}).items())
    digest = hashlib.sha256(f"{embedder_digest(checkpoint)} {instruction!r}{other}".encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    file = folder / f"{digest.hexdigest()[:16]}.npy"
    origin = origin_of(embedder, checkpoint, side=side, instruction=instruction, texts=f"index {file.stem}")
    origin = replace(origin, rows=len(texts), width=embedder.get_embedding_dimension())
    if (vectors := _there(file, origin)) is not None:
        return vectors
    making = VectorFile(file, identity={"texts": file.stem}, again=again)
    with written(folder), sole_use(file, option="--index"):
        making.resume()
        with Work(console, "reading the texts", total=len(texts), done=making.rows):
            for _ in embed_blocks(embedder, texts, making, instruction=instruction, batch_size=batch_size):
                pass
        say_cut(embedder, console)
        making.finish(origin)
    made: Vectors = np.load(file, mmap_mode="r")
    return made


def _there(file: Path, origin: Origin) -> Vectors | None:
    """The vectors in a file; None where it is not there, or is damaged or another's and must be made again."""
    if not file.is_file():
        return None
    try:
        _, vectors = read_vectors(file, where=str(file))
        said = read_origin(file, where=str(file))  # None: of an earlier version, whose name says it all
    except ConfigError:
        return None
    return vectors if said in (None, origin) and vectors.shape == (origin.rows, origin.width) else None


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Make ``folder``, and say in one sentence why something cannot be written there."""
    way_out = "mend that, or choose another folder with --index"
    with writing(f"{folder}: the index cannot be written there", way_out=way_out):
        folder.mkdir(parents=True, exist_ok=True)
        yield
