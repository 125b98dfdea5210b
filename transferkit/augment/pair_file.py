"""Pairs in the making: a block is a parquet file of its own, whole or absent; all blocks together become the output.

They lie in ``.NAME.part/`` beside it. A block says in its footer which texts it comes from and what was rejected.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from transferkit.augment.candidates import Candidate, Reason, Source
from transferkit.errors import ConfigError, RunError
from transferkit.files.json import read_json, write_json
from transferkit.files.manifest import flush

FORMAT = 1
_FOOTER = b"transferkit.augment"  # key of the JSON in a parquet file's footer
_BLOCKS_PER_GROUP = 64  # blocks that become one row group


@dataclass
class Tally:
    """What became of the candidates of some texts.

    Attributes:
        texts: how many.
        kept: kind -> pairs.
        rejected: kind -> reason -> candidates; every kind that was tried is there.
    """

    texts: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, sources: Sequence[Source], judged: Iterable[tuple[Candidate, Reason | None]]) -> "Tally":
        """Of the judged candidates of ``sources``."""
        tally = cls(len(sources))
        for candidate, reason in judged:
            kind = candidate.origin.kind
            counts = tally.rejected.setdefault(kind, {})
            if reason is None:
                tally.kept[kind] = tally.kept.get(kind, 0) + 1
            else:
                counts[reason] = counts.get(reason, 0) + 1
        return tally

    def __add__(self, other: "Tally") -> "Tally":
        """Of the texts of both."""
        kinds = dict.fromkeys([*self.rejected, *other.rejected])
        return Tally(
            self.texts + other.texts,
            _sum(self.kept, other.kept),
            {kind: _sum(self.rejected.get(kind, {}), other.rejected.get(kind, {})) for kind in kinds},
        )

    @property
    def pairs(self) -> int:
        """All that were kept."""
        return sum(self.kept.values())


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in dict.fromkeys([*one, *other])}


@dataclass(frozen=True)
class Block:
    """What a finished block says of itself.

    Attributes:
        sha256: of the texts it comes from.
        batch_size: texts a forward pass, on which what is drawn depends.
        min_similarity: the limit that was in force, where an embedder judged.
        tally: what became of the candidates.
    """

    sha256: str
    batch_size: int
    min_similarity: float | None
    tally: Tally


def texts_sha256(sources: Sequence[Source]) -> str:
    """Hash of texts and their rows."""
    return sha256(json.dumps([[source.row, source.text] for source in sources]).encode()).hexdigest()


class PairFile:
    """The output file in the making.

    Args:
        out: the finished file.
        identity: what the pairs are made from and how; blocks made otherwise are not continued.
    """

    def __init__(self, out: Path, *, identity: dict[str, str]) -> None:
        self.out = out
        self.identity = identity
        self.blocks: list[Block] = []

    @property
    def folder(self) -> Path:
        """Holds the blocks."""
        return self.out.with_name(f".{self.out.name}.part")

    def resume(self) -> None:
        """Take over the blocks that an earlier call left; nothing there is a fresh start.

        Raises:
            ConfigError: made from or in another way, or damaged.
        """
        description = self.folder / "identity.json"
        if not description.is_file():
            return
        saved = read_json(description)
        if saved.get("format") != FORMAT:
            raise ConfigError(f"{self.folder}: of another version of transferkit; remove it to start again")
        before = saved["identity"]
        names = dict.fromkeys([*self.identity, *before])
        different = [name for name in names if self.identity.get(name) != before.get(name)]
        if different:
            raise ConfigError(
                f"{self.folder}: was begun with other settings ({', '.join(different)}); give the same command to go "
                "on, or remove the folder to start again"
            )
        while (path := self._path(len(self.blocks))).is_file():
            said = read_footer(path)
            self.blocks.append(Block(**{**said, "tally": Tally(**said["tally"])}))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Anchor and positive of every pair so far."""
        import pyarrow.parquet

        for number in range(len(self.blocks)):
            table = pyarrow.parquet.read_table(self._path(number), columns=["anchor", "positive"])
            yield from zip(table["anchor"].to_pylist(), table["positive"].to_pylist(), strict=True)

    def append(self, pairs: Sequence[Candidate], block: Block) -> None:
        """Add a block; it appears by rename, so a kill leaves it whole or absent.

        Raises:
            RunError: the disk refused.
        """
        columns = {
            "anchor": [pair.source.text for pair in pairs],
            "positive": [pair.text for pair in pairs],
            **{name: [getattr(pair.origin, name) for pair in pairs] for name in _ORIGIN},
            "seed": [pair.seed for pair in pairs],
            "row": [pair.source.row for pair in pairs],
        }
        try:
            if not self.blocks:
                if self.folder.exists():
                    shutil.rmtree(self.folder)  # what a kill in the middle of a removal left, of whatever settings
                self.folder.mkdir(parents=True)
                write_json(self.folder / "identity.json", {"format": FORMAT, "identity": self.identity})
            with _writer(self.folder / "next", asdict(block)) as writer:
                writer.write_table(_table(columns))
            flush(self.folder / "next")
            (self.folder / "next").replace(self._path(len(self.blocks)))
        except OSError as error:
            raise self._refused(self.folder, error) from None
        self.blocks.append(block)

    def tally(self) -> Tally:
        """What became of all candidates so far."""
        return sum((block.tally for block in self.blocks), Tally())

    def finish(self, settings: dict[str, Any]) -> None:
        """Join the blocks into the output and remove them.

        Args:
            settings: for the output's footer, beside the tally.

        Raises:
            RunError: the disk refused; the blocks are kept.
        """
        import pyarrow
        import pyarrow.parquet

        batch_sizes = sorted({block.batch_size for block in self.blocks})
        footer = {"format": FORMAT, **settings, "batch_sizes": batch_sizes, **asdict(self.tally())}
        whole = self.folder / "whole"
        try:
            with _writer(whole, footer) as writer:
                for start in range(0, len(self.blocks), _BLOCKS_PER_GROUP):
                    numbers = range(start, min(start + _BLOCKS_PER_GROUP, len(self.blocks)))
                    tables = [pyarrow.parquet.read_table(self._path(number)) for number in numbers]
                    writer.write_table(pyarrow.concat_tables([table.replace_schema_metadata() for table in tables]))
            flush(whole)
            whole.replace(self.out)
            shutil.rmtree(self.folder)
        except OSError as error:
            raise self._refused(self.out, error) from None

    def discard(self) -> None:
        """Remove the blocks."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"block-{number:06d}.parquet"

    def _refused(self, path: Path, error: OSError) -> RunError:
        return RunError(
            f"{path}: cannot be written ({error.strerror or error}); {len(self.blocks)} blocks are kept, make room and "
            "give the same command again"
        )


_ORIGIN = ("kind", "model", "revision", "weights_sha256", "prompt")
_TEXTS = ("anchor", "positive", *_ORIGIN)


def read_footer(file: Path) -> dict[str, Any]:
    """What a finished file, or a block, says of its making.

    Raises:
        ConfigError: not a file that ``augment`` wrote.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(file).metadata or {}
        found: dict[str, Any] = json.loads(metadata[_FOOTER])
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{file}: damaged, or not written by transferkit augment ({error}); remove it") from None
    return found


def _schema() -> Any:
    import pyarrow

    texts = [(name, pyarrow.string()) for name in _TEXTS]
    return pyarrow.schema([*texts, ("seed", pyarrow.int64()), ("row", pyarrow.int64())])


def _table(columns: dict[str, list[Any]]) -> Any:
    import pyarrow

    return pyarrow.table(columns, schema=_schema())


def _writer(path: Path, footer: dict[str, Any]) -> Any:
    import pyarrow.parquet

    text = json.dumps(footer, ensure_ascii=False, sort_keys=True)
    return pyarrow.parquet.ParquetWriter(path, _schema().with_metadata({_FOOTER: text.encode()}))
