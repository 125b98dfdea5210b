"""What is written of a run: the record before its first step, the row of a way that was measured, and the card."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from transferkit.data.dev_set import DevSetData
from transferkit.data.scores import Outcomes
from transferkit.decoder.loading import num_parameters
from transferkit.files.environment import environment
from transferkit.files.json import write_json, write_text
from transferkit.files.writable import writing
from transferkit.progress import say
from transferkit.readout.choose import without_pairs
from transferkit.report.card import CARD, is_card, run_card
from transferkit.runner.prepare import Prepared
from transferkit.runner.provenance import data_facts, device_name
from transferkit.runs.checkpoint_folder import read_description
from transferkit.runs.folder import FORMAT, NO_FIGURES, OUTCOMES, RECORD, read_run, sealed
from transferkit.training.distributed import is_main
from transferkit.training.peak_memory import peak_memory_bytes
from transferkit.training.scoring import Evaluation

# Kinds of dev sets whose score is a mean, or a correlation, over rows that can be drawn anew one by one.
_ROW_BY_ROW = ("knn", "sts", "retrieval", "pairs")
_DIGITS = 6


def first_record(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Everything that is known before the first step."""
    recipe, embedder, device = prepared.recipe, prepared.embedder, prepared.accelerator.device
    learned = [p for group in embedder.trainable().values() for p in group]
    inputs, data = asdict(prepared.inputs), data_facts(prepared.data, prepared.dev_sets)
    if embedder.takes_readout and not prepared.data.has_pairs and (said := without_pairs(recipe.readout)) is not None:
        data["warnings"].append(said)
    return {
        "format": FORMAT,
        "run": folder.name,
        "task": recipe.task,
        "method": recipe.facts.name,
        "label": label(prepared),
        "status": "running",
        "created_at": now(),
        "resumed": [],
        "seed": recipe.seed,
        "source": prepared.source,
        "teacher": prepared.teacher and prepared.teacher.facts,
        "inputs": {
            "folder": str(folder.resolve()),
            **{key: None if value is None else str(value.resolve()) for key, value in inputs.items()},
        },
        "backbone": embedder.backbone_facts(),
        "prompting": recipe.prompting.model_dump() if recipe.task != "baseline" else None,
        "data": data,
        "parameters": {"trainable": num_parameters(learned), "total": num_parameters(embedder.parameters())},
        "timings": {"load_seconds": prepared.load_seconds},
        "peak_memory_bytes": None,
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": recipe.precision,
        "bfloat16_speed": recipe.chosen.speed,
        "processes": prepared.accelerator.num_processes,
        "template_choice": prepared.template_choice or None,
        **embedder.record_facts,
        **environment(),
    }


def label(prepared: Prepared) -> str:
    """What the rows of a run are called: as its method says, and how it learns where not from pairs alone."""
    recipe = prepared.recipe
    own, section = prepared.embedder.label(recipe), recipe.teacher
    texts = [one.kind == "texts" for one in recipe.data.train]
    if prepared.teacher is None or section is None or not recipe.facts.learns or not (any(texts) or section.weight):
        return own
    return f"{own}, {'label-free' if section.alone or all(texts) else 'with a teacher'}"


def finished(record: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that is done; ``outcome``: best, timings, steps and warnings where there are any."""
    timings = record["timings"] | outcome["timings"]
    # There is nothing to resume, and places on one machine tell another one nothing.
    ended = {"status": "done", "finished_at": now(), "peak_memory_bytes": peak_memory_bytes(), "inputs": None}
    return record | ended | outcome | {"timings": timings}


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write ``record.json``, sealed where the run is done; the main process alone does."""
    if is_main():
        write_json(folder / RECORD, sealed(folder, record) if record["status"] == "done" else record)


def write_outcomes(folder: Path, dev_sets: Sequence[DevSetData], outcomes: list[Outcomes]) -> None:
    """Write what each reported row came to in the evaluation that was kept, for `compare` to hold runs against runs.

    Args:
        folder: of the run.
        dev_sets: of the recipe.
        outcomes: of those that may select. What has one score for the whole set is left out.
    """
    sets = []
    for dev, rows in zip([one for one in dev_sets if one.select], outcomes, strict=True):
        if dev.kind in _ROW_BY_ROW:
            values, *gold = np.round(rows, _DIGITS).T.tolist()
            sets.append({"name": dev.name, "values": values, "gold": gold[0] if gold else None})
    if is_main():
        write_text(folder / OUTCOMES, dumps({"sets": sets}) + "\n")


def lacks_card(folder: Path) -> bool:
    """Whether a finished run has a checkpoint and nothing that is called as its card."""
    return (folder / "checkpoint").is_dir() and not (folder / CARD).exists()


def write_card(folder: Path, console: Console) -> None:
    """Write the card of a run that is done and left a checkpoint; a file of the user's in its place stays.

    Raises:
        ConfigError: what the card is made from was damaged meanwhile.
        RefusedError: the disk refused; the run stays done.
    """
    file = folder / CARD
    if not (folder / "checkpoint").is_dir():
        return
    way_out = f"mend that, then write it with --resume {folder}"
    with writing(f"{folder}: the run is done, but its {CARD} cannot be written", way_out=way_out):
        if file.exists() and not (file.is_file() and is_card(file)):
            say(f"{file}: is not transferkit's and stays; the run has no card", console)
            return
        write_text(file, run_card(read_run(folder), read_description(folder)))


def untrained_row(name: str | None, evaluation: Evaluation) -> dict[str, Any]:
    """The line of ``metrics.jsonl`` for one way to read a method that learns nothing."""
    return {
        "step": 0,
        "examples": 0,
        "tokens": 0,
        "seconds": 0.0,
        "loss": None,
        **NO_FIGURES,
        "variant": name,
        **evaluation.row(),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def now() -> str:
    """UTC time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
