"""Recipe -> method: the embedder that a command trains or measures, and the facts that its record keeps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit.checkpoints.checkpoint import Source, document_instructions, open_source, read_description
from transferkit.config.datasets import TrainSet
from transferkit.config.named_templates import template_name
from transferkit.config.poolings import (
    FrozenPooling,
    Pooling,
    available_poolings,
    of_states,
    reads_soft,
    without_soft_tokens,
)
from transferkit.config.recipe import Recipe, has_backbone, required_backbone, takes_source, with_names
from transferkit.config.sections import FrozenSection
from transferkit.config.specs import BackboneSpec, lasting_name
from transferkit.config.template import Template
from transferkit.decoder.backbone import FrozenBackbone
from transferkit.decoder.identity import weights_sha256
from transferkit.decoder.probe import resolve
from transferkit.errors import ConfigError
from transferkit.files.builtin import BUNDLED
from transferkit.methods.alignment_start import start_alignment
from transferkit.methods.baselines import FrozenEmbedder, Join, LoraEmbedder, PromptingAlone, PromptTuningEmbedder
from transferkit.methods.embedder import Embedder, PromptEmbedder, SeveralPoolings
from transferkit.methods.several_backbones import SeveralBackbones
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer


@dataclass
class Built:
    """A method ready to run. ``facts`` goes into the record."""

    embedder: Embedder
    label: str
    facts: dict[str, Any] = field(default_factory=dict)


def resolve_recipe(recipe: Recipe, *, source: Path | None) -> tuple[Recipe, BackboneSpec | None]:
    """Fill every choice that the recipe leaves to the source checkpoint or to the backbone's spec.

    Local backbones are named by their absolute paths, so that a run can be resumed and compared from every folder.

    Returns:
        The complete recipe, and the backbone's spec (None for TF-IDF).

    Raises:
        ConfigError: no backbone, no source where one is needed, or one where it is not.
    """
    description = _source_description(recipe, source)
    inherited = description.get("prompting", {})
    defaults = {"tokens": 5, "tau": 3.0, "relaxation": "vocabulary", "reads": "text", "max_length": 128} | inherited
    prompting = recipe.prompting.model_copy(
        update={key: value for key, value in defaults.items() if getattr(recipe.prompting, key) is None}
    )
    train = [_with_instructions(one, description) for one in recipe.data.train]
    data = recipe.data.model_copy(update={"train": train})
    init = recipe.alignment.init or ("source" if recipe.task == "adapt" else "anchors")
    alignment = recipe.alignment.model_copy(update={"init": init})
    recipe = recipe.model_copy(update={"prompting": prompting, "alignment": alignment, "data": data})
    if not has_backbone(recipe):
        return with_names(recipe, lasting_name), None
    spec = resolve(required_backbone(recipe))
    recipe = with_names(recipe, lasting_name)  # not before: errors name a backbone as it was given
    from_source = description.get("backbone", {})
    template = recipe.embedding.template or from_source.get("template") or spec.template
    pooling: Pooling = recipe.embedding.pooling or from_source.get("pooling") or spec.pooling
    layers = recipe.embedding.layers or from_source.get("layers") or 1
    if recipe.method in ("lora", "qlora", "frozen"):
        template, pooling = without_soft_tokens(template, pooling)
    if of_states(pooling) is None and recipe.method != "frozen":
        raise ConfigError(
            f"embedding.pooling: {pooling!r} reads no hidden state, so nothing would learn; use soft+static, or "
            "mean+static without soft tokens"
        )
    if recipe.method in (None, "prompt-tuning"):
        _check_soft_place(template, pooling)
    quantization = "nf4" if recipe.method == "qlora" else recipe.embedding.quantization
    embedding = recipe.embedding.model_copy(
        update={"template": template, "pooling": pooling, "layers": layers, "quantization": quantization}
    )
    return recipe.model_copy(update={"embedding": embedding}), spec


def build(recipe: Recipe, spec: BackboneSpec | None, *, source: Path | None, device: torch.device) -> Built:
    """The method of a complete recipe (see :func:`resolve_recipe`).

    Raises:
        ConfigError: something in the recipe cannot be had: weights, a path, shared tokens, ...
    """
    if recipe.method == "prompting-llm-alone":
        assert source is not None
        return Built(PromptingAlone(open_source(source).writer(device=device), join="mean"), "prompting LLM alone")
    assert spec is not None
    backbone = load_backbone(recipe, spec, device=device)
    pooling = recipe.embedding.pooling
    assert pooling is not None
    tokens = recipe.prompting.tokens
    assert tokens is not None
    match recipe.method:
        case None:
            return _build_prompt_embedder(recipe, backbone, pooling, source=source, device=device)
        case "lora" | "qlora":
            lora = LoraEmbedder(backbone, pooling=pooling, lora=recipe.lora, seed=recipe.seed)
            name = "QLoRA" if recipe.method == "qlora" else "LoRA"
            return Built(lora, f"{name} r {recipe.lora.r}, lr {recipe.optim.lr:g}, {pooling}")
        case "prompt-tuning":
            tuned = PromptTuningEmbedder(backbone, pooling=pooling, tokens=tokens, seed=recipe.seed)
            return Built(tuned, f"prompt tuning, {tokens} vectors, lr {recipe.optim.lr:g}")
        case _:
            return Built(FrozenEmbedder(backbone, pooling=pooling), "frozen backbone")


def load_backbone(recipe: Recipe, spec: BackboneSpec, *, device: torch.device) -> FrozenBackbone:
    """The recipe's backbone, with room for its soft tokens."""
    return FrozenBackbone.load(
        spec,
        quantization=recipe.embedding.quantization,
        dtype=recipe.embedding.dtype,
        template=recipe.embedding.template,
        max_length=recipe.embedding.max_length,
        soft_tokens=recipe.prompting.tokens or 0,
        layers=recipe.embedding.layers or 1,
        device=device,
    )


