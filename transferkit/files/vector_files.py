"""Vectors appended to a file block by block, so that a kill loses one block at most: .npy, .jsonl and .parquet.

The data grow in ``.NAME.part``; ``.NAME.part.json`` says how much of it counts. The finished file appears by rename.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import ConfigError, RunError
from transferkit.files.json import read_json, write_json

FORMAT = 1
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Kind:
    """How one kind of file is written: bytes that open it, bytes of a block, and what makes the part the file."""

    opening: Callable[[int], bytes]  # width -> bytes
    block: Callable[[list[str], Vectors], bytes]
    finish: Callable[[Path, int, int], Path]  # part, rows, width -> the file that becomes the output


class VectorFile:
    """An output file in the making.

    Args:
        out: the finished file; its suffix decides the kind.
        identity: what the vectors come from; a part made from something else is not continued.
        again: what one gives to go on after an interruption, for messages.

    Attributes:
        rows: vectors on disk so far.
    """

    def __init__(self, out: Path, *, identity: dict[str, str], again: str = "the same command") -> None:
        self.out = out
        self.again = again
        self.kind = _KINDS[out.suffix.lower()]
        self.identity = identity
        self.rows = 0
        self.bytes = 0
        self.width = 0

    @property
    def part(self) -> Path:
        """The data so far."""
        return self.out.with_name(f".{self.out.name}.part")

    @property
    def progress(self) -> Path:
        """How much of :attr:`part` counts, and what it was made from."""
        return self.out.with_name(f".{self.out.name}.part.json")

    def resume(self) -> None:
        """Take over what an earlier call left; nothing there is a fresh start.

        Raises:
            ConfigError: made from another checkpoint, instruction or input, or damaged.
        """
        if not (self.part.is_file() and self.progress.is_file()):
            return
        saved = read_json(self.progress)
        if saved.get("format") != FORMAT or saved["bytes"] > self.part.stat().st_size:
            raise ConfigError(f"{self.part}: damaged or of another version; remove it to start again")
        different = [name for name, value in self.identity.items() if saved["identity"].get(name) != value]
        if different:
            raise ConfigError(
                f"{self.part}: was begun with another {' and another '.join(different)}; give the same, or remove the "
                "file to start again"
            )
        self.rows, self.bytes, self.width = saved["rows"], saved["bytes"], saved["width"]

    def append(self, texts: list[str], vectors: Vectors) -> None:
        """Add a block; it counts once the progress file says so, whatever is killed in between.

        Raises:
            RunError: the disk refused.
        """
        try:
            if self.rows == 0:
                self.out.parent.mkdir(parents=True, exist_ok=True)
                self.progress.unlink(missing_ok=True)
                self.width = vectors.shape[1]
            with self.part.open("r+b" if self.rows else "wb") as file:
                file.truncate(self.bytes)
                file.seek(self.bytes)
                if self.rows == 0:
                    file.write(self.kind.opening(self.width))
                file.write(self.kind.block(texts, vectors))
                file.flush()
                os.fsync(file.fileno())
                end = file.tell()
            self.rows, self.bytes = self.rows + len(texts), end
            self._write_progress()
        except OSError as error:
            raise RunError(
                f"{self.part}: cannot be written ({error.strerror or error}); the {self.rows} vectors before are kept, "
                f"make room and go on with {self.again}"
            ) from None

    def finish(self) -> None:
        """Make the part the finished file.

        Raises:
            RunError: the disk refused; the part is kept.
        """
        try:
            os.truncate(self.part, self.bytes)
            self.kind.finish(self.part, self.rows, self.width).replace(self.out)
            self.part.unlink(missing_ok=True)
            self.progress.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.out}: cannot be written ({error.strerror or error}); all {self.rows} vectors are kept, make "
                f"room and go on with {self.again}"
            ) from None

    def _write_progress(self) -> None:
        state: dict[str, Any] = {
            "format": FORMAT,
            "rows": self.rows,
            "bytes": self.bytes,
            "width": self.width,
        }
        write_json(self.progress, state | {"identity": self.identity})


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
        file.flush()
        os.fsync(file.fileno())
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
    with whole.open("rb") as file:
        os.fsync(file.fileno())
    return whole


_KINDS = {
    ".npy": _Kind(lambda width: _npy_header(0, width), _npy_block, _npy_finish),
    ".jsonl": _Kind(lambda width: b"", _jsonl_block, lambda part, rows, width: part),
    ".parquet": _Kind(lambda width: bytes(_arrow_schema().serialize()), _arrow_block, _parquet_finish),
}
SUFFIXES = tuple(_KINDS)
