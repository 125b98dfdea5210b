"""Files of vectors: .npy, .jsonl and .parquet, appended block by block as files/parts.py says, and read back."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import ConfigError, RunError, first_line
from transferkit.files.json import read_json, write_json
from transferkit.files.manifest import sha256_file
from transferkit.files.parts import PartFile
from transferkit.files.tables import column_values

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Kind:
    """How one kind of file is written: bytes that open it, bytes of a block, and what makes the part the file."""

    opening: Callable[[int], bytes]  # width -> bytes
    block: Callable[[list[str], Vectors], bytes]
    finish: Callable[[Path, int, int], Path]  # part, rows, width -> the file that becomes the output


class VectorFile(PartFile):
    """An output file of vectors in the making; ``rows`` are the vectors on disk so far.

    Args:
        out: the finished file; its suffix decides the kind.
        identity: what the vectors come from; a part made from something else is not continued.
        again: what one gives to go on after an interruption, for messages.
    """

    def __init__(self, out: Path, *, identity: dict[str, str], again: str = "the same command") -> None:
        super().__init__(out, identity=identity, unit="vectors", again=again)
        self.kind = _KINDS[out.suffix.lower()]

    def append(self, texts: list[str], vectors: Vectors) -> None:
        """Add a block.

        Raises:
            RunError: the disk refused.
        """
        width = vectors.shape[1]
        opening = b"" if self.bytes else self.kind.opening(width)
        self.write(opening + self.kind.block(texts, vectors), rows=len(texts), width=width)

    def finish(self) -> None:
        """Make the part the finished file.

        Raises:
            RunError: the disk refused; the part is kept.
        """
        seal = seal_file(self.out)
        seal.unlink(missing_ok=True)  # of an output that was removed
        sha256 = ""

        def whole(part: Path) -> Path:
            nonlocal sha256
            made = self.kind.finish(part, self.rows, self.facts["width"])
            sha256 = sha256_file(made)
            return made

        self.complete(whole)
        try:
            write_json(seal, {"format": 1, "sha256": sha256})
        except OSError as error:
            raise RunError(f"{seal}: cannot be written ({error.strerror or error}); {self.out} is whole") from None


def seal_file(vectors: Path) -> Path:
    """What lies beside a file of vectors and has its sha256: a flipped bit is another vector, and looks like one."""
    return vectors.with_name(f"{vectors.name}.json")


def is_sealed(vectors: Path) -> bool:
    """Whether a file of vectors is as it was written; False too where nothing beside it says so.

    Raises:
        ConfigError: what lies beside it is damaged.
    """
    seal = seal_file(vectors)
    return seal.is_file() and read_json(seal).get("sha256") == sha256_file(vectors)


def _npy_header(rows: int, width: int) -> bytes:
    """The same length for any number of rows: numpy leaves room for the first axis to grow."""
    buffer = BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(buffer, shape)
    return buffer.getvalue()


def _npy_block(texts: list[str], vectors: Vectors) -> bytes:
    return vectors.astype("<f4", copy=False).tobytes()


def _npy_finish(part: Path, rows: int, width: int) -> Path:
    with part.open("r+b") as file:
        file.write(_npy_header(rows, width))
    return part


def _jsonl_block(texts: list[str], vectors: Vectors) -> bytes:
    rows = zip(texts, vectors.tolist(), strict=True)
    lines = (json.dumps({"text": text, "vector": vector}, ensure_ascii=False) for text, vector in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _arrow_schema() -> Any:
    import pyarrow

    return pyarrow.schema([("text", pyarrow.string()), ("vector", pyarrow.list_(pyarrow.float32()))])


def _arrow_block(texts: list[str], vectors: Vectors) -> bytes:
    """A block as an Arrow message. A parquet file cannot be continued after a kill, a stream of messages can."""
    import pyarrow

    rows, width = vectors.shape
    offsets = pyarrow.array(np.arange(rows + 1, dtype=np.int32) * np.int32(width))
    flat = pyarrow.array(vectors.astype(np.float32, copy=False).reshape(-1))
    columns = [pyarrow.array(texts, pyarrow.string()), pyarrow.ListArray.from_arrays(offsets, flat)]
    batch = pyarrow.record_batch(columns, names=["text", "vector"]).cast(_arrow_schema())
    return bytes(batch.serialize())


def _parquet_finish(part: Path, rows: int, width: int) -> Path:
    """One row group a block, so that no more than a block is in memory."""
    import pyarrow
    import pyarrow.parquet

    whole = part.with_name(f"{part.name}.parquet")
    with (
        part.open("rb") as file,
        pyarrow.ipc.open_stream(file) as stream,
        pyarrow.parquet.ParquetWriter(whole, _arrow_schema()) as writer,
    ):
        for batch in stream:
            writer.write_batch(batch)
    return whole


_KINDS = {
    ".npy": _Kind(lambda width: _npy_header(0, width), _npy_block, _npy_finish),
    ".jsonl": _Kind(lambda width: b"", _jsonl_block, lambda part, rows, width: part),
    ".parquet": _Kind(lambda width: bytes(_arrow_schema().serialize()), _arrow_block, _parquet_finish),
}
SUFFIXES = tuple(_KINDS)


def read_vectors(path: Path, *, where: str) -> tuple[list[str] | None, Vectors]:
    """The texts of a file of vectors and the vectors (n, d); None where it carries no texts, as .npy.

    Args:
        path: a finished file.
        where: opens messages.

    Raises:
        ConfigError: no such file, one of another kind, or rows that are no vectors of one length.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{where}: expected a file ending in {', '.join(SUFFIXES)}, got {suffix or path.name!r}")
    if not path.is_file():
        raise ConfigError(f"{where}: no such file; `transferkit embed CHECKPOINT TEXTS --out {path.name}` makes one")
    if seal_file(path).is_file() and not is_sealed(path):
        raise ConfigError(
            f"{where}: {path.name} differs from what was written (sha256 in {seal_file(path).name}); restore it from a "
            "copy, or embed the texts again"
        )
    if suffix == ".npy":
        return None, _npy_read(path, where=where)
    texts = list(column_values(path, "text", where=where))
    rows: list[Vectors] = []
    for number, value in enumerate(column_values(path, "vector", where=where), start=1):
        try:
            row = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            row = np.zeros(0, dtype=np.float32)
        if row.ndim != 1 or not len(row) or len(row) != len(rows[0] if rows else row) or not np.isfinite(row).all():
            expected = f"{len(rows[0])} numbers" if rows else "a list of numbers"
            raise ConfigError(f"{where}, row {number}, column 'vector': expected {expected}; embed the texts again")
        rows.append(row)
    if not rows:
        raise ConfigError(f"{where}: holds no vectors, expected at least one")
    return texts, np.stack(rows)


def _npy_read(path: Path, *, where: str) -> Vectors:
    try:
        vectors: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{where}: cannot be read as npy ({first_line(error)}); embed the texts again") from None
    if vectors.ndim == 2 and vectors.dtype.kind == "f" and not np.isfinite(vectors).all():
        raise ConfigError(f"{where}: holds NaN or infinity; embed the texts again")
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        got = f"{vectors.dtype} of shape {vectors.shape}"
        raise ConfigError(f"{where}: expected numbers of shape (texts, width), got {got}; embed the texts again")
    return vectors