@dataclass(frozen=True)
class Variant:
    """One way to read a method that has several; ``part`` takes its vectors out of those that the ways share."""

    name: str
    embedder: Embedder
    part: Callable[[Tensor], Tensor]


JOINS: dict[Join, str] = {
    "mean": "mean of the soft tokens",
    "side by side": "soft tokens side by side",
    "mean+static": "mean of the soft tokens + static",
    "side by side+static": "soft tokens side by side + static",
}


def variants(recipe: Recipe, built: Built) -> Iterator[tuple[Embedder, list[Variant]]]:
    """The ways in which a method without training is read: templates x poolings, or the joins of soft tokens.

    Each item is what reads the texts once, and the ways that share its pass; a way's own embedder gives the same
    vectors alone.
    """
    if isinstance(built.embedder, PromptingAlone):
        alone = built.embedder
        joins = SeveralPoolings(alone, poolings=list(JOINS))
        yield (
            joins,
            [
                Variant(name, PromptingAlone(alone.writer, join=join), partial(joins.part, pooling=join))
                for join, name in JOINS.items()
            ],
        )
        return
    assert isinstance(built.embedder, FrozenEmbedder)
    backbone = built.embedder.backbone
    for template, poolings in frozen_readings(recipe.frozen):
        backbone.use_template(template)
        together = SeveralPoolings(FrozenEmbedder(backbone, pooling=poolings[0]), poolings=poolings)
        yield (
            together,
            [
                Variant(
                    variant_name(pooling, template),
                    FrozenEmbedder(backbone, pooling=pooling),
                    partial(together.part, pooling=pooling),
                )
                for pooling in poolings
            ],
        )


def frozen_readings(frozen: FrozenSection) -> Iterator[tuple[str, list[FrozenPooling]]]:
    """Each template and its poolings. One that reads no state comes once: no template changes it."""
    for number, template in enumerate(frozen.templates):
        poolings = [pooling for pooling in frozen.poolings if number == 0 or of_states(pooling) is not None]
        if poolings:
            yield template, poolings


def variant_name(pooling: Pooling, template: str) -> str:
    """What a way to read a backbone is called."""
    return f"{pooling} · {template_name(template, soft=True)}"


