"""How much of one embedder's ranking of texts another keeps."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from transferkit.files.vectors.precision import Vectors

NEAREST = 10
_ROWS = 128  # questions at a time: a row holds a cosine for every text


@dataclass(frozen=True)
class Agreement:
    """Of two rankings, a number a question (n,).

    Attributes:
        nearest: share of the old ten nearest that are among the new ones.
        first: 1 where the nearest of all is the same text, else 0.
    """

    nearest: npt.NDArray[np.float64]
    first: npt.NDArray[np.float64]


def ten_nearest(questions: Vectors, index: Vectors) -> npt.NDArray[np.int64]:
    """(n, 10) rows of ``index``, the nearest first; fewer where it has fewer."""
    found = []
    many = min(NEAREST, len(index))
    for start in range(0, len(questions), _ROWS):
        scores = questions[start : start + _ROWS] @ index.T
        some = np.argpartition(-scores, many - 1, axis=1)[:, :many]
        order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)


def agreement(old: npt.NDArray[np.int64], new: npt.NDArray[np.int64]) -> Agreement:
    """Of two rankings of the same texts for the same questions, each as :func:`ten_nearest` gives it."""
    shared = (old[:, :, None] == new[:, None, :]).any(2)
    return Agreement(nearest=shared.mean(1), first=(old[:, 0] == new[:, 0]).astype(float))


def percent(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and its standard error, in percent."""
    error = values.std(ddof=1) / sqrt(len(values)) if len(values) > 1 else 0.0
    return 100 * float(values.mean()), 100 * float(error)
