"""Files of vectors read back, and held against what they say made them."""

from pathlib import Path

import numpy as np

from transferkit.errors import ConfigError, first_line
from transferkit.files.cells import text
from transferkit.files.manifest import sha256_file, sha256_rows
from transferkit.files.tables import column_values
from transferkit.files.vectors.origin import has_note, note, note_file
from transferkit.files.vectors.precision import DTYPES, Precision, Stored, Vectors, stored_width
from transferkit.files.vectors.writing import SUFFIXES, Numbers


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
    """As :func:`read_stored`, with vectors (n, d) that are whole again."""
    texts, stored = read_stored(path, where=where)
    return texts, stored.whole()


def read_stored(path: Path, *, where: str) -> tuple[list[str] | None, Stored]:
    """The texts of a file of vectors and the vectors as it holds them; None where it carries no texts, as .npy.

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
    precision: Precision = "float32" if origin is None else origin.precision
    read = (None, _npy_read(path, precision, where=where)) if suffix == ".npy" else _rows_read(path, precision, where)
    texts, numbers = read
    if origin is None:
        return texts, Stored(numbers, precision, numbers.shape[1])
    if numbers.shape != (shape := (origin.rows, stored_width(origin.width, precision))):
        raise ConfigError(
            f"{where}: holds vectors of shape {numbers.shape}, and says that it holds {shape}; embed the texts again"
        )
    if texts is not None and not has_note(path) and sha256 not in (None, sha256_rows([(texts, numbers.tobytes())])):
        raise ConfigError(f"{where}: its rows differ from what its metadata say (sha256); embed the texts again")
    ranges = None if origin.ranges is None else np.asarray(origin.ranges, dtype=np.float32)
    return texts, Stored(numbers, precision, origin.width, ranges)


def _rows_read(path: Path, precision: Precision, where: str) -> tuple[list[str], Numbers]:
    texts: list[str] = []
    for number, value in enumerate(column_values(path, "text", where=where), start=1):
        try:
            texts.append(text(value))
        except ValueError as problem:
            raise ConfigError(f"{where}, row {number}, column 'text': {problem}; embed the texts again") from None
    rows: list[Numbers] = []
    for number, value in enumerate(column_values(path, "vector", where=where), start=1):
        try:
            row = np.asarray(value, dtype=DTYPES[precision])
        except (TypeError, ValueError, OverflowError):
            row = np.zeros(0)
        if row.ndim != 1 or not len(row) or len(row) != len(rows[0] if rows else row) or not np.isfinite(row).all():
            expected = f"{len(rows[0])} numbers" if rows else "a list of numbers"
            raise ConfigError(f"{where}, row {number}, column 'vector': expected {expected}; embed the texts again")
        rows.append(row)
    if not rows:
        raise ConfigError(f"{where}: holds no vectors, expected at least one")
    return texts, np.stack(rows)


def _npy_read(path: Path, precision: Precision, *, where: str) -> Numbers:
    try:
        numbers: Numbers = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{where}: cannot be read as npy ({first_line(error)}); embed the texts again") from None
    kind = np.dtype(DTYPES[precision]).kind
    if numbers.ndim != 2 or numbers.dtype.kind != kind or not numbers.size:
        got = f"{numbers.dtype} of shape {numbers.shape}"
        lost = f", or bring {note_file(path).name} back, which says what they are" if numbers.dtype.kind in "iu" else ""
        raise ConfigError(f"{where}: expected numbers of shape (texts, width), got {got}; embed the texts again{lost}")
    if not np.isfinite(numbers).all():
        raise ConfigError(f"{where}: holds NaN or infinity; embed the texts again")
    return numbers
