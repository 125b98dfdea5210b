"""A recipe and its inputs -> data and method in memory. Nothing is written yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from transferkit.config.methods import take_a_source
from transferkit.config.recipe import Recipe, required_backbone
from transferkit.config.resolve import ChosenPrecision, ResolvedRecipe, resolve_recipe
from transferkit.data.dev_sets import DevSetData, load_dev_sets
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.decoder.device import choose_precision
from transferkit.decoder.probe import resolve
from transferkit.errors import ConfigError
from transferkit.files.builtin import BUNDLED
from transferkit.methods.base import Embedder, Given
from transferkit.methods.registry import method_class
from transferkit.runs.checkpoint_folder import read_description, source_facts
from transferkit.training.distributed import from_main, is_main
from transferkit.training.peak_memory import reset_peak_memory

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
    source: dict[str, Any] | None  # facts of the source, for the record
    load_seconds: float


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
    """One for all processes; a method without any model computes in numpy, so nothing is measured for it."""
    asked, facts = recipe.precision, recipe.facts
    if asked != "auto":
        return ChosenPrecision(asked)
    if not (facts.has_backbone or facts.needs_source):
        return ChosenPrecision("float32")
    device = PartialState().device  # under torchrun or accelerate the processes meet here
    return from_main(choose_precision(asked, device) if is_main() else None)


def prepare(recipe: ResolvedRecipe, inputs: Inputs) -> Prepared:
    """Read the data and build the method of a resolved recipe.

    Raises:
        ConfigError, RunError: anything that is wrong with data, models or settings.
    """
    started = perf_counter()
    accelerator = _accelerator(recipe)
    data = load_training_data(
        recipe.data, data_dir=inputs.data_dir, batch_size=recipe.optim.batch_size, seed=recipe.seed
    )
    dev_sets = load_dev_sets(recipe.data, data_dir=inputs.data_dir)
    torch.manual_seed(recipe.seed)
    embedder = method_class(recipe.facts).build(recipe, Given(inputs.source, accelerator.device, data))
    reset_peak_memory()  # the peak is that of training, not of loading, checking or an earlier run
    source = None if inputs.source is None else source_facts(inputs.source)
    return Prepared(recipe, inputs, accelerator, data, dev_sets, embedder, source, perf_counter() - started)


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
    facts = recipe.facts
    if facts.needs_source and source is None:
        what = recipe.task if recipe.method is None else f"{recipe.task} --method {recipe.method}"
        raise ConfigError(
            f"{what} needs --source; pass a checkpoint or run folder of a `transferkit train`, or `{BUNDLED}`"
        )
    if source is None:
        return {}
    if not facts.needs_source:
        raise ConfigError(f"--source is for {take_a_source()}; {recipe.method or recipe.task} starts from nothing")
    description = read_description(source)
    if "prompting" not in description:
        raise ConfigError(
            f"{source}: a {description['kind']} checkpoint holds no Prompting LLM; pass one that `train` wrote"
        )
    return description
