"""Spaces of other embedders that a checkpoint's vectors can be carried into: a sealed folder each, beside it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from transferkit.config.schema import Strict, parse
from transferkit.config.sections import ReadoutKind
from transferkit.errors import ConfigError
from transferkit.files.builtin import is_bundled
from transferkit.files.json import read_json, write_json
from transferkit.files.manifest import new_folder, verify
from transferkit.files.vectors.origin import read_origin
from transferkit.files.vectors.writing import SUFFIXES, is_vector_file
from transferkit.methods.base import Embedder
from transferkit.prompting.saved import check_finite_tensors, load_tensors
from transferkit.readout.bridged import Bridged
from transferkit.runs.checkpoint_folder import (
    MAP,
    as_sealed_now,
    checkpoint_folder,
    embedder_digest,
    read_description,
)

_TENSORS = "map.safetensors"
_SHAPES = {"centre": 1, "matrix": 2, "mean": 1}


class Kept(Strict):
    """How much of the old embedder's ranking is kept, in percent of texts held out, with the error of the mean.

    Attributes:
        nearest: of the ten nearest that the old one finds, how many are found.
        first: how often the nearest of all is the same text.
        texts: held out for this.
    """

    nearest: float
    nearest_error: float
    first: float
    first_error: float
    texts: Annotated[int, Field(ge=1)]


class Space(Strict):
    """What a bridge says of itself.

    Attributes:
        old: digest of the embedder whose space it is.
        new: digest of the one whose vectors are carried there.
        readout: kind of the map that finished the old vectors; with another one they are another space.
        instructions: side -> with which the old one read; of ``document`` alone where its vectors came from a file.
        texts: that the map was fitted on.
        ridge: of the map, in units of the mean eigenvalue of the new vectors.
        descending: whether the first numbers of the old vectors count most; else the last ones do.
        kept: measured on other texts.
    """

    format: Literal[1] = 1
    old: str
    new: str
    readout: ReadoutKind
    instructions: dict[str, str]
    texts: Annotated[int, Field(ge=1)]
    ridge: float
    descending: bool
    kept: Kept


@dataclass(frozen=True)
class Map:
    """From new vectors (n, d) to old ones (n, e): ``(x - centre) @ matrix + mean``, then unit norm."""

    centre: Tensor
    matrix: Tensor
    mean: Tensor


def space_of(old: Path) -> tuple[str, str]:
    """The digest of the embedder that ``old`` names, and the kind of the readout that finishes its vectors.

    Args:
        old: checkpoint or run folder, or a file of vectors that it made, with its readout or without.

    Raises:
        ConfigError: none of these, or a file that does not say what made it.
    """
    if not is_vector_file(old):
        return str(as_sealed_now(embedder_digest(old))), read_description(old)["readout"]["kind"]
    origin = read_origin(old, where=str(old)) if old.is_file() else None
    if origin is None:
        what = "does not say what made it" if old.is_file() else "no such file"
        raise ConfigError(f"{old}: {what}; give a file that `transferkit embed` made, or the checkpoint that made it")
    return str(as_sealed_now(origin.space or origin.embedder)), origin.readout


def bridge_folder(checkpoint: Path, old: Path) -> Path:
    """Where the map from ``checkpoint`` into the space of ``old`` is kept unless ``--to`` says otherwise.

    Raises:
        ConfigError: a bare checkpoint, which is sealed, or the one that ships with the package.
    """
    if (found := _beside(checkpoint, old)) is None:
        raise ConfigError(f"{checkpoint}: is no run folder of yours; say with --to where the map belongs")
    return found


def _beside(checkpoint: Path, old: Path) -> Path | None:
    folder = checkpoint_folder(checkpoint)
    run = folder.parent
    if folder.name != "checkpoint" or not (run / "record.json").is_file() or is_bundled(folder):
        return None
    digest, readout = space_of(old)
    return run / "spaces" / f"{digest[:16]}-{readout}"


def save_space(folder: Path, found: Map, space: Space) -> None:
    """Write a bridge; the folder is whole or absent.

    Raises:
        RefusedError: nothing can be written there.
    """
    with new_folder(folder) as beside:
        save_file({name: tensor.float().contiguous() for name, tensor in asdict(found).items()}, beside / _TENSORS)
        write_json(beside / MAP, space.model_dump())


def read_space(checkpoint: Path, given: Path) -> tuple[Path, Space]:
    """The bridge that ``--space`` names, by its own folder or by the old embedder, and what it says of itself.

    Raises:
        ConfigError: there is none, it is damaged, or it was made for another checkpoint.
    """
    makes = f"`transferkit bridge {given} {checkpoint}{'' if _carries_texts(given) else ' --texts FILE'}"
    folder = given if (given / MAP).is_file() else _beside(checkpoint, given)
    if folder is None:
        raise ConfigError(
            f"--space {given}: {checkpoint} is no run folder of yours, so no map lies there; give the folder of the "
            f"map, which {makes} --to FOLDER` makes"
        )
    if not folder.is_dir():
        raise ConfigError(f"--space {given}: {checkpoint} has no map into that space; {makes}` makes one")
    verify(folder)
    file = folder / MAP
    space = parse(Space, read_json(file), where=str(file))
    if as_sealed_now(space.new) != as_sealed_now(embedder_digest(checkpoint)):
        raise ConfigError(
            f"--space {given}: the map in {folder} is of another embedder ({space.new[:12]}) than {checkpoint}; make "
            f"one with `transferkit bridge OLD {checkpoint} --texts FILE`"
        )
    return folder, space


def _carries_texts(given: Path) -> bool:
    return given.suffix.lower() in SUFFIXES and given.suffix.lower() != ".npy"


def carry(embedder: Embedder, checkpoint: Path, given: Path) -> Space:
    """Have ``embedder``, loaded from ``checkpoint``, give vectors in another embedder's space from now on.

    Raises:
        ConfigError: as :func:`read_space`, or a map of other widths.
    """
    folder, space = read_space(checkpoint, given)
    tensors = load_tensors(folder / _TENSORS)
    check_finite_tensors(tensors, where=str(folder / _TENSORS))
    wrong = [name for name, dim in _SHAPES.items() if tensors[name].dim() != dim]
    shape = (embedder.get_embedding_dimension(), len(tensors["mean"]))
    if wrong or len(tensors["centre"]) != shape[0] or tensors["matrix"].shape != shape:
        raise ConfigError(
            f"{folder / _TENSORS}: expected a map of shape {shape}; make it again with `transferkit bridge`"
        )
    found: dict[str, Any] = {name: tensors[name].to(embedder.device) for name in _SHAPES}
    embedder.use_readout(Bridged(embedder.readout, kind=space.readout, descending=space.descending, **found))
    return space
