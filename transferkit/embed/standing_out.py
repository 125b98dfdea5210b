"""Which hits stand out: a cosine says little by itself, for some embedders put all texts near each other."""

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FEWEST = 20  # texts; of fewer nothing can be said
CHANCE = 0.05  # with which an unrelated text stands out for a question
_LOWER, _UPPER = 0.1587, 0.8413  # quantiles one standard deviation from the median of a normal distribution


def limit(cosines: npt.NDArray[np.floating]) -> float | None:
    """The cosine that the best of unrelated texts passes for one question in twenty; None of fewer than 20 texts.

    Nearly all texts of an index have nothing to do with a question, so its own cosines with all of them show how far
    apart unrelated ones lie. They are taken as normal, by their median and the wider of the two quantiles beside it.

    Args:
        cosines: (n,) of one question with every text.
    """
    if len(cosines) < FEWEST:
        return None
    lower, middle, upper = np.quantile(cosines, (_LOWER, 0.5, _UPPER))
    spread = max(middle - lower, upper - middle)
    return float(middle + spread * NormalDist().inv_cdf(1 - CHANCE / len(cosines)))
