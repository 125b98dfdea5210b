"""The one training loop, for train, adapt and every baseline: evaluate, save, stop, step, log."""

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferkit.config.recipes import LossSection, OptimSection, Recipe
from transferkit.data.examples import Batch
from transferkit.data.training_sets import TrainingData
from transferkit.decoder.text_states import TextStateMemory
from transferkit.errors import ConfigError, RunError
from transferkit.methods.embedder import BackboneEmbedder, Embedder, Group, PromptEmbedder
from transferkit.progress import Progress
from transferkit.prompting.llm import collapse
from transferkit.prompting.writer import SoftTokenMemory
from transferkit.runs.folder import write_metrics
from transferkit.training.distributed import any_process, average_gradients, gather, is_main, total, world
from transferkit.training.losses import contrastive_loss
from transferkit.training.scoring import Scorer
from transferkit.training.state import Best, TrainState, load_newest_state, save_state

COLLAPSED = 1e-3  # below this share of variance across texts, soft tokens no longer depend on the text


class Interrupted(Exception):
    """The user asked to stop; everything up to the last step is saved."""


@dataclass
class Fitted:
    """What the loop leaves behind: the embedder holds the best step's weights."""

    best: Best
    state: TrainState


def fit(
    embedder: Embedder,
    recipe: Recipe,
    data: TrainingData,
    scorer: Scorer,
    *,
    folder: Path,
    tracker: Any = None,
    progress: Progress,
) -> Fitted:
    """Train ``embedder`` by ``recipe``, writing a metrics row an evaluation and resumable states into ``folder``.

    Evaluates at step 0, every ``eval.every`` steps and at the last one; the best step by the selecting dev
    score wins, or with ``eval.keep: last`` the last one.
    A folder with states is continued, bit for bit as if it had never stopped.

    Raises:
        Interrupted: by SIGINT or SIGTERM, after saving.
        RunError: the loss is no longer finite.
    """
    groups = embedder.trainable()
    parameters = [p for group in groups.values() for p in group]
    optimizer = make_optimizer(groups, recipe.optim)
    named = {name: p for name, p in embedder.named_parameters() if any(p is q for q in parameters)}
    state = load_newest_state(folder, named, optimizer, warn=progress.warn) or TrainState()
    memory = embedder.writer.memory if isinstance(embedder, PromptEmbedder) else None
    if isinstance(embedder, PromptEmbedder) and memory is not None:
        memory.restore(state.soft_token_groups, write=embedder.writer.prompting)
        memory.seconds = state.cache_seconds
        state.soft_token_groups = memory.groups
        embedder.writer.dev_memory = SoftTokenMemory(budget_bytes=memory.budget_bytes)
    if isinstance(embedder, BackboneEmbedder):
        embedder.dev_states = TextStateMemory(budget_bytes=int(recipe.eval.keep_states_gib * 2**30))
    # An evaluation at the resumed step was written before its state was saved, so rows up to that step stand.
    with stop_signal() as stop:
        while True:
            due = state.step % recipe.eval.every == 0 or state.step == recipe.optim.steps
            if due and state.evaluated != state.step:
                evaluate(embedder, scorer, state, named, tracker, progress, keep=recipe.eval.keep)
                if is_main():
                    write_metrics(folder, state.metrics)
            last = state.step == recipe.optim.steps
            stopping = any_process(stop.asked, device=parameters[0].device)
            if last or stopping or (state.step and state.step % recipe.save_every == 0):
                save_state(folder, state, named, optimizer)
            if stopping:
                raise Interrupted(folder)
            if last:
                break
            started = perf_counter()
            set_learning_rates(optimizer, recipe.optim, state.step)
            batch = data.batch(state.step).slice(*world())
            loss = training_step(embedder, batch, recipe, optimizer, parameters, step=state.step)
            state.seconds += perf_counter() - started
            if memory is not None:
                state.cache_seconds = memory.seconds
            state.after_step(
                loss,
                examples=len(batch) * world()[1],
                tokens=int(total(embedder.take_tokens(), device=parameters[0].device)),
            )
            progress.step(state.step, loss=loss, tokens_per_second=state.tokens / max(state.seconds, 1e-9))
            state.warnings += collapse_warning(embedder, state, progress)
    assert state.best is not None  # step 0 was evaluated
    restore(named, state.best.weights)
    if isinstance(embedder, BackboneEmbedder):
        embedder.dev_states = None
    return Fitted(state.best, state)


