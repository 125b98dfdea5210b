"""Finished vectors in the form that a user asks for, and their cosines, as sentence-transformers gives both."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from transferkit.errors import ConfigError
from transferkit.files.vectors.precision import (
    CALIBRATED,
    Precision,
    Vectors,
    check_precision,
    check_truncation,
    quantize,
    ranges_of,
)

Kind = Literal["numpy", "tensor", "list"]


@dataclass(frozen=True)
class Form:
    """What becomes of finished vectors.

    Attributes:
        kind: an array, a tensor, or a list with a tensor a vector.
        precision: of their numbers.
        truncate_dim: columns that are kept; None: all.
        normalize: whether they have unit length, before they lose bits.
        ranges: (2, d) that ``int8`` and ``uint8`` are calibrated with; None: those of the vectors.
    """

    kind: Kind = "numpy"
    precision: Precision = "float32"
    truncate_dim: int | None = None
    normalize: bool = True
    ranges: Any = None

    def check(self, width: int, *, texts: int) -> None:
        """Refuse what vectors of ``width`` of so many texts cannot be given in.

        Raises:
            ConfigError: says what can be had.
        """
        check_precision(self.precision, where="encode: precision")
        if self.truncate_dim is not None:
            check_truncation(self.truncate_dim, width, where="encode: truncate_dim")
        if self.ranges is not None and self.precision not in CALIBRATED:
            raise ConfigError(
                f"encode: ranges: belong to {' and '.join(CALIBRATED)}; leave them away with {self.precision}"
            )
        shape = (2, self.truncate_dim or width)
        if self.ranges is not None and (got := np.shape(self.ranges)) != shape:
            raise ConfigError(
                f"encode: ranges: expected the smallest and the greatest value of each dimension, of shape {shape}, "
                f"got {got}"
            )
        if self.precision in CALIBRATED and self.ranges is None and texts == 1:
            raise ConfigError(
                f"encode: {self.precision} takes its steps from the texts given, and one alone has none; pass the "
                "ranges of the vectors that it is compared with, or leave it in float32"
            )

    def __call__(self, vectors: Vectors, *, device: torch.device) -> Any:
        """(n, d) float32, cut and at the length asked for -> the same in this form."""
        numbers: Any = vectors
        if self.precision != "float32":
            ranges = self.ranges
            if self.precision in CALIBRATED and ranges is None and len(vectors):
                ranges = ranges_of(vectors)
            ranges = np.zeros((2, vectors.shape[1])) if ranges is None else ranges
            numbers = quantize(vectors, self.precision, np.asarray(ranges, dtype=np.float32))
        if self.kind == "numpy":
            return numbers
        tensor = torch.from_numpy(numbers)
        return tensor.to(device) if self.kind == "tensor" else list(tensor)


def cosines(first: Any, second: Any) -> Tensor:
    """(n, m) cosines of every vector of the first with every one of the second, on the first one's device.

    Args:
        first: (n, d), or one vector (d,): a tensor, an array, or a list of these.
        second: (m, d), or one vector.

    Raises:
        ConfigError: vectors of two widths, or of whole numbers, which are no vectors before their steps are undone.
    """
    a, b = (_rows(one) for one in (first, second))
    if a.shape[1] != b.shape[1]:
        raise ConfigError(f"similarity: expected vectors of one width, got {a.shape[1]} and {b.shape[1]}")
    dtype = torch.promote_types(a.dtype, b.dtype)
    return normalize(a.to(dtype), dim=1) @ normalize(b.to(a.device, dtype), dim=1).T


def _rows(given: Any) -> Tensor:
    if isinstance(given, list | tuple):
        given = torch.stack([torch.as_tensor(one) for one in given]) if given else torch.zeros(0, 0)
    rows = torch.as_tensor(given)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.is_floating_point():
        got = f"{str(rows.dtype).removeprefix('torch.')} of shape {tuple(rows.shape)}"
        raise ConfigError(
            f"similarity: expected vectors (n, d) of floating-point numbers, got {got}; encode in float32 or float16"
        )
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
