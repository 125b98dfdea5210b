"""Pairs in the making, appended block by block as files/parts.py says; all blocks together become a parquet file.

A block says in its metadata which texts it comes from and what was rejected.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from transferkit.augment.candidates import Candidate, Reason, Source
from transferkit.errors import ConfigError
from transferkit.files.parts import PartFile

FORMAT = 1
_FOOTER = b"transferkit.augment"  # key of the JSON in the finished file's footer
_SAYS = b"block"  # key of the JSON in the metadata of a block
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


class PairFile(PartFile):
    """The output file in the making; ``rows`` are the pairs on disk so far.

    Args:
        out: the finished file.
        identity: what the pairs are made from and how; blocks made otherwise are not continued.

    Attributes:
        blocks: what the finished ones say of themselves.
    """

    def __init__(self, out: Path, *, identity: dict[str, str]) -> None:
        super().__init__(out, identity=identity, unit="pairs")
        self.blocks: list[Block] = []

    def resume(self) -> None:
        """Take over the blocks that an earlier call left; nothing there is a fresh start.

        Raises:
            ConfigError: made from or in another way, or damaged.
        """
        super().resume()
        said = [json.loads(metadata[_SAYS]) for _, metadata in self._batches()]
        self.blocks = [Block(**{**one, "tally": Tally(**one["tally"])}) for one in said]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Anchor and positive of every pair so far."""
        for batch, _ in self._batches():
            yield from zip(batch["anchor"].to_pylist(), batch["positive"].to_pylist(), strict=True)

    def append(self, pairs: Sequence[Candidate], block: Block) -> None:
        """Add a block.

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
        self.write(_message(columns, block, opens=self.bytes == 0), rows=len(pairs))
        self.blocks.append(block)

    def tally(self) -> Tally:
        """What became of all candidates so far."""
        return sum((block.tally for block in self.blocks), Tally())

    def finish(self, settings: dict[str, Any]) -> None:
        """Make the blocks the output.

        Args:
            settings: for the output's footer, beside the tally.

        Raises:
            RunError: the disk refused; the blocks are kept.
        """
        batch_sizes = sorted({block.batch_size for block in self.blocks})
        footer = {"format": FORMAT, **settings, "batch_sizes": batch_sizes, **asdict(self.tally())}
        self.complete(lambda part: self._parquet(part.with_name(f"{part.name}.parquet"), footer))

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        """Rows and metadata of every block."""
        import pyarrow

        if self.bytes == 0:
            return
        try:
            with self.part.open("rb") as file, pyarrow.ipc.open_stream(file) as stream:
                while True:
                    yield tuple(stream.read_next_batch_with_custom_metadata())
        except StopIteration:
            return
        except (pyarrow.ArrowException, OSError):
            raise self.damaged() from None

    def _parquet(self, whole: Path, footer: dict[str, Any]) -> Path:
        """All blocks as one file, no more than a row group in memory."""
        import pyarrow
        import pyarrow.parquet

        text = json.dumps(footer, ensure_ascii=False, sort_keys=True)
        schema = _schema().with_metadata({_FOOTER: text.encode()})
        batches = (batch for batch, _ in self._batches())
        with pyarrow.parquet.ParquetWriter(whole, schema) as writer:
            while group := list(islice(batches, _BLOCKS_PER_GROUP)):
                writer.write_table(pyarrow.Table.from_batches(group))
        return whole


_ORIGIN = ("kind", "model", "revision", "weights_sha256", "prompt")
_TEXTS = ("anchor", "positive", *_ORIGIN)


def read_footer(file: Path) -> dict[str, Any]:
    """What a finished file says of its making.

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


def _message(columns: dict[str, list[Any]], block: Block, *, opens: bool) -> bytes:
    """A block as an Arrow message that says where it is from; ``opens``: behind the one that opens a stream.

    A parquet file cannot be continued after a kill, a stream of messages can.
    """
    import pyarrow

    schema = _schema()
    sink = BytesIO()
    with pyarrow.ipc.new_stream(sink, schema) as stream:
        batch = pyarrow.record_batch(columns, schema=schema)
        stream.write_batch(batch, custom_metadata={_SAYS: json.dumps(asdict(block)).encode()})
        written = sink.getvalue()
    return written if opens else written[len(schema.serialize()) :]
