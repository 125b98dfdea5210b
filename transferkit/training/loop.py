"""The one training loop, for every method that learns: evaluate, save, stop, step, log."""

from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferkit.config.recipe import Recipe
from transferkit.config.sections import OptimSection
from transferkit.data.training_sets import TrainingData
from transferkit.decoder.tokens import cut_in_words
from transferkit.files.vectors.finite import NotFiniteError
from transferkit.methods.base import Embedder
from transferkit.progress import Progress
from transferkit.readout.readout import Readout
from transferkit.runs.folder import write_metrics
from transferkit.training.distributed import any_process, is_main, total, world
from transferkit.training.lessons import Lessons
from transferkit.training.peak_memory import peak_memory_bytes
from transferkit.training.schedule import make_optimizer, set_learning_rates
from transferkit.training.scoring import Scorer
from transferkit.training.signals import Interrupted, stop_signal
from transferkit.training.state import Best, TrainState, load_newest_state, save_state
from transferkit.training.step import Diverged, training_step


@dataclass
class Fitted:
    """What the loop leaves behind: the embedder holds the best step's weights."""

    best: Best
    state: TrainState
    moved: float  # the way of all weights from where they began, over their size at its end


def fit(
    embedder: Embedder,
    recipe: Recipe,
    data: TrainingData,
    scorer: Scorer,
    *,
    folder: Path,
    tracker: Any = None,
    progress: Progress,
    lessons: Lessons | None = None,
) -> Fitted:
    """Train ``embedder`` by ``recipe``, writing a metrics row an evaluation and resumable states into ``folder``.

    Evaluates at step 0, every ``eval.every`` steps, where a method begins to make the vectors that it delivers, and at
    the last step: ``optim.steps``, or where ``optim.seconds`` of training are over. The best step by the selecting dev
    score wins, or with ``eval.keep: last`` the last one. A folder with states is continued, bit for bit as if it had
    never stopped. ``lessons`` are a teacher's. A run that diverges ends there, with the weights that it had kept.

    Raises:
        Interrupted: by SIGINT or SIGTERM, after saving.
        ConfigError: the folder holds states, none of which is whole.
    """
    groups = embedder.trainable()
    parameters = [p for group in groups.values() for p in group]
    optimizer = make_optimizer(groups, recipe.optim, embedder.rate_unit)
    named = {name: p for name, p in embedder.named_parameters() if any(p is q for q in parameters)}
    begun_with = {name: p.detach().cpu().clone() for name, p in named.items()}
    state = load_newest_state(folder, named, optimizer, warn=progress.warn) or TrainState()
    embedder.begin_training(state.method)
    state.recipe = recipe.model_dump(mode="json")
    # An evaluation at the resumed step was written before its state was saved, so rows up to that step stand.
    with stop_signal() as stop:
        while state.diverged is None:
            last = state.step >= recipe.optim.steps or _time_is_up(recipe.optim, state, parameters[0].device)
            begins = state.step == embedder.first_finished_step
            due = last or begins or state.step % recipe.eval.every == 0
            if due and state.evaluated != state.step:
                readout = evaluate(embedder, scorer, state, named, tracker, progress, keep=recipe.eval.keep)
                if begins and recipe.readout.in_loss:
                    state.in_loss = readout
                if is_main():
                    write_metrics(folder, state.metrics)
            if state.diverged is not None:
                break
            stopping = any_process(stop.asked, device=parameters[0].device)
            if last or stopping or (state.step and state.step % recipe.save_every == 0):
                state.method = embedder.to_resume()
                save_state(folder, state, named, optimizer)
            if stopping:
                raise Interrupted(folder)
            if last:
                break
            _step(embedder, recipe, data, optimizer, parameters, state, lessons, progress)
            for warning in [] if state.warnings else embedder.warnings(state.step):
                state.warnings.append(warning)
                progress.warn(warning)
    assert state.best is not None  # step 0 was evaluated
    restore(named, state.best.weights)
    embedder.end_training()
    return Fitted(state.best, state, _moved(begun_with, state.best.weights))


def _time_is_up(optim: OptimSection, state: TrainState, device: torch.device) -> bool:
    """Whether ``optim.seconds`` are over; processes end together, once they are for one of them."""
    return optim.seconds is not None and any_process(state.seconds >= optim.seconds, device=device)


