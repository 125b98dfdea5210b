"""A training run in pieces: embedder, data and scorer of a tiny recipe, and ways to stop it."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from helpers.tiny import Tiny
from transferkit.config.recipe import Recipe
from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.decoder.text_states import TextStateMemory
from transferkit.methods.base import Embedder, Given
from transferkit.methods.registry import method_class
from transferkit.progress import Progress
from transferkit.runner.prepare import resolved
from transferkit.training.loop import Fitted, fit
from transferkit.training.scoring import Scorer

QUIET = Console(file=StringIO(), width=200)


class Quiet(Progress):
    """Keeps warnings and losses; ``on_step`` is called after each step."""

    def __init__(self, on_step: Callable[[int], None] | None = None) -> None:
        super().__init__(QUIET, steps=1, title="test")
        self.on_step = on_step
        self.warnings: list[str] = []
        self.losses: list[float] = []
        self.expected: list[int] = []

    def step(self, step: int, *, of: int, loss: float, tokens_per_second: float) -> None:
        self.losses.append(loss)
        self.expected.append(of)
        if self.on_step is not None:
            self.on_step(step)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def interrupt_at(step: int) -> Callable[[int], None]:
    """What presses Ctrl-C after a step."""
    return lambda done: os.kill(os.getpid(), signal.SIGINT) if done == step else None


class Stopped(Quiet):
    """The runner's progress in a process that receives SIGINT after step 2."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(interrupt_at(2))


@dataclass
class Trial:
    """A recipe made ready: the same objects that the runner hands to the loop."""

    recipe: ResolvedRecipe
    embedder: Embedder
    data: TrainingData
    scorer: Scorer
    progress: Quiet = field(default_factory=Quiet)

    def fit(self, folder: Path) -> Fitted:
        folder.mkdir(exist_ok=True)
        return fit(self.embedder, self.recipe, self.data, self.scorer, folder=folder, progress=self.progress)


def trial(tiny: Tiny, recipe: Recipe, *, source: Path | None = None) -> Trial:
    """Build what ``recipe`` says, as a fresh process would."""
    complete = resolved(recipe, source=source)
    batch_size = complete.optim.batch_size
    data = load_training_data(complete.data, data_dir=tiny.data, batch_size=batch_size, seed=complete.seed)
    dev_sets = load_dev_sets(complete.data, data_dir=tiny.data)
    torch.manual_seed(complete.seed)
    embedder = build(complete, source=source, data=data)
    sample = data.sample_with_pairs(complete.readout.sample, complete.seed)
    memory = TextStateMemory(budget_bytes=int(complete.eval.keep_states_gib * 2**30))
    scorer = Scorer(
        dev_sets, sample=sample, readout=complete.readout, batch_size=complete.eval.batch_size, memory=memory
    )
    return Trial(complete, embedder, data, scorer)


def build(recipe: ResolvedRecipe, *, source: Path | None, data: TrainingData | None = None) -> Any:
    """The method of a resolved recipe; only one that counts words asks for ``data``."""
    given = Given(source, torch.device("cpu"), data)  # type: ignore[arg-type]
    return method_class(recipe.facts).build(recipe, given)


def learned(embedder: Embedder) -> dict[str, torch.Tensor]:
    """Name -> copy of every tensor that learns."""
    own = {id(p) for group in embedder.trainable().values() for p in group}
    return {name: p.detach().clone() for name, p in embedder.named_parameters() if id(p) in own}


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics rows without what no two runs share."""
    clocks = ("seconds", "readout_seconds", "peak_memory_bytes")
    return [{key: value for key, value in row.items() if key not in clocks} for row in rows]
