"""How much memory a training step will need: counted where it can be, measured on a few texts where it cannot."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from transferkit.data.examples import Batch
from transferkit.methods.base import Embedder

_MEASURED = 4  # texts


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes, by what they are needed for; their sum is an estimate of a training step's peak.

    Attributes:
        weights: parameters and buffers as they are loaded.
        optimizer: a gradient and AdamW's two moments for each trainable number.
        saved: what one forward pass keeps for backward, from ``measured`` texts to ``texts_a_pass``.
        texts_a_pass: texts whose activations are alive at once.
        measured: texts that were run; the longest of the first batch.
        soft_tokens: memory of written soft tokens, at most its budget; 0 where they are written anew.
    """

    weights: int
    optimizer: int
    saved: int
    texts_a_pass: int
    measured: int
    soft_tokens: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.weights + self.optimizer + self.saved + self.soft_tokens


def estimate_memory(
    embedder: Embedder, batch: Batch, *, micro_batch_size: int | None, num_distinct_texts: int
) -> MemoryEstimate:
    """The estimate for training ``embedder``, whose first step is ``batch``.

    The longest texts of the batch are run once with gradient, and the bytes kept for backward are counted; a full pass
    pads to the longest one, so they grow by the number of texts alone. Not counted: what a pass needs for a moment,
    what the allocator keeps, and evaluation.

    Args:
        embedder: as it is before the first step.
        batch: its first one.
        micro_batch_size: texts a forward pass; None: all of the batch's.
        num_distinct_texts: of training and dev sets, for the memory of soft tokens.
    """
    tensors = _different([*embedder.parameters(), *embedder.buffers()])
    learned = _different([p for group in embedder.trainable().values() for p in group])
    texts, instructions = batch.inputs()
    longest = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)[:_MEASURED]
    at_once = min(micro_batch_size or len(texts), len(texts))
    saved = 0
    if learned:
        measured = _saved_bytes(embedder, [texts[i] for i in longest], [instructions[i] for i in longest])
        saved = round(measured * at_once / len(longest))
    return MemoryEstimate(
        weights=sum(map(_bytes, tensors)),
        optimizer=3 * sum(map(_bytes, learned)),
        saved=saved,
        texts_a_pass=at_once,
        measured=len(longest),
        soft_tokens=embedder.kept_bytes(num_distinct_texts),
    )


def _saved_bytes(embedder: Embedder, texts: list[str], instructions: list[str]) -> int:
    """Bytes of the tensors that autograd keeps for the backward pass of ``texts``, weights not counted."""
    own = {t.untyped_storage().data_ptr() for t in (*embedder.parameters(), *embedder.buffers())}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # a freed storage's address could be given out again

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    tokens_before = embedder.tokens_read
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        vectors = embedder.embed(texts, instructions)
    del vectors
    embedder.tokens_read = tokens_before
    return sum(kept.values())


def _different(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Tied weights once."""
    return list({t.untyped_storage().data_ptr(): t for t in tensors if t.numel()}.values())


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
