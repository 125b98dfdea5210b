"""Vectors that hold NaN or infinity are refused wherever they come from."""

import numpy as np

from transferkit.errors import RunError


class NotFiniteError(RunError):
    """A vector that holds NaN or infinity; ``row`` is its text's place, from 0."""

    def __init__(self, row: int, *, name: str) -> None:
        self.row = row
        super().__init__(
            f"{name}: its vector holds NaN or infinity; use float32 (train again with precision: float32, or read a "
            "frozen backbone with --precision float32)"
        )


def check_finite(vectors: np.ndarray, *, what: str = "encode: text") -> None:
    """Refuse vectors (n, d) that hold NaN or infinity; ``what`` opens the message, before the row's number.

    Raises:
        NotFiniteError: of the first one.
    """
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise NotFiniteError(int(wrong[0]), name=f"{what} {wrong[0]}")
