"""What a teacher says of the texts that a run really uses: its vectors, made once before the first step."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.dev_sets import DevSetData
from transferkit.data.examples import Batch
from transferkit.data.training_sets import TrainingData
from transferkit.errors import ConfigError
from transferkit.files.parts import PartFile
from transferkit.progress import Progress, Work
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
    teacher: Teacher,
    recipe: ResolvedRecipe,
    data: TrainingData,
    dev_sets: Sequence[DevSetData],
    progress: Progress,
    *,
    folder: Path,
) -> tuple[Lessons | None, list[DevSetData], float]:
    """Let the teacher read what this process trains on, and what it is scored on; it is not needed afterwards.

    Everything is read in one fixed order, in blocks of one size, and kept in ``folder``, so a resumed run gets the same
    bits and reads what is missing alone.

    Args:
        teacher: who reads.
        recipe: of the run.
        data: what it trains on.
        dev_sets: what it is scored on.
        progress: is told how far the teacher is.
        folder: of the run.

    Returns:
        None where nothing learns; the dev sets, those of texts alone with the teacher's vectors; and the seconds that
        all of it took.

    Raises:
        RunError: a vector that is not finite, or a disk that is full.
    """
    assert recipe.teacher is not None  # it has a teacher
    rank, processes = world()
    pairs = lesson_texts(recipe, data, rank=rank, processes=processes)
    dev_pairs = [list(zip(dev.texts, dev.instructions, strict=True)) for dev in dev_sets if dev.kind == "texts"]
    lists = [pairs, *dev_pairs]
    reading = _Reading(teacher, lists, kept_file(folder, rank), batch_size=recipe.eval.batch_size)
    with progress.reading("the teacher reads", sum(map(len, lists))) as work:
        (rows, *golds), seconds = reading.vectors(work)
    progress.taught(teacher.name, sum(map(len, lists)), sum(seconds))
    gold = iter(golds)
    scored = [dev.taught(next(gold)) if dev.kind == "texts" else dev for dev in dev_sets]
    if not recipe.facts.learns:
        return None, scored, sum(seconds)
    lessons = Lessons(
        temperature=recipe.teacher.temperature,
        beside_pairs=recipe.teacher.weight,
        alone=recipe.teacher.alone,
        rows=torch.from_numpy(rows),
        places={pair: place for place, pair in enumerate(pairs)},
        seconds=seconds[0],
    )
    return lessons, scored, sum(seconds)


class _Reading:
    """The teacher at work: lists of texts, block by block, each block on the disk before the next is read.

    Args:
        teacher: who reads.
        lists: what it reads, in this order.
        file: keeps its vectors while the run is under way.
        batch_size: texts a forward pass.
    """

    def __init__(self, teacher: Teacher, lists: Sequence[Sequence[Pair]], file: Path, *, batch_size: int) -> None:
        self.teacher, self.lists, self.batch_size = teacher, lists, batch_size
        texts = sha256(json.dumps(lists).encode()).hexdigest()
        identity = {"teacher": teacher.digest, "texts": texts, "batch_size": str(batch_size)}
        self.kept = PartFile(file, identity=identity, unit="vectors", again="--resume")
        try:
            self.kept.resume()
        except ConfigError:  # damaged, or of a recipe that was changed by force: all is read again
            self.kept.discard()

    def vectors(self, work: Work) -> tuple[list[np.ndarray], list[float]]:
        """(n, d_t) fp32 of each list, (0, 0) of nothing; and the seconds that each took, in whatever process."""
        work.begin(self.kept.rows)
        done, spent = 0, list[float]()
        for number, pairs in enumerate(self.lists):
            size = _BATCHES_A_BLOCK * self.batch_size
            for start in range(0, len(pairs), size):
                block = pairs[start : start + size]
                done += len(block)
                if done > self.kept.rows:
                    self._read(block, number)
            spent.append(float(self.kept.facts.get("seconds", {}).get(str(number), 0.0)))
        return self._from_disk(), spent

    def _read(self, block: Sequence[Pair], number: int) -> None:
        started = perf_counter()
        texts, instructions = [text for text, _ in block], [task for _, task in block]
        vectors = self.teacher.vectors(texts, instructions, batch_size=self.batch_size)
        seconds = dict(self.kept.facts.get("seconds", {}))
        seconds[str(number)] = seconds.get(str(number), 0.0) + perf_counter() - started
        self.kept.write(vectors.astype("<f4").tobytes(), rows=len(block), seconds=seconds)

    def _from_disk(self) -> list[np.ndarray]:
        lengths = [len(pairs) for pairs in self.lists]
        if not self.kept.rows:
            return [np.zeros((0, 0), dtype=np.float32) for _ in lengths]
        every = np.fromfile(self.kept.part, dtype="<f4", count=self.kept.bytes // 4)
        rows = every.astype(np.float32).reshape(self.kept.rows, -1)
        return np.split(rows, np.cumsum(lengths)[:-1])


def kept_file(folder: Path, rank: int) -> Path:
    """What the part that keeps the vectors of a process's teacher is called after, in a run folder."""
    return folder / f"teacher-{rank}"


def _weight(batch: Batch, beside_pairs: float) -> float:
    return beside_pairs if batch.positives else 1.0


def _pairs(batch: Batch) -> list[Pair]:
    return list(zip(*batch.inputs(), strict=True))
