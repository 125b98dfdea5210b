"""One optimizer step: vectors of a batch, their loss, its gradients, in as little memory as is asked for."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.config.sections import LossSection, OptimSection
from transferkit.data.examples import Batch
from transferkit.errors import RunError
from transferkit.methods.base import Embedder
from transferkit.readout.readout import Readout
from transferkit.training.distributed import any_process, average_gradients, gather, total, world
from transferkit.training.lessons import Lessons
from transferkit.training.losses import contrastive_loss, teaching_loss

_AT_ONCE = "raise loss.temperature, or compute with precision: float32"


class Diverged(RunError):
    """Loss or gradient is no longer a number; the weights are those before the step."""


def training_step(
    embedder: Embedder,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    *,
    optim: OptimSection,
    loss: LossSection,
    seed: int,
    step: int,
    lessons: Lessons | None = None,
    readout: Readout | None = None,
) -> float:
    """One optimizer step on this process's share of the batch; returns the loss of the whole batch.

    Raises:
        Diverged: in every process, before the weights are changed.
    """
    embedder.train()
    embedder.before_step(step)
    optimizer.zero_grad(set_to_none=True)
    micro = optim.micro_batch_size
    value = backward(
        embedder, batch, loss, micro_batch_size=micro, seed=seed, step=step, lessons=lessons, readout=readout
    )
    # Before the first step no rate has done anything yet.
    remedy = embedder.divergence_remedy if step else _AT_ONCE
    if any_process(not bool(torch.isfinite(value)), device=parameters[0].device):
        raise Diverged(f"step {step}: the loss is {float(value)}; {remedy}")
    average_gradients(parameters)
    # A limit of infinity changes no bit of them.
    norm = float(nn.utils.clip_grad_norm_(parameters, math.inf if optim.clip_norm is None else optim.clip_norm))
    if not math.isfinite(norm):  # in all processes, for they share it
        raise Diverged(f"step {step}: the gradient's norm is {norm}; {remedy}")
    optimizer.step()
    return total(float(value), device=parameters[0].device) / world()[1]


def backward(
    embedder: Embedder,
    batch: Batch,
    loss: LossSection,
    *,
    micro_batch_size: int | None,
    seed: int,
    step: int,
    lessons: Lessons | None = None,
    readout: Readout | None = None,
) -> Tensor:
    """Loss of the batch, its gradients added to the parameters; ``readout``: what vectors pass before it.

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

    def loss_of(vectors: Tensor) -> Tensor:
        return batch_loss((vectors if readout is None else readout(vectors))[place], batch, loss, lessons)

    if micro_batch_size is None or len(parts) == 1:
        value = loss_of(torch.cat([embed(number) for number in range(len(parts))]))
        value.backward()
        return value.detach()
    with torch.no_grad():
        vectors = torch.cat([embed(number) for number in range(len(parts))])
    vectors.requires_grad_()
    value = loss_of(vectors)
    (gradient,) = torch.autograd.grad(value, vectors)
    embedder.take_tokens()  # counted again below
    for number, piece in enumerate(gradient.split([len(part) for part in parts])):
        embed(number).backward(piece)
    return value.detach()


def _texts_at_once(embedder: Embedder, count: int) -> int:
    """Texts a call of a batch of ``count``: on a CPU padding costs as much as text, on a GPU less than another call."""
    on_cpu = embedder.device.type == "cpu"
    return min(count, 32) if on_cpu else count


def batch_loss(vectors: Tensor, batch: Batch, loss: LossSection, lessons: Lessons | None = None) -> Tensor:
    """Loss of this process's rows against the candidates of all processes: contrastive, by a teacher, or both.

    Args:
        vectors: (B, 2B or 3B, d), anchors then positives then hard negatives of this process.
        batch: their texts' ids.
        loss: temperature and direction of the contrastive part, which a batch of texts alone does not have.
        lessons: of the teacher; None: there is none.
    """
    has_pairs = bool(batch.positives) and not (lessons is not None and lessons.alone)
    parts = [_contrastive(vectors, batch, loss)] if has_pairs else []
    if lessons is not None and (weight := lessons.weight(batch)):
        parts.append(weight * _taught(vectors, batch, lessons))
    return sum(parts[1:], parts[0])


def _taught(vectors: Tensor, batch: Batch, lessons: Lessons) -> Tensor:
    own = np.concatenate([batch.anchor_ids, batch.positive_ids, batch.negative_ids])
    start = world()[0] * len(vectors)
    return teaching_loss(
        gather(vectors),
        gather(lessons.vectors(batch).to(vectors.device)),
        text_ids=gather(torch.from_numpy(own).to(vectors.device)),
        temperature=lessons.temperature,
        rows=slice(start, start + len(vectors)),
    )


def _contrastive(vectors: Tensor, batch: Batch, loss: LossSection) -> Tensor:
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
