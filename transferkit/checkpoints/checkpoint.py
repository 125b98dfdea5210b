"""Save and load an embedder: safetensors, a description, its backbone's identity; never the backbone's weights."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from transferkit.checkpoints.spaces import carry
from transferkit.errors import ConfigError
from transferkit.files.environment import environment
from transferkit.files.json import Keys, write_json
from transferkit.files.manifest import new_folder
from transferkit.methods.base import Embedder, Saved
from transferkit.methods.registry import class_of_kind
from transferkit.prompting.saved import check_finite_tensors, load_learned, load_tensors
from transferkit.readout.readout import Readout, Settings
from transferkit.runs.checkpoint_folder import (
    DESCRIPTION,
    FORMAT,
    LEARNED,
    check_own_decoder,
    checkpoint_folder,
    document_instructions,
    is_without_readout,
    read_description,
)


def save(
    embedder: Embedder,
    target: Path,
    *,
    instructions: dict[str, str],
    document_instructions: dict[str, str] | None = None,
    prompting_from: Path | None = None,
    lineage: str | None = None,
) -> None:
    """Write a checkpoint folder; it is whole or absent.

    Args:
        embedder: any method whose facts name a kind of checkpoint.
        target: folder to create or replace.
        instructions: task instruction of the anchors of each training set, kept for ``adapt`` and for users.
        document_instructions: of the other side, where a set has another one there.
        prompting_from: checkpoint whose frozen Prompting LLM this one shares; its files are hard-linked, those of the
            installed package copied.
        lineage: equal for checkpoints that one recipe gave on the same data with different seeds.
    """
    tensors = embedder.tensors()
    if embedder.readout.kind != "none":
        tensors |= {f"readout.{name}": buffer for name, buffer in embedder.readout.state_dict().items()}
    description = {
        "format": FORMAT,
        "instructions": instructions,
        "document_instructions": instructions | (document_instructions or {}),
        "lineage": lineage,
        "versions": environment()["versions"],
        **embedder.describe(),
    }
    with new_folder(target) as folder:
        embedder.save_files(folder, shared=prompting_from)
        if tensors:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / LEARNED)
        write_json(folder / DESCRIPTION, description)


def load(
    folder: str | Path,
    *,
    backbone: str | None = None,
    device: str | None = None,
    readout: str | None = None,
    space: str | Path | None = None,
) -> Embedder:
    """The embedder in a checkpoint or run folder, ready to ``encode``.

    Args:
        folder: checkpoint or run folder.
        backbone: where the same backbone lies now, if it has moved; anything else is refused.
        device: for example ``cuda``; default CPU.
        readout: ``none`` takes the readout away; None, or the kind that the checkpoint holds: its own.
        space: an older embedder, to whose vectors `bridge` made a map: its vectors are given then.

    Raises:
        ConfigError: damaged, a backbone, tokenizer or embedding scale other than the checkpoint's own, a readout that
            it does not hold, or no such map.
    """
    folder = checkpoint_folder(Path(folder))
    description = read_description(folder)
    is_plain = is_without_readout(description, readout, where=f"{folder}: readout")
    if backbone is None:
        check_own_decoder(folder, description)
    place = torch.device(device or "cpu")
    learned = folder / LEARNED
    tensors = load_tensors(learned) if learned.is_file() else Keys({}, where=f"{learned}: tensor")
    check_finite_tensors(tensors, where=str(learned))
    saved = Saved(folder, description, tensors, place, backbone)
    try:
        embedder = class_of_kind(description["kind"]).open(saved)
    except ConfigError as error:  # one of a method may know no file
        raise error if str(folder) in str(error) else ConfigError(f"{folder}: {error}") from None
    own = dict(description["readout"])
    width, descending, plain = own.pop("width"), own.pop("descending", False), own["kind"] == "none"
    if width != len(embedder.readout.mean):
        raise ConfigError(
            f"{folder / DESCRIPTION}: readout.width: expected {len(embedder.readout.mean)}, which its model gives, got "
            f"{width}; restore the checkpoint from a copy"
        )
    own_readout = Readout(Settings(**own), width, descending=descending).to(place)
    fitted = saved.below("readout")
    load_learned(own_readout, own_readout.state_dict() if plain and not fitted else fitted, where=str(learned))
    embedder.use_readout(Readout.plain(width).to(place) if is_plain else own_readout)
    embedder.remember(description["instructions"], document_instructions(description))
    if space is not None:
        if is_plain:
            raise ConfigError(f"{folder}: its map into another space starts from its own readout; leave readout away")
        carry(embedder, folder, Path(space))
    return embedder.eval().requires_grad_(False)
