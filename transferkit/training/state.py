"""The resumable state of a run: weights, optimizer moments, counters and metrics; safetensors and JSON only."""

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from transferkit.config.sections import ReadoutKind
from transferkit.errors import ConfigError
from transferkit.files.json import read_json, write_json
from transferkit.files.manifest import new_folder, verify
from transferkit.prompting.saved import below, check_finite_tensors, load_learned, load_tensors
from transferkit.readout.readout import Readout, Settings
from transferkit.runs.folder import NO_FIGURES, delivered
from transferkit.runs.schema import EvaluationRow, Open, Row, check
from transferkit.training.distributed import is_main
from transferkit.training.scoring import Evaluation, Evidence

_PREFIX = "state-"
_COUNTERS = (
    "step",
    "examples",
    "tokens",
    "seconds",
    "evaluation_seconds",
    "loss",
    "evaluated",
)
_LISTED = ("metrics", "warnings")
_FACTS, _TENSORS = "state.json", "tensors.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_HALF_WRITTEN = re.compile(
    rf"\.({_PREFIX}\d+|checkpoint|record\.json|metrics\.jsonl|outcomes\.json|recipe\.yaml|README\.md)\.(\d+|old)"
    r"|\.teacher-\d+\.part(\.json)?"
)


class _Settings(Open):
    kind: ReadoutKind
    ridge: float | None = None
    alpha: float | None = None


class _Best(Open):
    step: int
    row: EvaluationRow


class _Facts(Open):
    """``state.json``."""

    step: int
    examples: int
    tokens: int
    seconds: float
    evaluation_seconds: float
    loss: float | None
    evaluated: int
    metrics: list[Row]
    warnings: list[str]
    figures: dict[str, float] = Field(default_factory=dict)
    method: dict[str, Any] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)
    best: _Best | None = None
    in_loss: _Settings | None = None


@dataclass
class Best:
    """The best evaluation so far and the weights that gave it."""

    step: int
    row: dict[str, Any]  # the evaluation's part of the metrics row
    weights: dict[str, Tensor]
    readout: Readout | None = None  # that was scored; a resumed run has none and fits it again
    evidence: Evidence | None = None  # none in a state of an earlier version

    @property
    def choosing(self) -> float:
        """What it was the best by."""
        return delivered(self.row["choosing"])


@dataclass
class TrainState:
    """Everything that a step depends on besides weights and optimizer; batches and dropout follow from the step."""

    step: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0  # of steps, without evaluation
    evaluation_seconds: float = 0.0
    loss: float | None = None
    figures: dict[str, float] = field(default_factory=dict)  # of the method, each of the last step that gave it
    evaluated: int = -1  # last step that was evaluated
    best: Best | None = None
    start: Evidence | None = None  # of step 0
    metrics: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # of the method, said once
    method: dict[str, Any] = field(default_factory=dict)  # what the method asks to be given when it is resumed
    in_loss: Readout | None = None  # what vectors pass before the loss
    recipe: dict[str, Any] = field(default_factory=dict)  # that the run began with
    diverged: str | None = None  # at which step, and what to change

    def after_step(self, loss: float, *, examples: int, tokens: int) -> None:
        """Count one optimizer step."""
        self.step += 1
        self.loss = loss
        self.examples += examples
        self.tokens += tokens

    def metrics_row(self, evaluation: Evaluation, *, peak_memory_bytes: int) -> dict[str, Any]:
        """One line of ``metrics.jsonl``."""
        return {
            "step": self.step,
            "examples": self.examples,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "loss": self.loss,
            **NO_FIGURES,
            **self.figures,
            "variant": None,
            **evaluation.row(),
            "peak_memory_bytes": peak_memory_bytes,
        }


