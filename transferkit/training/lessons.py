"""What a teacher says of the texts that a run really uses: its vectors, made once before the first step."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.dev_sets import DevSetData
from transferkit.data.examples import Batch
from transferkit.data.training_sets import TrainingData
from transferkit.progress import Progress
from transferkit.training.distributed import world
from transferkit.training.teacher import Teacher

_BATCHES_A_BLOCK = 16  # sorted by length and read together

Pair = tuple[str, str]  # a text and its instruction


@dataclass(frozen=True)
class Lessons:
    """The teacher's vectors of all that is trained on.

    Attributes:
        temperature: divides the cosines, the teacher's and the student's.
        beside_pairs: what teaching counts beside the contrastive loss.
        alone: there is no contrastive loss.
        rows: (n, d_t), on the CPU.
        places: of a text and its instruction among the rows.
        seconds: that the teacher took for them.
    """

    temperature: float
    beside_pairs: float
    alone: bool
    rows: Tensor
    places: dict[Pair, int]
    seconds: float

    def weight(self, batch: Batch) -> float:
        """What teaching counts on a batch; texts alone have nothing else to learn from."""
        return _weight(batch, self.beside_pairs)

    def vectors(self, batch: Batch) -> Tensor:
        """The teacher's (n, d_t), one a text of ``batch.inputs()``."""
        return self.rows[[self.places[pair] for pair in _pairs(batch)]]


def lesson_texts(recipe: ResolvedRecipe, data: TrainingData, *, rank: int = 0, processes: int = 1) -> list[Pair]:
    """What a teacher must read for the steps of a run, each once, in the order in which the steps need it."""
    if recipe.teacher is None or not recipe.facts.learns:
        return []
    found: dict[Pair, None] = {}
    for step in range(recipe.optim.steps):
        batch = data.batch(step)
        if _weight(batch, recipe.teacher.weight):
            found.update(dict.fromkeys(_pairs(batch.slice(rank, processes))))
    return list(found)


def teach(
    teacher: Teacher, recipe: ResolvedRecipe, data: TrainingData, dev_sets: Sequence[DevSetData], progress: Progress
) -> tuple[Lessons | None, list[DevSetData]]:
    """Let the teacher read what this process trains on, and what it is scored on; it is not needed afterwards.

    Everything is read in one fixed order, in blocks of one size, so a resumed run gets the same bits.

    Returns:
        None where nothing learns, and the dev sets, those of texts alone with the teacher's vectors.

    Raises:
        RunError: a vector that is not finite.
    """
    assert recipe.teacher is not None  # it has a teacher
    rank, processes = world()
    pairs = lesson_texts(recipe, data, rank=rank, processes=processes)
    dev_pairs = [list(zip(dev.texts, dev.instructions, strict=True)) for dev in dev_sets if dev.kind == "texts"]
    total, started = len(pairs) + sum(map(len, dev_pairs)), perf_counter()
    with progress.reading("the teacher reads", total):
        rows = _vectors(teacher, pairs, batch_size=recipe.eval.batch_size)
        seconds = perf_counter() - started
        golds = iter([_vectors(teacher, one, batch_size=recipe.eval.batch_size) for one in dev_pairs])
    scored = [dev.taught(next(golds)) if dev.kind == "texts" else dev for dev in dev_sets]
    progress.taught(teacher.name, total, perf_counter() - started)
    if not recipe.facts.learns:
        return None, scored
    lessons = Lessons(
        temperature=recipe.teacher.temperature,
        beside_pairs=recipe.teacher.weight,
        alone=recipe.teacher.alone,
        rows=torch.from_numpy(rows),
        places={pair: place for place, pair in enumerate(pairs)},
        seconds=seconds,
    )
    return lessons, scored


def _vectors(teacher: Teacher, pairs: Sequence[Pair], *, batch_size: int) -> np.ndarray:
    """(n, d_t) fp32, read block by block; (0, 0) of nothing."""
    parts = []
    size = _BATCHES_A_BLOCK * batch_size
    for start in range(0, len(pairs), size):
        block = pairs[start : start + size]
        texts, instructions = [text for text, _ in block], [task for _, task in block]
        parts.append(teacher.vectors(texts, instructions, batch_size=batch_size))
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)


def _weight(batch: Batch, beside_pairs: float) -> float:
    return beside_pairs if batch.positives else 1.0


def _pairs(batch: Batch) -> list[Pair]:
    return list(zip(*batch.inputs(), strict=True))
