"""Files of vectors in the making: .npy, .jsonl and .parquet, appended block by block as files/parts.py says."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import ConfigError
from transferkit.files.json import write_text
from transferkit.files.manifest import sha256_file, sha256_rows
from transferkit.files.parts import PartFile
from transferkit.files.vectors.origin import KEY, Origin, Ranges, has_note, in_json, note_file, shortest_ranges
from transferkit.files.vectors.precision import (
    CALIBRATED,
    DTYPES,
    Precision,
    Stored,
    Vectors,
    calibrated,
    count_clipped,
    quantize,
    stored_width,
)

Numbers = npt.NDArray[Any]  # (n, d) as they are stored


@dataclass(frozen=True)
class _Kind:
    """How one kind of file is written: bytes that open it, bytes of a block, and what makes the part the file."""

    opening: Callable[[Numbers], bytes]  # of the first block
    block: Callable[[list[str], Numbers], bytes]
    finish: Callable[[Path, Origin], Path]  # part -> the file that becomes the output


class VectorFile(PartFile):
    """An output file of vectors in the making; ``rows`` are the vectors on disk so far.

    Args:
        out: the finished file; its suffix decides the kind.
        identity: what the vectors come from; a part made from something else is not continued.
        again: what one gives to go on after an interruption, for messages.
        precision: in which vectors are stored; ``int8`` and ``uint8`` are calibrated with the first block.
    """

    def __init__(
        self,
        out: Path,
        *,
        identity: dict[str, str],
        again: str = "the same command",
        precision: Precision = "float32",
    ) -> None:
        super().__init__(out, identity=identity, unit="vectors", again=again)
        self.kind = _KINDS[out.suffix.lower()]
        self.precision: Precision = precision
        self._before: tuple[list[str], Stored] | None = None

    def append(self, texts: list[str], vectors: Vectors) -> None:
        """Add a block.

        Raises:
            ConfigError: vectors of another length than those before.
            RunError: the disk refused.
        """
        width = vectors.shape[1]
        first = self.facts.get("first", 0)  # rows of the file before
        if not self.rows and self._before is not None:
            first = len(self._before[0])
        if self.rows and width != (before := self.facts.get("width")):
            raise ConfigError(
                f"{self.part}: holds vectors of {before} numbers, and these have {width}; give the checkpoint that "
                "made them, or remove it to start again"
            )
        calibration: dict[str, Any] = {}
        if self.precision in CALIBRATED:
            ranges = self.facts["ranges"] if self.rows else self._ranges(vectors)
            clipped = self.facts.get("clipped", 0) + count_clipped(vectors, np.asarray(ranges, dtype=np.float32))
            calibration = {"ranges": ranges, "clipped": clipped}
        ranges = np.asarray(calibration.get("ranges", ()), dtype=np.float32)
        numbers = quantize(vectors, self.precision, ranges)
        opening, rows = (b"", len(texts)) if self.bytes else (self._opened(numbers), first + len(texts))
        grown = {"first": first} if first else {}
        self.write(opening + self.kind.block(texts, numbers), rows=rows, width=width, **grown, **calibration)

    def _ranges(self, vectors: Vectors) -> Ranges:
        """Of the first block, or those of the file before."""
        before = None if self._before is None else self._before[1].ranges
        return shortest_ranges(calibrated(vectors) if before is None else before)

    def begin_with(self, texts: list[str], stored: Stored) -> None:
        """Put the rows of a finished file, as they are, before the first block, which then stands in their ranges."""
        self._before = texts, stored

    def _opened(self, numbers: Numbers) -> bytes:
        """What stands before the first block."""
        if self._before is None:
            return self.kind.opening(numbers)
        texts, stored = self._before
        return self.kind.opening(numbers) + self.kind.block(texts, np.asarray(stored.numbers))

    @property
    def share_clipped(self) -> float:
        """Of the numbers that were made so far, those outside of the ranges."""
        made = self.rows - self.facts.get("first", 0)
        return self.facts.get("clipped", 0) / max(1, made * self.facts.get("width", 1))

    def finish(self, origin: Origin) -> None:
        """Make the part the finished file, which says where it comes from.

        Raises:
            RunError: the disk refused; the part is kept.
        """
        ranges = shortest_ranges(self.facts["ranges"]) if "ranges" in self.facts else None
        origin = replace(origin, rows=self.rows, width=self.facts["width"], precision=self.precision, ranges=ranges)

        def make(part: Path) -> Path:
            whole = self.kind.finish(part, origin)
            if has_note(self.out):  # first, so that no finished file lacks it
                write_text(note_file(self.out), in_json(origin, sha256=sha256_file(whole)) + "\n")
            return whole

        self.complete(make)

    def _as_begun(self, start: bytes) -> bytes:
        with suppress(ValueError):  # no header of .npy, or a damaged one
            (rows, width), _, dtype = np.lib.format.read_array_header_1_0(BytesIO(start[8:]))
            finished = _npy_header(rows, width, dtype)
            if start.startswith(finished):
                return _npy_header(0, width, dtype) + start[len(finished) :]
        return start


def _npy_header(rows: int, width: int, dtype: np.dtype[Any]) -> bytes:
    """The same length for any number of rows: numpy leaves room for the first axis to grow."""
    buffer = BytesIO()
    shape = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(buffer, shape)
    return buffer.getvalue()


def _npy_finish(part: Path, origin: Origin) -> Path:
    width, dtype = stored_width(origin.width, origin.precision), np.dtype(DTYPES[origin.precision])
    with part.open("r+b") as file:
        file.write(_npy_header(origin.rows, width, dtype))
    return part


def _jsonl_block(texts: list[str], numbers: Numbers) -> bytes:
    rows = zip(texts, numbers.tolist(), strict=True)
    lines = (json.dumps({"text": text, "vector": vector}, ensure_ascii=False) for text, vector in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _arrow_schema(width: int, dtype: np.dtype[Any], metadata: dict[str, str] | None = None) -> Any:
    """Every vector as a list of one size, which data bases take for a vector."""
    import pyarrow

    vector = pyarrow.list_(pyarrow.from_numpy_dtype(dtype), width)
    return pyarrow.schema([("text", pyarrow.string()), ("vector", vector)], metadata)


def _arrow_block(texts: list[str], numbers: Numbers) -> bytes:
    """A block as an Arrow message. A parquet file cannot be continued after a kill, a stream of messages can."""
    import pyarrow

    width = numbers.shape[1]
    flat = pyarrow.array(np.ascontiguousarray(numbers).reshape(-1))
    columns = [pyarrow.array(texts, pyarrow.string()), pyarrow.FixedSizeListArray.from_arrays(flat, width)]
    batch = pyarrow.record_batch(columns, names=["text", "vector"]).cast(_arrow_schema(width, numbers.dtype))
    return bytes(batch.serialize())


def _parquet_finish(part: Path, origin: Origin) -> Path:
    """One row group a block, so that no more than a block is in memory."""
    import pyarrow
    import pyarrow.parquet

    whole = part.with_name(f"{part.name}.parquet")
    with part.open("rb") as file, pyarrow.ipc.open_stream(file) as stream:
        sha256 = sha256_rows((one["text"].to_pylist(), one["vector"].flatten().to_numpy().tobytes()) for one in stream)
    width, dtype = stored_width(origin.width, origin.precision), np.dtype(DTYPES[origin.precision])
    schema = _arrow_schema(width, dtype, {KEY: in_json(origin, sha256=sha256)})
    with (
        part.open("rb") as file,
        pyarrow.ipc.open_stream(file) as stream,
        pyarrow.parquet.ParquetWriter(whole, schema, write_page_checksum=True) as writer,
    ):
        for batch in stream:
            writer.write_batch(batch)
    return whole


def _npy_opening(numbers: Numbers) -> bytes:
    return _npy_header(0, numbers.shape[1], numbers.dtype)


def _arrow_opening(numbers: Numbers) -> bytes:
    return bytes(_arrow_schema(numbers.shape[1], numbers.dtype).serialize())


_KINDS = {
    ".npy": _Kind(_npy_opening, lambda _, numbers: numbers.tobytes(), _npy_finish),
    ".jsonl": _Kind(lambda _: b"", _jsonl_block, lambda part, origin: part),
    ".parquet": _Kind(_arrow_opening, _arrow_block, _parquet_finish),
}
SUFFIXES = tuple(_KINDS)


def is_vector_file(path: Path) -> bool:
    """Whether ``path`` is called as a file of vectors is, there or not; a folder of such a name is a folder."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()