def save_state(
    folder: Path, state: TrainState, named: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Write ``state-<step>/`` beside and rename, then drop all but the two newest; the main process alone does.

    Weights that hold NaN or infinity are not written: the next step says so, and the state before is the one to keep.

    Raises:
        RefusedError, OSError: the disk refused, or ``folder`` is gone.
    """
    if not is_main() or not all(bool(p.detach().isfinite().all()) for p in named.values()):
        return
    tensors = {f"weight.{name}": p.detach() for name, p in named.items()}
    names = {id(p): name for name, p in named.items()}
    for parameter, moments in optimizer.state.items():
        tensors |= {f"{key}.{names[id(parameter)]}": torch.as_tensor(value) for key, value in moments.items()}
    facts: dict[str, Any] = {key: getattr(state, key) for key in _COUNTERS}
    facts |= {key: getattr(state, key) for key in (*_LISTED, "figures", "method", "recipe")}
    if state.best is not None:
        facts["best"] = {"step": state.best.step, "row": state.best.row}
        tensors |= {f"best.{name}": value for name, value in state.best.weights.items()}
        tensors |= _evidence_tensors("best_evidence", state.best.evidence)
    tensors |= _evidence_tensors("start_evidence", state.start)
    if state.in_loss is not None:
        facts["in_loss"] = state.in_loss.settings.as_facts()
        tensors |= {f"in_loss.{name}": value for name, value in state.in_loss.state_dict().items()}
    folder.stat()  # a run's folder that went away is not made anew with a state alone in it
    with new_folder(folder / f"{_PREFIX}{state.step:07d}") as target:
        save_file({name: t.cpu().contiguous().clone() for name, t in tensors.items()}, target / _TENSORS)
        write_json(target / _FACTS, facts)
    for old in _states(folder)[2:]:
        shutil.rmtree(old, ignore_errors=True)


def load_newest_state(
    folder: Path, named: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, *, warn: Callable[[str], None]
) -> TrainState | None:
    """Put the newest undamaged state back into weights and optimizer; None where there is no state at all.

    Raises:
        ConfigError: states exist, but none of them is whole.
    """
    candidates = _states(folder)
    for candidate in candidates:
        try:
            verify(candidate)
            tensors, facts = _read(candidate)
            wanted = {name.removeprefix("weight.") for name in tensors if name.startswith("weight.")}
            if wanted == set(named):
                _check_tensors(candidate / _TENSORS, tensors, named)
        except ConfigError as error:
            warn(f"{error}; trying the state before it")
            continue
        if wanted != set(named):
            raise ConfigError(f"{candidate}: was saved by a run that trains other parameters; start the run again")
        return _restored(candidate, tensors, facts, named, optimizer)
    if candidates:
        raise ConfigError(f"{folder}: none of its {len(candidates)} saved states is whole; start the run again")
    return None


def recipe_of_states(folder: Path) -> dict[str, Any] | None:
    """The recipe that a run's newest state was trained by; None without a state, or with one that does not say."""
    for state in _states(folder):
        with suppress(ConfigError):
            recipe = read_json(state / _FACTS).get("recipe")
            return recipe if isinstance(recipe, dict) and recipe else None
    return None


def drop_states(folder: Path) -> None:
    """Remove the states of a finished run, its teacher's vectors, and what a kill left half-written.

    What else lies there is the user's.
    """
    for state in _states(folder):
        shutil.rmtree(state, ignore_errors=True)
    for half in folder.glob(".*"):
        if _HALF_WRITTEN.fullmatch(half.name):
            shutil.rmtree(half) if half.is_dir() else half.unlink(missing_ok=True)


def _states(folder: Path) -> list[Path]:
    """State folders, newest first."""
    return sorted(folder.glob(f"{_PREFIX}*"), reverse=True)


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a state whose files were checked.

    Raises:
        ConfigError: facts of another shape, or of another step than the folder's.
    """
    file = folder / _FACTS
    facts = read_json(file)
    check(_Facts, facts, where=str(file))
    if folder.name != f"{_PREFIX}{facts['step']:07d}":
        raise ConfigError(f"{file}: step: expected that of {folder.name}, got {facts['step']}")
    return load_tensors(folder / _TENSORS), facts


def _check_tensors(file: Path, tensors: dict[str, Tensor], named: dict[str, nn.Parameter]) -> None:
    """Refuse tensors that an optimizer would stumble over: all moments of a parameter or none, in its shape."""
    best = any(name.startswith("best.") for name in tensors)
    for name, parameter in named.items():
        moments = [key for key in _MOMENTS if f"{key}.{name}" in tensors]
        for key in ("weight", *(_MOMENTS if moments else ()), *(("best",) if best else ())):
            found, shape = tensors.get(f"{key}.{name}"), () if key == "step" else parameter.shape
            if found is None or found.shape != shape or not found.is_floating_point():
                got = "none" if found is None else f"{found.dtype} of {list(found.shape)}"
                raise ConfigError(f"{file}: tensor '{key}.{name}': expected numbers of {list(shape)}, got {got}")
    check_finite_tensors(tensors, where=str(file))


def _restored(
    folder: Path,
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    named: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> TrainState:
    for name, parameter in named.items():
        parameter.data.copy_(tensors[f"weight.{name}"])
        moments = {key: tensors[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in tensors}
        if moments:
            on_device = {key: v if key == "step" else v.to(parameter.device) for key, v in moments.items()}
            optimizer.state[parameter] = on_device
    state = TrainState(**{key: facts[key] for key in (*_COUNTERS, *_LISTED)})
    # States once held what is transfer's own under keys of their own.
    figures = {key: facts[key] for key in NO_FIGURES if facts.get(key) is not None}
    earlier = {"soft_token_groups": facts.get("soft_token_groups", []), "seconds": facts.get("cache_seconds", 0.0)}
    state.figures, state.method = facts.get("figures", figures), facts.get("method", earlier)
    if "best" in facts:
        weights = {name: tensors[f"best.{name}"] for name in named}
        state.best = Best(**facts["best"], weights=weights, evidence=_evidence(tensors, "best_evidence"))
    state.start = _evidence(tensors, "start_evidence")
    if "in_loss" in facts:
        learned = below(tensors, "in_loss")
        state.in_loss = Readout(Settings(**facts["in_loss"]), len(learned["mean"]))
        load_learned(state.in_loss, learned, where=str(folder / _TENSORS))
        state.in_loss.to(next(iter(named.values())).device)
    return state


def _evidence_tensors(prefix: str, evidence: Evidence | None) -> dict[str, Tensor]:
    if evidence is None:
        return {}
    outcomes = {f"{prefix}.outcomes.{i}": torch.from_numpy(one) for i, one in enumerate(evidence.outcomes)}
    return {f"{prefix}.vectors": evidence.vectors, **outcomes}


def _evidence(tensors: dict[str, Tensor], prefix: str) -> Evidence | None:
    found = below(tensors, prefix)
    if not found:
        return None
    outcomes = [found[f"outcomes.{i}"].numpy() for i in range(len(found) - 1)]
    return Evidence(outcomes, found["vectors"])
