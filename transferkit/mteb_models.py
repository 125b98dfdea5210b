"""What a user may call a model -> encoders of mteb: a checkpoint, a run folder, ``bundled``, or a frozen backbone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from transferkit.backbone import FrozenBackbone
from transferkit.baselines import FrozenEmbedder, PromptingAlone
from transferkit.checkpoint import checkpoint_folder, given_folder, load, read_description
from transferkit.embedder import PromptEmbedder
from transferkit.errors import ConfigError
from transferkit.mteb_encoder import MtebEncoder
from transferkit.probe import resolve
from transferkit.resources import BUNDLED
from transferkit.runs import read_json
from transferkit.specs import BackboneSpec, Pooling, Quantization
from transferkit.template import Template
from transferkit.template_files import template_text


@dataclass(frozen=True)
class Reading:
    """How frozen backbones are read; a checkpoint is read as it was trained."""

    template: str | None = None  # text, or the name of one; None: the spec's
    pooling: Pooling | None = None
    dtype: str = "float32"
    quantization: Quantization = "none"
    max_length: int = 512  # tokens of a text


@dataclass(frozen=True)
class Model:
    """A model that was found, not loaded yet. ``encoders`` loads it; one model may be read in several ways."""

    name: str
    method: str
    trained: Mapping[str, str]  # training set -> instruction
    encoders: Callable[[], Iterator[MtebEncoder]] = field(repr=False)


def find_models(
    given: list[str],
    reading: Reading,
    *,
    instructions: Mapping[str, str],
    device: str,
    backbone: str | None = None,
    prompting_alone: bool = False,
) -> list[Model]:
    """The models that ``given`` names; nothing heavy is read.

    Args:
        given: checkpoint or run folders, ``bundled``, registry names, specs, model folders, hub ids.
        reading: for those of them that are backbones.
        instructions: as for :class:`MtebEncoder`.
        device: where they are loaded.
        backbone: where the backbone of the checkpoint lies now, if it has moved.
        prompting_alone: also the Prompting LLM alone of every transfer checkpoint.

    Raises:
        ConfigError: a name that is none of these or given twice, a damaged checkpoint, a template or pooling that
            cannot be used.
    """
    for name in given:
        if given.count(name) > 1:
            raise ConfigError(f"{name}: is given twice; give every model once")
    checkpoints = [name for name in given if _is_checkpoint(name)]
    if backbone is not None and len(checkpoints) != 1:
        raise ConfigError(f"--backbone says where one checkpoint's backbone lies, got {len(checkpoints)} checkpoints")
    if len(checkpoints) == len(given) and (reading.template or reading.pooling):
        option = "--template" if reading.template else "--pooling"
        raise ConfigError(f"{option} is for frozen backbones; a checkpoint is read as it was trained")
    if prompting_alone and not checkpoints:
        raise ConfigError("--prompting-alone needs a checkpoint that holds a Prompting LLM, got none")
    return [
        _checkpoint(name, instructions, device=device, backbone=backbone, prompting_alone=prompting_alone)
        if name in checkpoints
        else _frozen(name, reading, instructions, device=device)
        for name in given
    ]


def _is_checkpoint(name: str) -> bool:
    folder = given_folder(Path(name))
    return not (folder / "config.json").is_file() and any(
        (folder / part).exists() for part in ("manifest.json", "record.json", "checkpoint")
    )


def _checkpoint(
    name: str, instructions: Mapping[str, str], *, device: str, backbone: str | None, prompting_alone: bool
) -> Model:
    folder = checkpoint_folder(Path(name))
    description = read_description(folder)
    run = folder.parent if folder.name == "checkpoint" else folder
    short = str(BUNDLED) if Path(name) == BUNDLED else run.resolve().name
    record = read_json(run / "record.json") if (run / "record.json").is_file() else {}
    method = record.get("label") or description["kind"]
    alone = prompting_alone and description["kind"] == "transfer"

    def encoders() -> Iterator[MtebEncoder]:
        embedder = load(folder, backbone=backbone, device=device)
        yield MtebEncoder(embedder, name=short, method=method, instructions=instructions)
        if alone and isinstance(embedder, PromptEmbedder):
            soft = PromptingAlone(embedder.writer, join="mean")
            soft.instructions = embedder.instructions
            yield MtebEncoder(
                soft, name=f"{short}-prompting-alone", method="prompting LLM alone", instructions=instructions
            )

    return Model(short, method, description["instructions"], encoders)


def _frozen(name: str, reading: Reading, instructions: Mapping[str, str], *, device: str) -> Model:
    spec = resolve(name)
    try:
        template = template_text(reading.template or spec.template, soft=False)
        template = Template.parse(template).without_soft().source
    except ValueError as error:
        raise ConfigError(f"--template: {error}") from None
    pooling = reading.pooling or spec.pooling
    if pooling == "soft":
        if reading.pooling is not None:
            raise ConfigError(
                "--pooling soft: a frozen backbone has no soft tokens; use last, mean, weighted_mean or max"
            )
        pooling = "mean"
    method = f"frozen, {pooling} · {reading.template or template}"

    def encoders() -> Iterator[MtebEncoder]:
        embedder = FrozenEmbedder(_load(spec, reading, template, device), pooling=pooling).eval()
        yield MtebEncoder(embedder, name=spec.name, method=method, instructions=instructions, licence=spec.license)

    return Model(spec.name, method, {}, encoders)


def _load(spec: BackboneSpec, reading: Reading, template: str, device: str) -> FrozenBackbone:
    options: dict[str, Any] = {"quantization": reading.quantization, "dtype": reading.dtype}
    return FrozenBackbone.load(
        spec, template=template, max_length=reading.max_length, device=torch.device(device), **options
    )
