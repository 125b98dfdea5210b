"""What made the vectors of a file: in the metadata of .parquet, else in a JSON file beside it, ``NAME.json``.

So whatever reads .npy and .jsonl reads these.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import ConfigError
from transferkit.files.json import parse_json, read_json
from transferkit.files.tables import parquet_metadata
from transferkit.files.vectors.precision import CALIBRATED, DTYPES, Precision

Ranges = tuple[tuple[float, ...], tuple[float, ...]]
FORMAT = 1
KEY = "transferkit"  # in the metadata of a parquet file


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
        width: numbers a vector, packed ones counted singly; 0 until then.
        space: digest of another embedder, in whose space they are; empty: in the own one.
        precision: of its numbers.
        ranges: (2, width) that ``int8`` and ``uint8`` were calibrated with.
    """

    embedder: str
    side: str
    instruction: str
    readout: str
    input: str
    rows: int = 0
    width: int = 0
    space: str = ""
    precision: Precision = "float32"
    ranges: Ranges | None = None


# What every version says, and its type.
_PLAIN = {"embedder": str, "side": str, "instruction": str, "readout": str, "input": str, "rows": int, "width": int}


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
    return note(path, where=where)[0]


def note(path: Path, *, where: str) -> tuple[Origin | None, str | None]:
    """What made a file, and its sha256 (in .parquet that of its rows), where it says so."""
    beside = note_file(path)
    if has_note(path):
        if not beside.is_file():
            return None, None
        where, said = str(beside), read_json(beside)
        way_out = "embed the texts again, or remove it, and what made the vectors is not known"
    else:
        metadata = parquet_metadata(path, KEY, where=where)
        if metadata is None:
            return None, None
        said, way_out = {}, "embed the texts again"
        with suppress(ConfigError):
            said = parse_json(metadata, where=where)
    said = said if isinstance(said, dict) else {}
    plain: dict[str, Any] = {name: said.get(name) for name in _PLAIN} | {"space": said.get("space", "")}
    is_right = all(type(plain[name]) is kind for name, kind in (_PLAIN | {"space": str}).items())
    is_right = is_right and _is_stored_so(said)
    if said.get("format") != FORMAT or not is_right or (has_note(path) and type(said.get("sha256")) is not str):
        raise ConfigError(
            f"{where}: what it says of the vectors is damaged, or of another version of transferkit; {way_out}"
        )
    ranges = None if said.get("ranges") is None else shortest_ranges(said["ranges"])
    return Origin(**plain, precision=said.get("precision", "float32"), ranges=ranges), said.get("sha256")


def _is_stored_so(said: dict[str, Any]) -> bool:
    """Whether it says in which precision, and with which ranges where that has some; earlier versions say neither."""
    precision, ranges = said.get("precision", "float32"), said.get("ranges")
    if not isinstance(precision, str) or precision not in DTYPES or (ranges is not None) != (precision in CALIBRATED):
        return False
    if ranges is None:
        return True
    try:
        numbers = np.asarray(ranges, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return False
    is_whole = numbers.shape == (2, said.get("width")) and bool(np.isfinite(numbers).all())
    return is_whole and said.get("ranges_sha256") == _digest(numbers)


def shortest_ranges(ranges: npt.ArrayLike) -> Ranges:
    """Ranges (2, d) in the shortest numbers that are the same in float32."""
    low, high = (tuple(float(str(value)) for value in row) for row in np.asarray(ranges, dtype=np.float32))
    return low, high


def _digest(ranges: npt.ArrayLike) -> str:
    return sha256(np.asarray(ranges, dtype="<f4").tobytes()).hexdigest()


def in_json(origin: Origin, **more: str) -> str:
    """What :func:`note` reads; ``more`` such as its sha256."""
    said = {name: value for name, value in asdict(origin).items() if value not in (None, "") or name in _PLAIN}
    sealed = {} if origin.ranges is None else {"ranges_sha256": _digest(origin.ranges)}
    said = {"format": FORMAT, **said, **sealed, **more}
    return json.dumps(said, indent=None if sealed else 2)  # ASCII: an instruction may hold anything
