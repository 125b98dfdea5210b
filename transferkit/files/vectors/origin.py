"""What made the vectors of a file: in the metadata of .parquet, else in a JSON file beside it, ``NAME.json``.

So whatever reads .npy and .jsonl reads these.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from transferkit.errors import ConfigError
from transferkit.files.json import parse_json, read_json
from transferkit.files.tables import parquet_metadata

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
        width: numbers a vector; 0 until then.
        space: digest of another embedder, in whose space they are; empty: in the own one.
    """

    embedder: str
    side: str
    instruction: str
    readout: str
    input: str
    rows: int = 0
    width: int = 0
    space: str = ""


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
    types = {field.name: int if field.name in ("rows", "width") else str for field in fields(Origin)}
    said = {"space": "", **said} if isinstance(said, dict) else {}  # not written where it is their own
    wrong = [name for name, kind in types.items() if type(said.get(name)) is not kind]
    if said.get("format") != FORMAT or wrong or (has_note(path) and type(said.get("sha256")) is not str):
        raise ConfigError(
            f"{where}: what it says of the vectors is damaged, or of another version of transferkit; {way_out}"
        )
    return Origin(**{name: said[name] for name in types}), said.get("sha256")


def in_json(origin: Origin, **more: str) -> str:
    """What :func:`note` reads; ``more`` such as its sha256."""
    said = {name: value for name, value in asdict(origin).items() if name != "space" or value}
    return json.dumps({"format": FORMAT, **said, **more}, indent=2)  # ASCII: an instruction may hold anything