def training_step(
    embedder: Embedder,
    batch: Batch,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    *,
    step: int,
) -> float:
    """One optimizer step on this process's share of the batch; returns the loss of the whole batch."""
    embedder.train()
    embedder.begin_step(step)
    optimizer.zero_grad(set_to_none=True)
    size = recipe.optim.micro_batch_size
    loss = backward(embedder, batch, recipe.loss, micro_batch_size=size, seed=recipe.seed, step=step)
    if any_process(not bool(torch.isfinite(loss)), device=parameters[0].device):
        raise RunError(
            f"step {step}: the loss is {float(loss)}; lower optim.lr (or optim.lr_alignment, optim.lr_offset), or "
            "raise prompting.tau"
        )
    average_gradients(parameters)
    if recipe.optim.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, recipe.optim.clip_norm)
    optimizer.step()
    return total(float(loss), device=parameters[0].device) / world()[1]


def backward(
    embedder: Embedder, batch: Batch, loss: LossSection, *, micro_batch_size: int | None, seed: int, step: int
) -> Tensor:
    """Loss of the batch, its gradients added to the parameters.

    With ``micro_batch_size`` the gradients are the same but memory holds one micro-batch: vectors are computed
    without gradient, the loss gives each vector's gradient, and each micro-batch is run again to receive it (GradCache,
    arXiv 2101.06983).
    """
    texts, instructions = batch.inputs()
    # Texts of like length go together; each part draws its dropout from its own seed, twice the same.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    size = micro_batch_size or _texts_at_once(embedder, len(texts))
    parts = [order[start : start + size] for start in range(0, len(order), size)]

    def embed(number: int) -> Tensor:
        torch.manual_seed((seed * 1_000_003 + step) * 1009 + number)
        return embedder.embed([texts[i] for i in parts[number]], [instructions[i] for i in parts[number]])

    place = torch.tensor([i for part in parts for i in part]).argsort()
    if micro_batch_size is None or len(parts) == 1:
        value = batch_loss(torch.cat([embed(number) for number in range(len(parts))])[place], batch, loss)
        value.backward()
        return value.detach()
    with torch.no_grad():
        vectors = torch.cat([embed(number) for number in range(len(parts))])
    vectors.requires_grad_()
    value = batch_loss(vectors[place], batch, loss)
    (gradient,) = torch.autograd.grad(value, vectors)
    embedder.take_tokens()  # counted again below
    for number, piece in enumerate(gradient.split([len(part) for part in parts])):
        embed(number).backward(piece)
    return value.detach()


def _texts_at_once(embedder: Embedder, count: int) -> int:
    """Texts a call of a batch of ``count``: on a CPU padding costs as much as text, on a GPU less than another call."""
    on_cpu = embedder.device.type == "cpu"
    return min(count, 32) if on_cpu else count


def batch_loss(vectors: Tensor, batch: Batch, loss: LossSection) -> Tensor:
    """Contrastive loss of this process's rows against the candidates of all processes.

    Args:
        vectors: (2B or 3B, d), anchors then positives then hard negatives of this process.
        batch: their texts' ids.
        loss: temperature and direction.
    """
    b = len(batch)
    device = vectors.device

    def ids(values: Any) -> Tensor:
        return gather(torch.from_numpy(values).to(device))

    rank, _ = world()
    return contrastive_loss(
        gather(vectors[:b]),
        gather(vectors[b : 2 * b]),
        gather(vectors[2 * b :]) if batch.negatives else None,
        anchor_ids=ids(batch.anchor_ids),
        positive_ids=ids(batch.positive_ids),
        negative_ids=ids(batch.negative_ids) if batch.negatives else None,
        labels=None if batch.labels is None else ids(batch.labels),
        temperature=loss.temperature,
        symmetric=loss.symmetric,
        rows=slice(rank * b, (rank + 1) * b),
    )


