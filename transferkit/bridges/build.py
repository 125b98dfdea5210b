"""Two embedders and texts -> the map from the new one's vectors to the old one's, measured on texts held out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from transferkit.bridges.fit import Sides, fit
from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.spaces import Space, bridge_folder, save_space, space_of
from transferkit.config.schema import parse
from transferkit.decoder.device import usable_device
from transferkit.embed import INDEX
from transferkit.embed.kept_vectors import read_kept
from transferkit.embed.once import kept_vectors
from transferkit.errors import ConfigError
from transferkit.files.lock import sole_use
from transferkit.files.text_files import TextFile
from transferkit.files.vectors.precision import Vectors
from transferkit.files.vectors.writing import is_vector_file
from transferkit.files.writable import check_new_file
from transferkit.methods.base import Embedder
from transferkit.methods.described import Side

FEWEST = 100  # texts
ENOUGH = 50  # percent of the ten nearest; what other shares were worth is in benchmarks/README.md


@dataclass(frozen=True)
class Bridge:
    """What was made, and where it lies."""

    folder: Path
    space: Space


@dataclass(frozen=True)
class _Reading:
    """How texts are read, and where their vectors are kept."""

    index: Path
    batch_size: int
    device: str
    console: Console

    def vectors(
        self, checkpoint: Path, embedder: Embedder, texts: Sequence[str], instruction: str, side: Side
    ) -> Vectors:
        """Of ``texts``, a row each."""
        return kept_vectors(
            embedder,
            checkpoint,
            texts,
            instruction=instruction,
            side=side,
            folder=self.index,
            batch_size=self.batch_size,
            console=self.console,
        )


def bridge(
    old: str | Path,
    new: str | Path,
    *,
    texts: str | Path | None = None,
    column: str = "text",
    to: str | Path | None = None,
    index: str | Path = INDEX,
    batch_size: int = 64,
    device: str | None = None,
    console: Console | None = None,
) -> Bridge:
    """Fit the map on texts that both embedders have read, and save it.

    Both read them as what is to be found, and as questions too where that makes another vector of a text. Vectors are
    kept in ``index``, so a call after an interruption goes on where it stopped.

    Args:
        old: checkpoint or run folder of the embedder whose index is kept, or a file of vectors that it made: then it
            need not be there any more.
        new: checkpoint or run folder of the one that reads from now on.
        texts: a file of texts of the kind that is searched; None: those that the file of vectors carries.
        column: holds them, in files with columns.
        to: a new folder for the map; None: in the new run folder.
        index: folder that keeps the vectors, as `search` keeps them.
        batch_size: texts a forward pass.
        device: default CUDA where there is one.
        console: for progress; None: there is none.

    Raises:
        ConfigError: wrong input, too few texts, or a map that is there already.
        RunError: the disk or the device's memory is full.
    """
    old, new, named = Path(old), Path(new), None if texts is None else str(texts)
    reading = _Reading(Path(index), batch_size, usable_device(device), console or Console(quiet=True))
    spaces = space_of(old), space_of(new)
    if spaces[0] == spaces[1]:
        raise ConfigError(f"bridge: {old} and {new} are the same embedder, whose vectors need no map")
    folder = bridge_folder(new, old) if to is None else Path(to)
    check_new_file(folder, option="--to")
    with sole_use(folder, option="--to"):
        check_new_file(folder, option="--to")  # again, for another process may have ended meanwhile
        if is_vector_file(old):
            found = _with_file(old, new, named, column, reading)
        else:
            found = _with_both(old, new, named, column, reading)
        made = fit(found)
        said = {
            "old": spaces[0][0],
            "new": spaces[1][0],
            "readout": found.readout,
            "instructions": found.instructions,
            "texts": made.texts,
            "ridge": made.ridge,
            "descending": found.descending,
            "kept": made.kept.model_dump(),
        }
        space = parse(Space, said, where=str(old))
        save_space(folder, made.map, space)
    return Bridge(folder, space)


def advice(space: Space) -> str:
    """Whether what is kept will do."""
    if space.kept.nearest >= ENOUGH:
        return "that will do: keep the index, and embed its texts again when there is time"
    return (
        f"below {ENOUGH} % of the ten nearest a search finds clearly less: embed the texts again, or give more of them"
    )


def _with_both(old: Path, new: Path, texts: str | None, column: str, reading: _Reading) -> Sides:
    if texts is None:
        raise ConfigError(
            f"bridge: {old} is an embedder; give texts that it and {new} shall read, with --texts FILE, or a file of "
            "vectors that it made in its place"
        )
    some = _different(TextFile.named(texts, column=column), where=f"--texts {texts}")
    embedders = [load(one, device=reading.device) for one in (old, new)]
    sided: Sequence[Side] = ("document", "query") if any(one.has_sides for one in embedders) else ("document",)
    of_old, of_new = (
        {side: reading.vectors(checkpoint, embedder, some, embedder.usual_instruction(side), side) for side in sided}
        for checkpoint, embedder in zip((old, new), embedders, strict=True)
    )
    instructions: dict[str, str] = {side: embedders[0].usual_instruction(side) for side in sided}
    readout = embedders[0].readout
    return Sides(of_old, of_new, instructions, readout.kind, descending=readout.descending)


def _with_file(old: Path, new: Path, texts: str | None, column: str, reading: _Reading) -> Sides:
    kept = read_kept(old, texts=texts, column=column)
    assert kept.origin is not None  # or its space would not have been known
    row = {entry.embedded: number for number, entry in enumerate(kept.entries)}
    some = _different(row, where=str(old))
    embedder = load(new, device=reading.device)
    side: Side = "query" if kept.origin.side == "query" else "document"
    vectors = reading.vectors(new, embedder, some, embedder.usual_instruction(side), side)
    return Sides(
        old={side: kept.stored[[row[text] for text in some]]},
        new={side: vectors},
        instructions={side: kept.origin.instruction},
        readout=kept.origin.readout,
    )


def _different(texts: Iterable[str], *, where: str) -> list[str]:
    """Each text once: one on two sides of the split would be known to the map."""
    found = list(dict.fromkeys(texts))
    if len(found) < FEWEST:
        raise ConfigError(f"{where}: expected at least {FEWEST} different texts to fit a map on, got {len(found)}")
    return found
