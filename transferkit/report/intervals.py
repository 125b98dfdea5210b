"""Paired bootstrap: what two models differ by on the same texts, and how far that hangs on the choice of the texts."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

DRAWS = 1000
LEVEL = 95  # percent of the draws that an interval holds
FEWEST_SAMPLES, FEWEST_TASKS = 10, 5  # fewer say nothing of others of their kind
_CHUNK = 2**22  # numbers that are drawn at once

Draws = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """The samples of one subset of a task.

    Attributes:
        values: of each text or query its score, 0 to 1; with ``gold`` of each pair its similarity.
        gold: of each pair how alike it is; the score is then Spearman's correlation of the two.
    """

    values: tuple[float, ...]
    gold: tuple[float, ...] | None = None


Samples = tuple[Part, ...]  # the score of a task is the mean over its subsets


@dataclass(frozen=True)
class Interval:
    """What a model has over another one, in points, and where that would lie for other texts, or other tasks."""

    difference: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether nothing lies inside, which is no difference."""
        return self.low > 0 or self.high < 0


def score_of(samples: Samples) -> float:
    """The score that the samples give, between 0 and 1."""
    return float(np.mean([_scores(one, np.arange(len(one.values))[None])[0] for one in samples]))


@lru_cache(maxsize=4096)
def drawn_differences(task: str, mine: Samples, first: Samples) -> Draws | None:
    """(DRAWS,) differences in points: samples are drawn with replacement, the same ones for both models.

    None where the two were not scored on the same samples, or there are too few.
    """
    pairs = list(zip(mine, first, strict=False))
    same = len(mine) == len(first) and all(len(a.values) == len(b.values) and a.gold == b.gold for a, b in pairs)
    if not same or min(len(a.values) for a, _ in pairs) < FEWEST_SAMPLES:
        return None
    random = np.random.default_rng(zlib.crc32(task.encode()))  # the same draws for every model
    found = np.zeros(DRAWS)
    for one, other in pairs:
        number, done = len(one.values), 0
        while done < DRAWS:
            rows = random.integers(0, number, (min(max(1, _CHUNK // number), DRAWS - done), number))
            found[done : done + len(rows)] += _scores(one, rows) - _scores(other, rows)
            done += len(rows)
    return 100 * found / len(pairs)


def _scores(part: Part, rows: npt.NDArray[np.int64]) -> Draws:
    """The score of each row of samples."""
    values = np.asarray(part.values)[rows]
    if part.gold is None:
        return np.asarray(values.mean(axis=1))
    from scipy.stats import rankdata

    ranks = [rankdata(of, axis=1) for of in (values, np.asarray(part.gold)[rows])]
    a, b = (one - one.mean(axis=1, keepdims=True) for one in ranks)
    with np.errstate(invalid="ignore"):  # a draw of one score alone has no correlation
        return np.asarray((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def interval(difference: float, draws: Draws) -> Interval | None:
    """The percentiles that leave out as much on each side; None where a draw had no score."""
    if np.isnan(draws).any():
        return None
    rest = (100 - LEVEL) / 2
    low, high = np.percentile(draws, [rest, 100 - rest])
    return Interval(difference, float(low), float(high))


def over_texts(difference: float, by_task: Sequence[Draws]) -> Interval | None:
    """Of the mean over tasks: the texts of each task are drawn, the tasks stay."""
    return interval(difference, np.mean(by_task, axis=0))


def over_tasks(differences: Sequence[float]) -> Interval | None:
    """Of the mean over tasks: the tasks are drawn, each with its difference; None where there are too few."""
    if len(differences) < FEWEST_TASKS:
        return None
    values = np.asarray(differences)
    rows = np.random.default_rng(len(values)).integers(0, len(values), (DRAWS, len(values)))
    return interval(float(values.mean()), values[rows].mean(axis=1))
