"""Files of vectors read back, and held against what they say made them."""

from pathlib import Path

import numpy as np

from transferkit.errors import ConfigError, first_line
from transferkit.files.cells import text
from transferkit.files.manifest import sha256_file, sha256_rows
from transferkit.files.tables import column_values
from transferkit.files.vectors.origin import has_note, note, note_file
from transferkit.files.vectors.writing import SUFFIXES, Vectors


def check_vector_file(path: Path, *, where: str) -> None:
    """Refuse a file that is not there, or of another kind.

    Raises:
        ConfigError: says which.
    """
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise ConfigError(f"{where}: expected a file ending in {', '.join(SUFFIXES)}, got {suffix or path.name!r}")
    if not path.is_file():
        raise ConfigError(f"{where}: no such file; `transferkit embed CHECKPOINT TEXTS --out {path.name}` makes one")


def read_vectors(path: Path, *, where: str) -> tuple[list[str] | None, Vectors]:
    """The texts of a file of vectors and the vectors (n, d); None where it carries no texts, as .npy.

    Args:
        path: a finished file.
        where: opens messages.

    Raises:
        ConfigError: no such file, one of another kind, rows that are no vectors of one length, or a file that was
            changed since it said what made it.
    """
    check_vector_file(path, where=where)
    suffix = path.suffix.lower()
    origin, sha256 = note(path, where=where)
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
