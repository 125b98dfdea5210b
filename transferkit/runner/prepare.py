"""A recipe and its inputs -> data and method in memory. Nothing is written yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from rich.console import Console

from transferkit.config.recipe import Recipe, required_backbone
from transferkit.config.resolve import ChosenPrecision, ResolvedRecipe, behind, resolve_recipe
from transferkit.data.dev_set import DevSetData
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.decoder.device import choose_precision
from transferkit.decoder.probe import resolve
from transferkit.errors import ConfigError, RunError
from transferkit.methods.base import Embedder, Given
from transferkit.methods.registry import method_class
from transferkit.request.named import check_source
from transferkit.runner.choose_template import candidates, choice_facts, choose_template, leaves_template_open
from transferkit.runs.checkpoint_folder import read_description, source_facts
from transferkit.training.distributed import from_main, is_main
from transferkit.training.lessons import lesson_texts
from transferkit.training.peak_memory import reset_peak_memory
from transferkit.training.teacher import Teacher, find_teacher

_TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}


@dataclass(frozen=True)
class Inputs:
    """What a run is given besides its recipe; kept in the record until it is done, for ``--resume``."""

    source: Path | None = None
    data_dir: Path | None = None


@dataclass
class Prepared:
    """Data and method in memory, nothing written yet."""

    recipe: ResolvedRecipe
    inputs: Inputs
    accelerator: Accelerator
    data: TrainingData
    dev_sets: list[DevSetData]
    embedder: Embedder
    teacher: Teacher | None
    source: dict[str, Any] | None  # facts of the source, for the record
    load_seconds: float
    template_choice: dict[str, Any]  # for the record; empty where the recipe names its template


def resolved(recipe: Recipe, *, source: Path | None) -> ResolvedRecipe:
    """``recipe`` with every choice made that it leaves to the source checkpoint, the backbone's spec or this machine.

    Raises:
        ConfigError: no backbone, no source where one is needed, or one where it is not.
    """
    facts = recipe.facts
    description = _source_description(recipe, source)
    spec = resolve(required_backbone(recipe)) if facts.has_backbone else None
    return resolve_recipe(recipe, description=description, spec=spec, chosen=_precision(recipe))


def _precision(recipe: Recipe) -> ChosenPrecision:
    """One for all processes; `auto` is measured for decoders and sources: all else is numpy, or stays as it comes."""
    asked, facts = recipe.precision, recipe.facts
    if asked != "auto":
        return ChosenPrecision(asked)
    if not (facts.has_backbone or facts.needs_source):
        return ChosenPrecision("float32")
    device = PartialState().device  # under torchrun or accelerate the processes meet here
    return from_main(choose_precision(asked, device) if is_main() else None)


def prepare(recipe: ResolvedRecipe, inputs: Inputs, *, console: Console | None = None) -> Prepared:
    """Read the data and build the method of a resolved recipe.

    Args:
        recipe: what to build.
        inputs: source checkpoint and data folder.
        console: says what each template is worth where the recipe leaves it open; None: it is not asked, and the first
            of them stands for the one that a run would choose.

    Raises:
        ConfigError, RunError: anything that is wrong with data, models or settings.
    """
    started = perf_counter()
    accelerator = _accelerator(recipe)
    data = load_training_data(
        recipe.data, data_dir=inputs.data_dir, batch_size=recipe.optim.batch_size, seed=recipe.seed
    )
    teacher, dev_sets = _teacher_and_dev_sets(recipe, inputs, accelerator.device, data)
    torch.manual_seed(recipe.seed)
    given, choice = Given(inputs.source, accelerator.device, data), dict[str, Any]()
    if leaves_template_open(recipe):
        asked, recipe = recipe, behind(recipe, candidates(recipe)[0])
        if console is not None:
            first = method_class(recipe.facts).build(recipe, given)
            try:
                chosen = choose_template(asked, first, data, dev_sets, console)
            except torch.OutOfMemoryError:
                raise RunError(
                    "embedding.template: auto: out of GPU memory while templates were tried; lower eval.batch_size or "
                    "embedding.max_length, or name a template (`transferkit templates`)"
                ) from None
            del first  # two decoders at once may not fit
            recipe, choice = behind(asked, chosen.template), choice_facts(chosen, asked)
            torch.manual_seed(recipe.seed)
    embedder = method_class(recipe.facts).build(recipe, given)
    reset_peak_memory()  # the peak is that of training, not of loading, checking or an earlier run
    source = None if inputs.source is None else source_facts(inputs.source)
    seconds = perf_counter() - started
    return Prepared(recipe, inputs, accelerator, data, dev_sets, embedder, teacher, source, seconds, choice)


def _teacher_and_dev_sets(
    recipe: ResolvedRecipe, inputs: Inputs, device: torch.device, data: TrainingData
) -> tuple[Teacher | None, list[DevSetData]]:
    teacher = find_teacher(recipe, source=inputs.source, data_dir=inputs.data_dir, device=device)
    dev_sets = load_dev_sets(recipe.data, data_dir=inputs.data_dir)
    if teacher is not None and teacher.known is not None:
        scored = [text for dev in dev_sets if dev.kind == "texts" for text in dev.texts]
        teacher.check([*(text for text, _ in lesson_texts(recipe, data)), *scored])
    return teacher, dev_sets


def _accelerator(recipe: Recipe) -> Accelerator:
    log_with = None if recipe.tracking == "none" else recipe.tracking
    if log_with is not None and not any(map(find_spec, _TRACKERS[log_with])):
        raise ConfigError(f"tracking: {log_with!r} is not installed; `pip install {log_with}`, or set tracking: none")
    accelerator = Accelerator(log_with=log_with, project_dir="runs")
    if recipe.optim.batch_size % accelerator.num_processes:
        raise ConfigError(
            f"optim.batch_size: {recipe.optim.batch_size} is not divisible by {accelerator.num_processes} processes"
        )
    return accelerator


def _source_description(recipe: Recipe, source: Path | None) -> Mapping[str, Any]:
    check_source(recipe, source)
    if source is None:
        return {}
    description = read_description(source)
    if "prompting" not in description:
        raise ConfigError(
            f"{source}: a {description['kind']} checkpoint holds no Prompting LLM; pass one that `train` wrote"
        )
    return description
