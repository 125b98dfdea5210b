"""What a user may call a model -> encoders of mteb: a checkpoint, ``tfidf``, a ready-made encoder or a decoder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.open import find_decoder
from transferkit.config.methods import MethodFacts, all_methods, facts_of_kind
from transferkit.config.poolings import FrozenPooling, reads_instruction, reads_soft
from transferkit.config.resolve import ChosenPrecision
from transferkit.decoder.device import choose_precision
from transferkit.errors import ConfigError
from transferkit.evaluation.encoder import MtebEncoder, TextEncoder
from transferkit.evaluation.instructions import Instructions
from transferkit.evaluation.meta import state_sha256
from transferkit.evaluation.readings import MAX_LENGTH, TFIDF, ReadingOptions, TemplateAndPooling
from transferkit.evaluation.shared_pass import SharedPass
from transferkit.evaluation.tfidf import TfidfEncoder
from transferkit.files.builtin import SHIPPED
from transferkit.files.encoder_folder import check_encoder, is_encoder
from transferkit.files.json import read_json
from transferkit.methods.base import Embedder
from transferkit.methods.encoder import EncoderEmbedder
from transferkit.methods.frozen import variant_name
from transferkit.methods.prompting_alone import check_reads_text
from transferkit.runs.checkpoint_folder import (
    checkpoint_folder,
    document_instructions,
    is_checkpoint,
    is_without_readout,
    read_description,
)

Group = Sequence[TextEncoder]  # encoders of one loaded model that share their passes over the texts


@dataclass(frozen=True)
class Model:
    """A model that was found, not loaded yet. ``groups`` loads it.

    Attributes:
        name: see :class:`TextEncoder`.
        methods: of its encoders, in their order.
        instructions: None where none of its encoders reads one.
        precision: of a frozen backbone, and why; None: as a checkpoint was trained.
    """

    name: str
    methods: Sequence[str]
    instructions: Instructions | None
    groups: Callable[[], Iterator[Group]] = field(repr=False)
    precision: ChosenPrecision | None = None


@dataclass(frozen=True)
class _Finder:
    """What all models have in common."""

    reading: ReadingOptions
    instructions: Mapping[str, str]
    device: str
    backbone: str | None
    prompting_alone: bool

    def model(self, given: str, description: Mapping[str, Any] | None) -> Model:
        """Whatever was given; ``description``: of a checkpoint."""
        if description is not None:
            return self.checkpoint(given, description)
        if given == TFIDF:
            return self.tfidf()
        return self.encoder(given) if is_encoder(given) else self.frozen(given)

    def tfidf(self) -> Model:
        """The floor; no option concerns it."""
        return Model(TFIDF, [TfidfEncoder.method], None, lambda: iter([[TfidfEncoder()]]))

    def encoder(self, given: str) -> Model:
        """A ready-made encoder as it comes; no option concerns it."""
        folder, method = check_encoder(given).resolve(), EncoderEmbedder.facts.title

        def groups() -> Iterator[Group]:
            embedder = EncoderEmbedder.load(folder, device=torch.device(self.device))
            yield [MtebEncoder(embedder, name=folder.name, method=method)]

        return Model(folder.name, [method], None, groups)

    def frozen(self, given: str) -> Model:
        """A decoder as it is."""
        reading = self.reading
        own = [
            find_decoder(given, template=template, pooling=pooling)
            for template in reading.template or [None]
            for pooling in reading.pooling or [None]
        ]
        decoder, spec = own[0], own[0].spec
        layers = reading.layers or 1
        if spec.num_layers is not None and layers > spec.num_layers:
            raise ConfigError(f"--layers {layers}: {given} has {spec.num_layers}; lower it")
        chosen = choose_precision(reading.precision or "auto", torch.device(self.device))
        method = "frozen" if layers == 1 else f"frozen, last {layers} layers"
        variants = reading.variants(
            [one.template for one in own], [one.pooling for one in own], soft=False, model=given
        )

        def groups() -> Iterator[Group]:
            embedder = decoder.load(
                device=self.device,
                quantization=reading.quantization or "none",
                dtype=chosen.precision,
                max_length=reading.max_length or MAX_LENGTH,
                layers=layers,
            )
            yield from _views(
                embedder, variants, method, name=spec.name, licence=spec.license, instructions=self.instructions
            )

        read = any(reads_instruction(*one, prompting=False) for one in variants)
        return Model(
            spec.name,
            [_method(method, one) for one in variants],
            Instructions(self.instructions) if read else None,
            groups,
            chosen,
        )

    def checkpoint(self, given: str, description: Mapping[str, Any]) -> Model:
        """A method as it was trained, or without its readout in the variants that were asked for."""
        folder = checkpoint_folder(Path(given))
        run = folder.parent if folder.name == "checkpoint" else folder
        name = given if Path(given) in SHIPPED else run.resolve().name
        record = read_json(run / "record.json") if (run / "record.json").is_file() else {}
        kind = description["kind"]
        method = record.get("label") or kind
        facts = _facts_of(description, given)
        variants, readout = self._variants_of_checkpoint(description, facts, given), self.reading.readout
        if is_without_readout(description, readout, where=f"--readout: {given}"):
            method = f"{method} without readout"
        if variants:
            method = kind if description["readout"]["kind"] == "none" else f"{kind} without readout"
        methods = [_method(method, one) for one in variants] or [method]
        alone = facts.alone if self.prompting_alone else None
        options: dict[str, Any] = {"instructions": self.instructions}

        def groups() -> Iterator[Group]:
            embedder = load(folder, backbone=self.backbone, device=self.device, readout=readout)
            if variants:
                yield from _views(embedder, variants, method, name=name, **options)
            else:
                yield [MtebEncoder(embedder, name=name, method=method, **options)]
            if alone is not None and (soft := embedder.without_backbone()) is not None:
                yield [MtebEncoder(soft, name=f"{name}-prompting-alone", method=alone, **options)]

        read = _reads_instruction(description, variants, alone=alone is not None)
        instructions = Instructions(self.instructions, description["instructions"], document_instructions(description))
        return Model(name, methods + ([] if alone is None else [alone]), instructions if read else None, groups)

    def _variants_of_checkpoint(
        self, description: Mapping[str, Any], facts: MethodFacts, given: str
    ) -> list[TemplateAndPooling]:
        """Empty where it is read as it was trained."""
        if self.reading.several is None:
            return []
        if not facts.rereads:
            raise ConfigError(
                f"{self.reading.several}: {given} ({facts.title}) can be read in one way only; evaluate it without"
            )
        own = description["backbone"]
        return self.reading.variants([own["template"]], [own["pooling"]], soft=facts.soft_tokens, model=given)


def find_models(
    given: list[str],
    reading: ReadingOptions,
    *,
    instructions: Mapping[str, str],
    device: str,
    backbone: str | None = None,
    prompting_alone: bool = False,
) -> list[Model]:
    """The models that ``given`` names; nothing heavy is read.

    With ``templates`` or ``poolings`` a checkpoint is read without its readout, which was fitted to vectors of its
    own template and pooling; so its rows, the one with its own template among them, can be compared.

    Args:
        given: checkpoint or run folders, ``bundled``, ``tfidf``, folders of sentence-transformers, registry names,
            specs, model folders, .gguf files, hub ids.
        reading: how those of them that hold a decoder are read.
        instructions: as for :class:`MtebEncoder`.
        device: where they are loaded.
        backbone: where the backbone of the checkpoint lies now, if it has moved.
        prompting_alone: also what embeds without its decoder, of every checkpoint that has such a part.

    Raises:
        ConfigError: a name that is none of these or given twice, a damaged checkpoint, an encoder that is not safe, a
            template or pooling that cannot be used, a checkpoint that has one way to be read where several are asked
            for, or an option that none of the models heeds.
    """
    for name in given:
        if given.count(name) > 1:
            raise ConfigError(f"{name}: is given twice; give every model once")
    whole = [name for name in given if name == TFIDF or is_encoder(name)]  # they are read in one way
    checkpoints = [name for name in given if name not in whole and is_checkpoint(name)]
    frozen = [name for name in given if name not in whole and name not in checkpoints]
    if backbone is not None and len(checkpoints) != 1:
        raise ConfigError(f"--backbone says where one checkpoint's backbone lies, got {len(checkpoints)} checkpoints")
    if not frozen and (option := reading.frozen_only):
        other = f", or with {option}s NAME in other ways" if option in ("--template", "--pooling") else ""
        raise ConfigError(f"{option} is for frozen backbones, got none; a checkpoint is read as it was trained{other}")
    if frozen and (soft := [one for one in reading.pooling if reads_soft(one)]):
        raise ConfigError(
            f"--pooling {soft[0]}: a frozen backbone has no soft tokens; use {', '.join(get_args(FrozenPooling))}"
        )
    if reading.several is not None and not frozen and not checkpoints:
        raise ConfigError(f"{reading.several} needs a decoder or a checkpoint, got {' and '.join(whole)} alone")
    _check_readout(reading, checkpoints)
    descriptions = {name: read_description(Path(name)) for name in checkpoints}
    if prompting_alone:
        _check_prompting_alone(descriptions)
    finder = _Finder(reading, instructions, device, backbone, prompting_alone)
    models = [finder.model(name, descriptions.get(name)) for name in given]
    if instructions and all(model.instructions is None for model in models):
        raise ConfigError("--instruction: none of the models reads an instruction; leave it out")
    return models


def _check_readout(reading: ReadingOptions, checkpoints: Sequence[str]) -> None:
    if reading.readout is None:
        return
    if not checkpoints:
        raise ConfigError(f"--readout {reading.readout} is for checkpoints, got none; no other model has a readout")
    if reading.several is not None and reading.readout != "none":
        raise ConfigError(
            f"--readout {reading.readout}: with {reading.several} checkpoints are read without readout, which was "
            "fitted to one template and pooling; leave one of the two away"
        )


def _facts_of(description: Mapping[str, Any], given: str) -> MethodFacts:
    """Of the method that a checkpoint holds: what can be asked of it is known before anything is loaded."""
    try:
        return facts_of_kind(description["kind"])
    except ConfigError as error:
        raise ConfigError(f"{given}: {error}") from None


def _reads_instruction(description: Mapping[str, Any], variants: Sequence[TemplateAndPooling], *, alone: bool) -> bool:
    """Whether an encoder of a checkpoint does; ``alone``: one of them is its Prompting LLM alone, which does."""
    prompting, own = "prompting" in description, description.get("backbone")
    if prompting and (alone or own is None):
        return True
    ways = variants or ([] if own is None else [TemplateAndPooling(own["template"], own["pooling"])])
    return any(reads_instruction(*one, prompting=prompting) for one in ways)


def _check_prompting_alone(descriptions: Mapping[str, Mapping[str, Any]]) -> None:
    found = {name: one for name, one in descriptions.items() if _facts_of(one, name).alone is not None}
    if not found:
        got = ", ".join(f"{name} ({one['kind']})" for name, one in descriptions.items()) or "none"
        known = " or ".join(_command(facts) for facts in all_methods().values() if facts.alone is not None)
        raise ConfigError(f"--prompting-alone needs a checkpoint of {known}, got {got}")
    for name, one in found.items():
        if "prompting" in one:  # any other part reads texts
            check_reads_text(one["prompting"]["reads"], where=f"--prompting-alone: {name}")


def _command(facts: MethodFacts) -> str:
    return f"`baseline --method {facts.name}`" if facts.task == "baseline" else f"`{facts.task}`"


def _views(
    embedder: Embedder, variants: Sequence[TemplateAndPooling], method: str, **options: Any
) -> Iterator[Sequence[MtebEncoder]]:
    """Encoders of the variants, those of a template together; ``options`` as for :class:`MtebEncoder`."""
    weights: dict[int, str] = {}  # width -> hash, which covers a readout of that width
    for template in dict.fromkeys(one.template for one in variants):
        own = [one for one in variants if one.template == template]
        views = [embedder.reread(template=template, pooling=one.pooling) for one in own]
        widths = [view.readout.mean.shape[0] for view in views]
        for view, width in zip(views, widths, strict=True):
            if width not in weights:
                weights[width] = state_sha256(view)
        shared = SharedPass(views) if len(views) > 1 else None
        yield [
            MtebEncoder(view, method=_method(method, one), shared=shared, weights=weights[width], **options)
            for view, one, width in zip(views, own, widths, strict=True)
        ]


def _method(method: str, variant: TemplateAndPooling) -> str:
    return f"{method}, {variant_name(variant.pooling, variant.template)}"
