"""Which hits stand out: a cosine says little by itself, for some embedders put all texts near each other."""

from statistics import NormalDist

import numpy as np

from transferkit.files.vectors.precision import Stored, Vectors

FEWEST = 20  # texts; of fewer nothing can be said
CHANCE = 0.05  # with which the nearest of all texts would pass it, had none to do with what was asked
_MOST = 2000  # texts that are compared two by two
_LOWER, _UPPER = 0.1587, 0.8413  # quantiles one standard deviation from the median of a normal distribution


def limit(vectors: Vectors | Stored) -> float | None:
    """The cosine that the nearest of these texts would pass one time in twenty, were they unrelated; None of few texts.

    Two texts of an index drawn by chance have, nearly always, nothing to do with each other. Their cosines are taken as
    normal, by the median and the wider of the two quantiles beside it, so that those that are related do not count; the
    nearest of n unrelated ones then passes the quantile 1 - 0.05 / n one time in twenty. A question's own cosines would
    not do: measured, up to a third of the questions of another subject had a text that stood out among them.

    Args:
        vectors: (n, d), of unit length.
    """
    count = len(vectors)
    if count < FEWEST:
        return None
    rows = np.sort(np.random.default_rng(0).choice(count, min(count, _MOST), replace=False))
    some = np.asarray(vectors[rows], dtype=np.float32)
    cosines = (some @ some.T)[np.triu_indices(len(some), k=1)]
    lower, middle, upper = np.quantile(cosines, (_LOWER, 0.5, _UPPER))
    spread = max(middle - lower, upper - middle)
    return float(middle + spread * NormalDist().inv_cdf(1 - CHANCE / count))