def make_optimizer(groups: dict[Group, list[nn.Parameter]], optim: OptimSection) -> torch.optim.Optimizer:
    """AdamW with one learning rate a group; something to hold on to even where nothing learns."""
    rates = {"model": optim.lr, "alignment": optim.lr_alignment, "offset": optim.lr_offset}
    if not groups:
        raise ConfigError("this method has nothing to train; set optim.steps to 0")
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rates[name], "peak_lr": rates[name]} for name, parameters in groups.items()],
        weight_decay=optim.weight_decay,
    )


def set_learning_rates(optimizer: torch.optim.Optimizer, optim: OptimSection, step: int) -> None:
    """Linear warm-up over ``warmup_steps``, constant, linear cool-down over the last ``cooldown_steps``."""
    rising = (step + 1) / max(1, optim.warmup_steps)
    falling = (optim.steps - step) / (optim.cooldown_steps + 1)
    factor = min(1.0, rising, falling)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def evaluate(
    embedder: Embedder,
    scorer: Scorer,
    state: TrainState,
    named: dict[str, nn.Parameter],
    tracker: Any,
    progress: Progress,
    *,
    keep: Literal["best", "last"],
) -> None:
    """Score the current step, note it in the state, and keep the weights if they are the best so far or the last."""
    evaluation = scorer(embedder)
    embedder.take_tokens()  # evaluation is no training
    row = state.metrics_row(evaluation, peak_memory_bytes=peak_memory_bytes())
    state.metrics.append(row)
    state.evaluated = state.step
    state.evaluation_seconds += evaluation.seconds
    if state.best is None or keep == "last" or evaluation.selecting > state.best.score:
        state.best = Best(state.step, evaluation.selecting, {n: p.detach().cpu().clone() for n, p in named.items()})
    progress.evaluated(row)
    if tracker is not None:
        figures = {"loss": state.loss, "dev/score": evaluation.selecting}
        for name, both in evaluation.scores.items():
            figures |= {f"dev/{name}/{kind}": value for kind, value in both.items()}
        tracker.log({key: value for key, value in figures.items() if value is not None}, step=state.step)


def restore(named: dict[str, nn.Parameter], weights: dict[str, Tensor]) -> None:
    """Put saved weights back."""
    for name, parameter in named.items():
        parameter.data.copy_(weights[name])


def collapse_warning(embedder: Embedder, state: TrainState, progress: Progress) -> list[str]:
    """Follow the variance of the soft tokens that are written from texts; warn once when it vanishes."""
    soft = embedder.writer.last_from_text if isinstance(embedder, PromptEmbedder) else None
    if soft is None or len(soft) < 2:  # a micro-batch of one text has no variance to speak of
        return []
    state.collapse = collapse(soft)
    if state.collapse > COLLAPSED or state.warnings:
        return []
    warning = (
        f"step {state.step}: the soft tokens hardly depend on the text any more (collapse figure "
        f"{state.collapse:.1e}); raise prompting.tau or lower optim.lr"
    )
    progress.warn(warning)
    return [warning]


def reset_peak_memory() -> None:
    """Start :func:`peak_memory_bytes` anew: on the GPU, and for the process where Linux allows it."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """Most memory held since the last reset: on the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass
class StopSignal:
    """Whether the user asked to stop."""

    asked: bool = False


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Turn the first SIGINT or SIGTERM into a flag, so that no step is torn; the second one acts at once."""
    stop = StopSignal()
    previous: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        signal.signal(number, previous[number])

    try:
        for handled in (signal.SIGINT, signal.SIGTERM):
            previous[handled] = signal.signal(handled, ask)
    except ValueError:
        pass  # not in the main thread: no signals reach it
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
