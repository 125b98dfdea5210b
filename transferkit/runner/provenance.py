"""Where the numbers of a run come from: data, machine, and the lineage that its seeds share."""

import json
import platform
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from transferkit.config.methods import what_counts
from transferkit.config.recipe import with_names
from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.dev_set import DevSetData
from transferkit.data.split import overlaps
from transferkit.data.training_sets import TrainingData
from transferkit.runner.prepare import Prepared


def data_facts(data: TrainingData, dev_sets: list[DevSetData]) -> dict[str, Any]:
    """What was trained on and measured, with hashes that tell whether two runs may be compared."""
    facts = data.facts()
    dev = [
        {
            "name": d.name,
            "kind": d.kind,
            "select": d.select,
            "texts": len(d.texts),
            "reported_rows": d.reported_rows,
            "sha256": d.sha256,
        }
        for d in dev_sets
    ]
    return {
        "train_sha256": facts["sha256"],
        "dev_sha256": _sha256([f"{d['name']} {d['select']} {d['sha256']}" for d in dev]),
        "train": [{"name": name, **one} for name, one in facts["sets"].items()],
        "dev": dev,
        "warnings": [
            *facts["warnings"],
            *(warning for one in dev_sets for warning in one.warnings()),
            *overlaps(data.named_texts(), dev_sets),
        ],
    }


def lineage(prepared: Prepared) -> str:
    """Hash of what was trained, from what and on what, without the seed: equal for the seeds of one experiment."""
    facts, source = prepared.embedder.record_facts, prepared.source
    weights = [
        (prepared.embedder.backbone_facts() or {}).get("weights_sha256"),
        facts.get("prompting_weights_sha256"),
        *(one["weights_sha256"] for one in facts.get("alignment", {}).get("more_backbones", [])),
        source and (source["lineage"] or source["sha256"]),
        *([facts["encoder"]["sha256"]] if "encoder" in facts else []),
        *([] if prepared.teacher is None else [prepared.teacher.identity]),
    ]
    instructions = [[one.spec.instruction, one.document_instruction] for one in prepared.data.sets]
    recipe = prepared.recipe
    if prepared.template_choice:  # by what was asked for, as each seed may have chosen another template
        asked = recipe.embedding.model_copy(update=prepared.template_choice["asked"])
        recipe = recipe.model_copy(update={"embedding": asked})
    return lineage_of(recipe, weights, instructions, prepared.data.facts()["sha256"])


def lineage_of(recipe: ResolvedRecipe, weights: list[Any], instructions: list[Any], data_sha256: str) -> str:
    """The hash itself.

    Of the keys that count only what differs from the defaults is in it, so that a key which comes later leaves it as
    it is. A default must not be changed for the same reason: recipes say what they want (a test holds the defaults
    fast).
    """
    named = with_names(recipe, _without_place)
    # Who teaches is among the weights, wherever it lies and whatever it is called there.
    left_out: Any = {"data": True, "teacher": {"model", "backbone", "vectors"}}
    chosen = what_counts(named.model_dump(mode="json", exclude_defaults=True, exclude=left_out))
    return _sha256([json.dumps([chosen, weights, instructions, data_sha256], sort_keys=True)])


def device_name(device: torch.device) -> str:
    """Which processor it is: seconds on two of them cannot be compared."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _without_place(name: str) -> str:
    """A local backbone by the last part of its path: where it lies is no part of an experiment, its weights are."""
    return Path(name).name if Path(name).is_absolute() else name


def _sha256(lines: list[str]) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()