def _expected(optim: OptimSection, state: TrainState) -> int:
    """Steps that the run comes to, at its pace so far."""
    if optim.seconds is None or state.seconds >= optim.seconds:
        return optim.steps if optim.seconds is None else state.step
    return min(optim.steps, ceil(state.step * optim.seconds / max(state.seconds, 1e-9)))


def _step(
    embedder: Embedder,
    recipe: Recipe,
    data: TrainingData,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    state: TrainState,
    lessons: Lessons | None,
    progress: Progress,
) -> None:
    """One optimizer step, counted and timed in ``state``; one that diverges is noted there and not done."""
    started = perf_counter()
    if lessons is not None and state.step == 0:
        state.seconds += lessons.seconds  # the first step is what needs them
    set_learning_rates(optimizer, recipe.optim, state.step)
    batch = data.batch(state.step).slice(*world())
    try:
        loss = training_step(
            embedder,
            batch,
            optimizer,
            parameters,
            optim=recipe.optim,
            loss=recipe.loss,
            seed=recipe.seed,
            step=state.step,
            lessons=lessons,
            readout=state.in_loss,
        )
    except Diverged as error:
        state.diverged = str(error)
        return
    state.seconds += perf_counter() - started
    state.figures |= embedder.figures()
    tokens = int(total(embedder.take_tokens(), device=parameters[0].device))
    state.after_step(loss, examples=len(batch) * world()[1], tokens=tokens)
    speed = state.tokens / max(state.seconds, 1e-9)
    progress.step(state.step, of=_expected(recipe.optim, state), loss=loss, tokens_per_second=speed)


def evaluate(
    embedder: Embedder,
    scorer: Scorer,
    state: TrainState,
    named: dict[str, nn.Parameter],
    tracker: Any,
    progress: Progress,
    *,
    keep: Literal["best", "last"],
) -> Readout | None:
    """Score the current step, note it in the state, and keep the weights if they are the best so far or the last.

    Returns the readout that was chosen; None where there is none, or where training diverged, as the state then says.

    Raises:
        NotFiniteError: a vector holds NaN or infinity, though nothing was trained yet.
    """
    try:
        with progress.reading(f"evaluates step {state.step}", scorer.texts):
            evaluation = scorer(embedder)
    except NotFiniteError:
        if state.best is None:  # nothing was trained yet
            raise
        state.diverged = f"step {state.step}: vectors hold NaN or infinity; {embedder.divergence_remedy}"
        return None
    embedder.take_tokens()  # evaluation is no training
    row = state.metrics_row(evaluation, peak_memory_bytes=peak_memory_bytes())
    state.metrics.append(row)
    state.evaluated = state.step
    state.evaluation_seconds += evaluation.seconds
    if state.best is None or keep == "last" or evaluation.choosing_score > state.best.choosing:
        weights = {n: p.detach().cpu().clone() for n, p in named.items()}
        state.best = Best(state.step, evaluation.row(), weights, evaluation.readout, evaluation.evidence)
    if state.step == 0:
        state.start = evaluation.evidence
    progress.evaluated(row, figures=state.figures)
    if len(state.metrics) == 1:  # the dev texts and the readout's sample were read, and nothing else
        for sentence in cut_in_words(embedder.cut_texts()):
            progress.warn(sentence)
    if tracker is not None:
        figures = {"loss": state.loss, "dev/score": evaluation.choosing_score}
        for name, both in evaluation.scores.items():
            figures |= {f"dev/{name}/{kind}": value for kind, value in both.items()}
        tracker.log({key: value for key, value in figures.items() if value is not None}, step=state.step)
    return evaluation.readout


def _moved(start: dict[str, Tensor], end: dict[str, Tensor]) -> float:
    way = sum(float((end[name] - start[name]).square().sum()) for name in start)
    size = sum(float(value.square().sum()) for value in end.values())
    return sqrt(way / max(size, 1e-30))


def restore(named: dict[str, nn.Parameter], weights: dict[str, Tensor]) -> None:
    """Put saved weights back."""
    for name, parameter in named.items():
        parameter.data.copy_(weights[name])
