"""A Prompting LLM and its alignment in a checkpoint: written, opened, and carried to another decoder."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from transferkit.config.resolve import ResolvedPrompting, check_reads
from transferkit.config.specs import BackboneSpec
from transferkit.decoder.identity import Identity
from transferkit.decoder.loading import quiet_transformers
from transferkit.errors import ConfigError
from transferkit.files.builtin import is_bundled
from transferkit.files.json import Keys
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer
from transferkit.runs.checkpoint_folder import LEARNED, PROMPTING, checkpoint_folder, read_description


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file on the CPU.

    Raises:
        ConfigError: unreadable.
    """
    try:
        return Keys(load_file(file), where=f"{file}: tensor")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); restore the checkpoint from a copy") from None


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors called ``prefix.NAME``, by NAME."""
    start = f"{prefix}."
    found = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
    return Keys(found, where=tensors.where) if isinstance(tensors, Keys) else found


def check_finite_tensors(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        ConfigError: names the tensor.
    """
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ConfigError(f"{where}: tensor {name!r} holds NaN or infinity; restore it from a copy")


def load_learned(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Put the tensors of a file into ``module``: each has one there, of the same shape and kind of number.

    Raises:
        ConfigError: names the first that does not fit.
    """
    own = module.state_dict()
    for name in own | dict(tensors):
        here, there = own.get(name), tensors.get(name)
        if here is None or there is None:
            what = "is missing" if there is None else "belongs to no part of it"
        elif here.shape != there.shape:
            what = f"expected shape {list(here.shape)}, got {list(there.shape)}"
        elif here.is_floating_point() != there.is_floating_point():
            what = f"expected {here.dtype}, got {there.dtype}"
        else:
            continue
        raise ConfigError(f"{where}: tensor {name!r}: {what}; restore the checkpoint from a copy")
    module.load_state_dict(dict(tensors))


def writer_settings(writer: Writer) -> dict[str, Any]:
    """What a checkpoint says of its Prompting LLM, and :func:`open_writer` takes."""
    prompting = writer.prompting
    return {
        "tokens": prompting.tokens,
        "tau": prompting.tau,
        "relaxation": prompting.relaxation,
        "max_length": prompting.max_length,
        "reads": writer.reads,
        "precision": prompting.precision,
        **({} if writer.gain is None else {"gain": writer.gain}),
    }


def open_writer(folder: Path, settings: Mapping[str, Any], device: torch.device) -> Writer:
    """A checkpoint's Prompting LLM with ``settings``, frozen; its files were hashed when its description was read.

    Without a precision among them it computes in float32, as all did that were written before there was a choice.

    Raises:
        ConfigError: settings that this version no longer has.
    """
    options = dict(settings)
    reads, gain = options.pop("reads"), options.pop("gain", None)
    check_reads(reads, where=str(folder))
    prompting = PromptingLLM.load(str(folder / PROMPTING), device=device, **options)
    prompting.freeze()
    return Writer(prompting, reads=reads, gain=gain)


def save_writer(writer: Writer, folder: Path, *, shared: Path | None) -> None:
    """Write the Prompting LLM into a checkpoint folder in the making.

    Args:
        writer: whose Prompting LLM it is.
        folder: of the checkpoint.
        shared: checkpoint whose frozen Prompting LLM it is; its files are hard-linked, those of the installed package
            copied.
    """
    target = folder / PROMPTING
    if shared is None:
        with quiet_transformers():
            writer.prompting.merged_model().save_pretrained(target)
            writer.prompting.encoder.tokenizer.save_pretrained(target)
        return
    target.mkdir()
    # Whoever edits a file of a run would edit the package for every later run.
    may_link = not is_bundled(checkpoint_folder(shared))
    for file in (checkpoint_folder(shared) / PROMPTING).iterdir():
        if may_link:
            with suppress(OSError):  # another disk, or a file system without links
                os.link(file, target / file.name)
                continue
        shutil.copyfile(file, target / file.name)


@dataclass(frozen=True)
class LearnedAlignment:
    """What a source learned for its own backbone: W (d_p, d_s), offsets (k, d_s) or none, and which backbone it was.

    ``mixtures``: the same told in tokens (:mod:`transferkit.prompting.mixtures`), empty where it is not.
    """

    weight: Tensor
    offset: Tensor | None
    mixtures: dict[str, Tensor]
    spec: BackboneSpec
    identity: Identity


@dataclass(frozen=True)
class SourceCheckpoint:
    """A checkpoint that a skill is taken from. Its files were hashed when it was opened, once for all that is read."""

    folder: Path
    description: dict[str, Any]

    def writer(self, settings: ResolvedPrompting, *, precision: str, device: torch.device) -> Writer:
        """Its Prompting LLM, with ``settings`` and ``precision`` in the place of the source's own."""
        own = self.description["prompting"]
        here = {key: getattr(settings, key) for key in own.keys() - {"precision", "gain"}} | {"precision": precision}
        return open_writer(self.folder, own | here, device)

    def alignment(self) -> LearnedAlignment:
        """What it learned for its own backbone, on the CPU; that backbone is not loaded.

        Raises:
            ConfigError: the checkpoint of a Prompting LLM alone.
        """
        if "alignment" not in self.description or "backbone" not in self.description:
            raise ConfigError(
                f"{self.folder}: a {self.description['kind']} checkpoint holds no alignment; use --set "
                "alignment.init=anchors"
            )
        tensors = load_tensors(self.folder / LEARNED)
        saved = self.description["backbone"]
        return LearnedAlignment(
            weight=tensors["alignment.weight"],
            offset=tensors.get("alignment.offset"),
            mixtures=below(tensors, "mixtures"),
            spec=BackboneSpec.model_validate(saved["spec"]),
            identity=Identity(**saved["identity"]),
        )


def open_source(folder: Path) -> SourceCheckpoint:
    """The source in a checkpoint or run folder.

    Raises:
        ConfigError: as :func:`read_description`.
    """
    folder = checkpoint_folder(folder)
    description = read_description(folder)
    return SourceCheckpoint(folder, description)
