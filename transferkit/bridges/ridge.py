"""The map from one embedder's vectors to another's: ridge regression in closed form, in float64."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from transferkit.checkpoints.spaces import Map
from transferkit.files.vectors.precision import Vectors

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # in units of the mean eigenvalue of the new vectors
_ROWS = 8192  # a block: float64 copies of all vectors need not be in memory


class Ridge:
    """Maps of every ridge from the same texts; what they share is computed once.

    Args:
        new: (n, d) vectors of the embedder that reads from now on.
        old: (n, e) vectors of the same texts in the space that is kept.
    """

    def __init__(self, new: Vectors, old: Vectors) -> None:
        self.centre, self.mean = (torch.from_numpy(one.mean(0, dtype=np.float64)) for one in (new, old))
        covariance = torch.zeros(new.shape[1], new.shape[1], dtype=torch.float64)
        self._shared = torch.zeros(new.shape[1], old.shape[1], dtype=torch.float64)
        for start in range(0, len(new), _ROWS):
            x, y = (
                torch.from_numpy(np.asarray(one[start : start + _ROWS], dtype=np.float64)) - mean
                for one, mean in ((new, self.centre), (old, self.mean))
            )
            covariance += x.T @ x
            self._shared += x.T @ y
        self._values, self._vectors = torch.linalg.eigh(covariance / len(new))
        self._shared /= len(new)

    def map(self, ridge: float) -> Map:
        """The one of ``ridge``, above 0."""
        values = self._values.clamp(min=0)
        gains = 1 / (values + ridge * values.mean()).clamp(min=1e-300)
        matrix = self._vectors @ (gains[:, None] * self._turned)
        return Map(centre=self.centre.float(), matrix=matrix.float(), mean=self.mean.float())

    @cached_property
    def _turned(self) -> Tensor:
        return self._vectors.T @ self._shared
