"""Files of vectors in the making: .npy, .jsonl and .parquet, appended block by block as files/parts.py says."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import ConfigError
from transferkit.files.json import write_text
from transferkit.files.manifest import sha256_file, sha256_rows
from transferkit.files.parts import PartFile
from transferkit.files.vectors.origin import KEY, Origin, has_note, in_json, note_file

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Kind:
    """How one kind of file is written: bytes that open it, bytes of a block, and what makes the part the file."""

    opening: Callable[[int], bytes]  # width -> bytes
    block: Callable[[list[str], Vectors], bytes]
    finish: Callable[[Path, Origin], Path]  # part -> the file that becomes the output


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
            ConfigError: vectors of another length than those before.
            RunError: the disk refused.
        """
        width = vectors.shape[1]
        if self.rows and width != (before := self.facts.get("width")):
            raise ConfigError(
                f"{self.part}: holds vectors of {before} numbers, and these have {width}; give the checkpoint that "
                "made them, or remove it to start again"
            )
        opening = b"" if self.bytes else self.kind.opening(width)
        self.write(opening + self.kind.block(texts, vectors), rows=len(texts), width=width)

    def finish(self, origin: Origin) -> None:
        """Make the part the finished file, which says where it comes from.

        Raises:
            RunError: the disk refused; the part is kept.
        """
        origin = replace(origin, rows=self.rows, width=self.facts["width"])

        def make(part: Path) -> Path:
            whole = self.kind.finish(part, origin)
            if has_note(self.out):  # first, so that no finished file lacks it
                write_text(note_file(self.out), in_json(origin, sha256=sha256_file(whole)) + "\n")
            return whole

        self.complete(make)

    def _as_begun(self, start: bytes) -> bytes:
        with suppress(ValueError):  # no header of .npy, or a damaged one
            (rows, width), *_ = np.lib.format.read_array_header_1_0(BytesIO(start[8:]))
            finished = _npy_header(rows, width)
            if start.startswith(finished):
                return _npy_header(0, width) + start[len(finished) :]
        return start


def _npy_header(rows: int, width: int) -> bytes:
    """The same length for any number of rows: numpy leaves room for the first axis to grow."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})
    return buffer.getvalue()


def _npy_finish(part: Path, origin: Origin) -> Path:
    with part.open("r+b") as file:
        file.write(_npy_header(origin.rows, origin.width))
    return part


def _jsonl_block(texts: list[str], vectors: Vectors) -> bytes:
    rows = zip(texts, vectors.tolist(), strict=True)
    lines = (json.dumps({"text": text, "vector": vector}, ensure_ascii=False) for text, vector in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _arrow_schema(metadata: dict[str, str] | None = None) -> Any:
    import pyarrow

    return pyarrow.schema([("text", pyarrow.string()), ("vector", pyarrow.list_(pyarrow.float32()))], metadata)


def _arrow_block(texts: list[str], vectors: Vectors) -> bytes:
    """A block as an Arrow message. A parquet file cannot be continued after a kill, a stream of messages can."""
    import pyarrow

    rows, width = vectors.shape
    offsets = pyarrow.array(np.arange(rows + 1, dtype=np.int32) * np.int32(width))
    flat = pyarrow.array(vectors.astype(np.float32, copy=False).reshape(-1))
    columns = [pyarrow.array(texts, pyarrow.string()), pyarrow.ListArray.from_arrays(offsets, flat)]
    batch = pyarrow.record_batch(columns, names=["text", "vector"]).cast(_arrow_schema())
    return bytes(batch.serialize())


def _parquet_finish(part: Path, origin: Origin) -> Path:
    """One row group a block, so that no more than a block is in memory."""
    import pyarrow
    import pyarrow.parquet

    whole = part.with_name(f"{part.name}.parquet")
    with part.open("rb") as file, pyarrow.ipc.open_stream(file) as stream:
        sha256 = sha256_rows((one["text"].to_pylist(), one["vector"].flatten().to_numpy().tobytes()) for one in stream)
    schema = _arrow_schema({KEY: in_json(origin, sha256=sha256)})
    with (
        part.open("rb") as file,
        pyarrow.ipc.open_stream(file) as stream,
        pyarrow.parquet.ParquetWriter(whole, schema, write_page_checksum=True) as writer,
    ):
        for batch in stream:
            writer.write_batch(batch)
    return whole


_KINDS = {
    ".npy": _Kind(partial(_npy_header, 0), lambda _, vectors: vectors.astype("<f4").tobytes(), _npy_finish),
    ".jsonl": _Kind(lambda width: b"", _jsonl_block, lambda part, origin: part),
    ".parquet": _Kind(lambda width: bytes(_arrow_schema().serialize()), _arrow_block, _parquet_finish),
}
SUFFIXES = tuple(_KINDS)
