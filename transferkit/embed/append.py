"""Further texts behind those of a finished file of vectors, by the embedder that made it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError
from transferkit.files.json import read_json
from transferkit.files.text_files import STANDARD_INPUT, TextFile
from transferkit.files.vectors.origin import KEY, Origin, has_note, read_origin
from transferkit.files.vectors.precision import Stored
from transferkit.files.vectors.reading import read_stored
from transferkit.files.vectors.writing import VectorFile
from transferkit.runs.checkpoint_folder import as_sealed_now

_AND = "; "  # between the inputs of a file that was appended to
_TOLD = {
    "embedder": "by another embedder",
    "side": "of another side",
    "instruction": "with another instruction",
    "readout": "with another readout",
    "space": "in another space",
    "width": "of another length",
    "precision": "in another precision",
}


@dataclass(frozen=True)
class Before:
    """A finished file of vectors that is to grow."""

    path: Path
    texts: list[str]
    stored: Stored
    origin: Origin

    def __len__(self) -> int:
        return len(self.texts)

    def check_same(self, **now: Any) -> None:
        """Refuse to append what is not of one kind with the vectors there.

        Args:
            **now: values of :class:`Origin` that further vectors will have.

        Raises:
            ConfigError: names the first that differs.
        """
        for name, value in now.items():
            was = getattr(self.origin, name)
            if name in ("embedder", "space"):
                was, value = (as_sealed_now(one) if one else one for one in (was, value))
            if was != value:
                shown = (one[:12] if name in ("embedder", "space") else one for one in (was, value))
                there, here = (repr(one) for one in shown)
                raise ConfigError(
                    f"--append: the vectors in {self.path} were made {_TOLD[name]} ({name} {there}, now {here}); give "
                    "what made them, or embed into a new file"
                )

    def again(self, source: TextFile) -> int:
        """How many of further texts it holds already; standard input is not read for that."""
        known = set(self.texts)
        return 0 if source.path is None else sum(text in known for text in source)

    def with_input(self, further: str) -> str:
        """What tells the texts of the grown file from others; ``further`` those that are appended."""
        return _AND.join([self.origin.input, further])


def read_before(out: Path, source: TextFile) -> Before:
    """The file that is to grow.

    Args:
        out: a .parquet file: it alone says in itself what made it, and is replaced at one stroke.
        source: further texts.

    Raises:
        ConfigError: no such file, one of another kind, a damaged one, one that does not say what made it or holds
            more than vectors and their texts, or one that holds these texts already.
    """
    where = f"--out {out}"
    if has_note(out):
        raise ConfigError(f"{where}: --append takes .parquet alone, which says in itself what made it; embed all texts")
    if source.path is not None and source.path.resolve() == out.resolve():
        raise ConfigError(f"{where}: is the file that is read, too; name another one with texts to append")
    texts, stored = read_stored(out, where=where)
    origin = read_origin(out, where=where)
    if origin is None or texts is None:
        raise ConfigError(f"{where}: does not say what made its vectors, so nothing is appended; embed all texts anew")
    if more := [name for name in _columns_and_metadata(out) if name not in ("text", "vector", KEY)]:
        raise ConfigError(
            f"{where}: holds more than `embed` wrote ({', '.join(more)}), which a grown file would lose; embed the "
            "further texts into a file of their own and join the two"
        )
    if (found := source.fingerprint()) != STANDARD_INPUT and _holds(origin.input, found):
        raise ConfigError(f"{where}: holds the vectors of {source} already; there is nothing to append")
    return Before(out, texts, stored, origin)


def rows_of_finished(file: VectorFile) -> int:
    """Rows of a file that had grown already when a kill came, before its part was removed, which it is now; else 0."""
    if not (file.part.is_file() and file.progress.is_file() and file.out.is_file()):
        return 0
    saved, origin = read_json(file.progress), read_origin(file.out, where=f"--out {file.out}")
    begun = saved.get("identity")
    same = isinstance(begun, dict) and {key: begun[key] for key in begun if key != "append"} == file.identity
    if origin is None or not same or saved.get("rows") != origin.rows:
        return 0
    file.discard()
    return origin.rows


def _holds(inputs: str, one: str) -> bool:
    return f"{_AND}{one}{_AND}" in f"{_AND}{inputs}{_AND}"


def _columns_and_metadata(path: Path) -> list[str]:
    """Names of both; pyarrow's own note of its types aside."""
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    return [*schema.names, *(key.decode(errors="replace") for key in schema.metadata or {})]
