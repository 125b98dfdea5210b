"""A question -> the nearest of texts whose vectors `embed` made before, and whether these can be compared with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
from rich.console import Console

from transferkit.checkpoints.instructions import warn_of_instruction
from transferkit.checkpoints.opening import Opening
from transferkit.checkpoints.spaces import Space, read_space
from transferkit.embed.search import Entry, Nearest, file_entries
from transferkit.errors import ConfigError
from transferkit.files.text_files import STANDARD_INPUT, TextFile
from transferkit.files.vectors.origin import Origin, has_note, note_file, read_origin
from transferkit.files.vectors.precision import Stored
from transferkit.files.vectors.reading import read_stored
from transferkit.progress import warn
from transferkit.runs.checkpoint_folder import as_sealed_now, embedder_digest

_ROUNDING = 0.01  # of lengths; half precision changes a thousandth


@dataclass(frozen=True)
class KeptVectors:
    """A file of vectors that was read: its texts, as entries, and what it says of itself."""

    path: Path
    entries: list[Entry]
    stored: Stored
    origin: Origin | None


def read_kept(path: Path, *, texts: str | None = None, column: str = "text") -> KeptVectors:
    """The vectors in a file that `embed` made.

    Args:
        path: .npy, .parquet or .jsonl.
        texts: the file that was embedded; needed for .npy, which carries no texts, and for no other.
        column: holds them, in files with columns.

    Raises:
        ConfigError: no such file, a damaged one, or texts that are missing or others.
    """
    where = f"--vectors {path}"
    carried, stored = read_stored(path, where=where)
    origin = read_origin(path, where=where)
    if carried is not None:
        if texts is not None:
            raise ConfigError(f"{where}: carries its texts; leave --texts {texts} away")
        entries = [Entry(f"row {number}", text, text) for number, text in enumerate(carried, start=1)]
        return KeptVectors(path, entries, stored, origin)
    if texts is None:
        raise ConfigError(f"{where}: carries no texts; name the file that was embedded with --texts")
    found = TextFile.named(texts, column=column).fingerprint()
    if origin is not None and STANDARD_INPUT not in (origin.input, found) and origin.input != found:
        raise ConfigError(
            f"{where}: was made of other texts than --texts {texts} (column {column!r}, where it has columns); name "
            "the file that was embedded, or embed this one"
        )
    entries = file_entries(texts, column=column)
    if len(entries) != len(stored):
        raise ConfigError(
            f"{where}: holds {len(stored)} vectors, and --texts {texts} {len(entries)} texts; name the file that was "
            "embedded, or embed this one"
        )
    return KeptVectors(path, entries, stored, origin)


class KeptIndex(Nearest):
    """Vectors that `embed` made, searched with the checkpoint that made them.

    Args:
        checkpoint: checkpoint or run folder, or ``bundled``.
        kept: of texts that are to be found.
        instruction: as for :class:`transferkit.embed.search.Nearest`.
        console: for a warning where an instruction is missing or not read, or where nothing says what made the vectors.
        **opening: the same. In another space the vectors are those of the older embedder, or in its space.

    Raises:
        ConfigError: no checkpoint there, or vectors that its own of a question cannot be compared with.
    """

    def __init__(
        self,
        checkpoint: Path,
        kept: KeptVectors,
        *,
        instruction: str | None = None,
        console: Console,
        **opening: Unpack[Opening],
    ) -> None:
        super().__init__(checkpoint, kept.entries, instruction=instruction, **opening)
        space = opening.get("space")
        self._check(checkpoint, kept, None if space is None else read_space(checkpoint, space)[1])
        self.stored = kept.stored
        warn_of_instruction(self.embedder, instruction, console, side="query")
        if kept.origin is None:
            warn(
                f"{kept.path} does not say what made it (of an earlier version, or without {_note(kept.path)}); its "
                "vectors are taken for this checkpoint's, of texts that are to be found, in the order in which these "
                "are given",
                console,
            )

    def _check(self, checkpoint: Path, kept: KeptVectors, space: Space | None) -> None:
        """Refuse vectors of another embedder, readout, length, side or instruction."""
        where, origin = f"--vectors {kept.path}", kept.origin
        digest = embedder_digest(checkpoint) if space is None else space.old
        made_by = "" if origin is None else origin.space or origin.embedder
        if made_by and as_sealed_now(made_by) != as_sealed_now(digest):
            asked = f"{checkpoint} ({digest[:12]})" if space is None else f"the one that --space names ({digest[:12]})"
            raise ConfigError(
                f"{where}: made by another embedder ({made_by[:12]}) than {asked}; give the one that made it with "
                "--checkpoint, embed the texts again with this one, or keep them with `transferkit bridge`"
            )
        kind = self.embedder.readout.kind
        if origin is not None and origin.readout != kind:
            own = f"search it with --readout {origin.readout}"
            way_out = own if space is None else "make a map from this file with `transferkit bridge`"
            raise ConfigError(
                f"{where}: was made with the readout {origin.readout}, and a question is read with {kind}; {way_out}, "
                "or embed the texts again"
            )
        width, found = self.embedder.get_embedding_dimension(), kept.stored.width
        if found > width or (found < width and origin is None):  # one that says what made it may have been cut
            raise ConfigError(
                f"{where}: holds vectors of {found} numbers, and those of {checkpoint} have {width}; "
                "give the checkpoint that made it with --checkpoint, or embed the texts again with this one"
            )
        has_length = kept.stored.precision in ("float32", "float16")
        lengths = np.linalg.norm(kept.stored.numbers if has_length else np.ones((1, 1)), axis=1)
        if len(wrong := np.flatnonzero((np.abs(lengths - 1) > _ROUNDING) & (lengths > 0))):
            raise ConfigError(
                f"{where}, row {wrong[0] + 1}: expected a vector of length 1, as those of {checkpoint} are, got one of "
                f"length {lengths[wrong[0]]:.3g}; embed the texts again"
            )
        if space is not None:
            self._check_bridged(where, origin, space)
        elif origin is not None and not origin.space and self._reads_otherwise(origin):
            other_side = origin.side == "query" and self.of_texts != self.instruction
            read_as = "questions" if other_side else "texts"
            raise ConfigError(
                f"{where}: was embedded as {read_as} with the instruction {origin.instruction!r}, and what is to be "
                f"found is read with {self.of_texts!r} beside this question; ask with the --instruction that goes "
                f"with it, or embed the texts again with --side document --instruction {self.of_texts!r}"
            )

    def _reads_otherwise(self, origin: Origin) -> bool:
        return self.embedder.reads_instruction and origin.instruction != self.of_texts

    def _check_bridged(self, where: str, origin: Origin | None, space: Space) -> None:
        """Refuse the older embedder's vectors of texts that it read in another way than the map knows."""
        if origin is None or origin.space:
            return
        known = "; ".join(f"{side}: {one!r}" for side, one in space.instructions.items())
        if space.instructions.get(origin.side) != origin.instruction:
            raise ConfigError(
                f"{where}: was embedded as {origin.side} with the instruction {origin.instruction!r}, and the map was "
                f"fitted on vectors of another reading ({known}); make one from this file with `transferkit bridge`"
            )


def _note(path: Path) -> str:
    return note_file(path).name if has_note(path) else "its metadata"