def _build_prompt_embedder(
    recipe: Recipe, backbone: FrozenBackbone, pooling: Pooling, *, source: Path | None, device: torch.device
) -> Built:
    settings = recipe.prompting
    chosen = {key: getattr(settings, key) for key in ("tokens", "tau", "relaxation", "max_length")}
    opened: Source | None = None
    if recipe.task == "adapt":
        assert source is not None
        opened = open_source(source)
        writer = opened.writer(device=device, reads=settings.reads, **chosen)
        writer.freeze()
        origin: dict[str, Any] = {}
    else:
        assert settings.backbone is not None
        assert settings.reads is not None
        spec = resolve(settings.backbone)
        prompting = PromptingLLM.load(spec.location, revision=spec.revision, device=device, **chosen)
        if settings.tuning == "lora":
            prompting.add_lora(settings.lora, seed=recipe.seed)
        writer = Writer(prompting, reads=settings.reads)
        origin = {"prompting_weights_sha256": weights_sha256(spec.location, revision=spec.revision)}
    alignment, facts = start_alignment(writer, backbone, recipe, source=opened)
    embedder = PromptEmbedder(writer, alignment.to(device), backbone, pooling=pooling)
    others, fits = _others(recipe, writer, pooling, device=device)
    if others:
        embedder, facts = SeveralBackbones(embedder, others), facts | {"more_backbones": fits}
    learns = "W + offsets" if recipe.alignment.offset == "position" else "W"
    name = "transfer" if recipe.task == "adapt" else "source"
    label = f"{name}, {learns}, {recipe.alignment.init} start"
    return Built(embedder, label, {"alignment": facts, **origin})


def _others(
    recipe: Recipe, writer: Writer, pooling: Pooling, *, device: torch.device
) -> tuple[list[PromptEmbedder], list[dict[str, Any]]]:
    """Embedders on the recipe's further backbones, which share ``writer``, and what the record says of each."""
    embedders, facts = [], []
    for name in recipe.embedding.more_backbones:
        spec = resolve(name)
        backbone = load_backbone(recipe, spec, device=device)
        alignment, fit = start_alignment(writer, backbone, recipe)
        embedders.append(PromptEmbedder(writer, alignment.to(device), backbone, pooling=pooling))
        facts.append({"backbone": spec.name, "weights_sha256": backbone.identity.weights_sha256, **fit})
    return embedders, facts


def _source_description(recipe: Recipe, source: Path | None) -> dict[str, Any]:
    needed = takes_source(recipe)
    if needed and source is None:
        what = "adapt" if recipe.task == "adapt" else "baseline --method prompting-llm-alone"
        raise ConfigError(
            f"{what} needs --source; pass a checkpoint or run folder of a `transferkit train`, or `{BUNDLED}`"
        )
    if source is None:
        return {}
    if not needed:
        raise ConfigError(
            f"--source is for adapt and prompting-llm-alone; {recipe.method or recipe.task} starts from nothing"
        )
    description = read_description(source)
    if "prompting" not in description:
        raise ConfigError(
            f"{source}: a {description['kind']} checkpoint holds no Prompting LLM; pass one that `train` wrote"
        )
    return description


def _check_soft_place(template: str, pooling: Pooling) -> None:
    """Soft tokens need a place in the template, and ``soft`` pooling a place that sees the text."""
    parsed = Template.parse(template)
    if not parsed.has_soft:
        raise ConfigError(
            f"embedding.template: {template!r} has no {{soft}}, so the soft tokens have no place; write for example "
            "'{text}{soft}'"
        )
    if reads_soft(pooling) and not parsed.soft_sees_text:
        raise ConfigError(
            f"embedding.pooling: {pooling!r} reads positions that stand before the text in template {template!r} and "
            f"never see it; use {', '.join(available_poolings(template))}, or put {{soft}} after {{text}}"
        )


def _with_instructions(one: TrainSet, description: dict[str, Any]) -> TrainSet:
    """The source's own, on both sides, of a set that it was trained on and the recipe gives none for."""
    if one.instruction is not None:
        return one
    instruction = description.get("instructions", {}).get(one.name, "")
    document = document_instructions(description).get(one.name) if description else None
    if one.document_instruction is not None or document == instruction:
        document = one.document_instruction  # null says the same as the anchors'
    return one.model_copy(update={"instruction": instruction, "document_instruction": document})
