"""Files of vectors: .npy, .jsonl and .parquet, appended block by block as files/parts.py says, and read back.

Each says what made it: .parquet in its metadata, the others in a JSON file beside, ``NAME.json``, so that whatever
reads such files reads these.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import ConfigError, first_line
from transferkit.files.cells import text
from transferkit.files.json import parse_json, read_json, write_text
from transferkit.files.manifest import sha256_file, sha256_rows
from transferkit.files.parts import PartFile
from transferkit.files.tables import column_values, parquet_metadata

Vectors = npt.NDArray[np.float32]
FORMAT = 1
_KEY = "transferkit"  # in the metadata of a parquet file


@dataclass(frozen=True)
class Origin:
    """What made the vectors of a file.

    Attributes:
        embedder: sha256 of the manifest of its checkpoint.
        side: what the texts were taken for, ``query`` or ``document``.
        instruction: with which they were read.
        readout: kind of the map that finished them.
        input: what tells the texts from others.
        rows: vectors; 0 until the file is finished.
        width: numbers a vector; 0 until then.
    """

    embedder: str
    side: str
    instruction: str
    readout: str
    input: str
    rows: int = 0
    width: int = 0


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
                write_text(note_file(self.out), _in_json(origin, sha256=sha256_file(whole)) + "\n")
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
    schema = _arrow_schema({_KEY: _in_json(origin, sha256=sha256)})
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


def has_note(path: Path) -> bool:
    """Whether a file of vectors called so says in a file beside it what made it."""
    return path.suffix.lower() != ".parquet"


def note_file(path: Path) -> Path:
    """Where a file of vectors without metadata of its own says what made it."""
    return path.with_name(f"{path.name}.json")


def read_origin(path: Path, *, where: str) -> Origin | None:
    """What made a file of vectors; None where nothing says so, as of a version that did not note it.

    Args:
        path: the file; where it has a note beside it, that alone is read.
        where: opens messages on a file without such a note.

    Raises:
        ConfigError: what stands there is damaged, or of a version that is not known.
    """
    return _note(path, where=where)[0]


def _note(path: Path, *, where: str) -> tuple[Origin | None, str | None]:
    """What made a file, and its sha256 (in .parquet that of its rows), where it says so."""
    beside = note_file(path)
    if has_note(path):
        if not beside.is_file():
            return None, None
        where, said = str(beside), read_json(beside)
        way_out = "embed the texts again, or remove it, and what made the vectors is not known"
    else:
        metadata = parquet_metadata(path, _KEY, where=where)
        if metadata is None:
            return None, None
        said, way_out = {}, "embed the texts again"
        with suppress(ConfigError):
            said = parse_json(metadata, where=where)
    types = {field.name: int if field.name in ("rows", "width") else str for field in fields(Origin)}
    said = said if isinstance(said, dict) else {}
    wrong = [name for name, kind in types.items() if type(said.get(name)) is not kind]
    if said.get("format") != FORMAT or wrong or (has_note(path) and type(said.get("sha256")) is not str):
        raise ConfigError(
            f"{where}: what it says of the vectors is damaged, or of another version of transferkit; {way_out}"
        )
    return Origin(**{name: said[name] for name in types}), said.get("sha256")


def _in_json(origin: Origin, **more: str) -> str:
    return json.dumps({"format": FORMAT, **asdict(origin), **more}, indent=2)  # ASCII: an instruction may hold anything


def read_vectors(path: Path, *, where: str) -> tuple[list[str] | None, Vectors]:
    """The texts of a file of vectors and the vectors (n, d); None where it carries no texts, as .npy.

    Args:
        path: a finished file.
        where: opens messages.

    Raises:
        ConfigError: no such file, one of another kind, rows that are no vectors of one length, or a file that was
            changed since it said what made it.
    """
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise ConfigError(f"{where}: expected a file ending in {', '.join(SUFFIXES)}, got {suffix or path.name!r}")
    if not path.is_file():
        raise ConfigError(f"{where}: no such file; `transferkit embed CHECKPOINT TEXTS --out {path.name}` makes one")
    origin, sha256 = _note(path, where=where)
    if sha256 is not None and has_note(path) and sha256_file(path) != sha256:
        raise ConfigError(
            f"{where}: differs from what {note_file(path).name} says of it (sha256); embed the texts again, or remove "
            f"{note_file(path).name} if the change was meant"
        )
    texts, vectors = (None, _npy_read(path, where=where)) if suffix == ".npy" else _rows_read(path, where=where)
    if origin is not None and vectors.shape != (origin.rows, origin.width):
        raise ConfigError(
            f"{where}: holds vectors of shape {vectors.shape}, and says that it holds {(origin.rows, origin.width)}; "
            "embed the texts again"
        )
    if texts is not None and not has_note(path) and sha256 not in (None, sha256_rows([(texts, vectors.tobytes())])):
        raise ConfigError(f"{where}: its rows differ from what its metadata say (sha256); embed the texts again")
    return texts, vectors


def _rows_read(path: Path, *, where: str) -> tuple[list[str], Vectors]:
    texts: list[str] = []
    for number, value in enumerate(column_values(path, "text", where=where), start=1):
        try:
            texts.append(text(value))
        except ValueError as problem:
            raise ConfigError(f"{where}, row {number}, column 'text': {problem}; embed the texts again") from None
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
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        got = f"{vectors.dtype} of shape {vectors.shape}"
        raise ConfigError(f"{where}: expected numbers of shape (texts, width), got {got}; embed the texts again")
    if not np.isfinite(vectors).all():
        raise ConfigError(f"{where}: holds NaN or infinity; embed the texts again")
    return vectors
