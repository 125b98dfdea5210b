"""A checkpoint that is not opened as it stands: what is exchanged, and what that makes of its vectors."""

from pathlib import Path
from typing import TypedDict

from transferkit.checkpoints.spaces import read_space
from transferkit.files.manifest import NAME, sha256_file
from transferkit.runs.checkpoint_folder import is_without_readout, read_description


class Opening(TypedDict, total=False):
    """What :func:`transferkit.checkpoints.checkpoint.load` takes beside the checkpoint.

    Attributes:
        backbone: where the checkpoint's backbone lies now, if it has moved.
        device: default CUDA where there is one.
        readout: ``none`` leaves the checkpoint's readout away; None, or the kind that it holds: its own.
        space: an older embedder, or a map that `bridge` made: vectors are given in its space.
    """

    backbone: str | None
    device: str | None
    readout: str | None
    space: Path | None


def what_differs(checkpoint: Path, opening: Opening) -> dict[str, str]:
    """What tells vectors of the checkpoint opened so from those of it as it stands; empty where nothing does.

    Raises:
        ConfigError: no checkpoint there, a readout that it does not hold, or no map into that space.
    """
    found, readout, where = {}, opening.get("readout"), f"{checkpoint}: readout"
    if readout is not None and is_without_readout(read_description(checkpoint), readout, where=where):
        found["readout"] = "none"
    if (space := opening.get("space")) is not None:
        folder, said = read_space(checkpoint, space)
        found |= {"space": said.old, "map": sha256_file(folder / NAME)}  # of two maps each is another
    return found
