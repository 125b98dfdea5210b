"""Vectors in fewer bits, as sentence-transformers names and packs them, and whole again.

``int8`` and ``uint8`` cut the range of each dimension into 256 equal steps; ``binary`` and ``ubinary`` keep the signs,
eight to a byte, the first one in its highest bit. ``binary`` holds the bytes of ``ubinary`` less 128.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from transferkit.errors import ConfigError, did_you_mean

Precision = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
Vectors = npt.NDArray[np.float32]
DTYPES: dict[Precision, str] = {
    "float32": "<f4",
    "float16": "<f2",
    "int8": "|i1",
    "uint8": "|u1",
    "binary": "|i1",
    "ubinary": "|u1",
}
CALIBRATED = ("int8", "uint8")  # their steps are those of some vectors
PACKED = ("binary", "ubinary")
_ROWS = 1 << 14  # made whole at a time


def check_precision(precision: str, *, where: str) -> None:
    """Refuse a precision that there is not.

    Raises:
        ConfigError: says which there are.
    """
    if precision not in DTYPES:
        known = get_args(Precision)
        raise ConfigError(
            f"{where}: expected one of {', '.join(known)}, got {precision!r}{did_you_mean(str(precision), known)}"
        )


def check_truncation(dim: int, width: int, *, where: str) -> None:
    """Refuse another number of columns than vectors of ``width`` have to give.

    Raises:
        ConfigError: says how many there are.
    """
    if not isinstance(dim, int) or isinstance(dim, bool) or not 1 <= dim <= width:
        raise ConfigError(f"{where}: expected a whole number from 1 to {width}, the vectors' own width, got {dim!r}")


def ranges_of(vectors: Vectors) -> Vectors:
    """(2, d): the smallest and the greatest value of each dimension."""
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)


def calibrated(vectors: Vectors) -> Vectors:
    """(2, d) for vectors that are still to come: the range of these, and four standard deviations about their mean.

    A range of a few rows alone would clip many others.
    """
    middle, reach = vectors.mean(axis=0), 4 * vectors.std(axis=0)
    low, high = ranges_of(vectors)
    return np.stack([np.minimum(low, middle - reach), np.maximum(high, middle + reach)]).astype(np.float32)


def stored_width(width: int, precision: Precision) -> int:
    """Numbers that a vector of ``width`` takes."""
    return -(-width // 8) if precision in PACKED else width


def quantize(vectors: Vectors, precision: Precision, ranges: Vectors | None = None) -> npt.NDArray[Any]:
    """Vectors (n, d) as numbers (n, d) of a precision; packed ones are (n, d / 8), rounded up.

    Args:
        vectors: finite.
        precision: of the result.
        ranges: (2, d), see :func:`ranges_of`; ``int8`` and ``uint8`` need them, and clip what lies outside.
    """
    if precision in PACKED:
        packed = np.packbits(vectors > 0, axis=-1)
        return packed if precision == "ubinary" else (packed ^ np.uint8(0x80)).view(np.int8)
    if precision not in CALIBRATED:
        return vectors.astype(DTYPES[precision])
    assert ranges is not None
    low, step = _steps(ranges)
    numbers = np.clip(np.floor((vectors.astype(np.float32) - low) / step), 0, 255)
    return numbers.astype(np.uint8) if precision == "uint8" else (numbers - 128).astype(np.int8)


def count_clipped(vectors: Vectors, ranges: Vectors) -> int:
    """How many of the numbers lie outside of ``ranges``."""
    return int(((vectors < ranges[0]) | (vectors > ranges[1])).sum())


def _steps(ranges: Vectors) -> tuple[Vectors, Vectors]:
    step = (ranges[1] - ranges[0]) / np.float32(255)
    return ranges[0], np.where(step == 0, np.float32(1), step)


@dataclass(frozen=True)
class Stored:
    """Vectors as a file or an array holds them.

    Attributes:
        numbers: (n, d), or (n, d / 8) where they are packed.
        precision: of the numbers.
        width: d, numbers a vector.
        ranges: (2, d) of ``int8`` and ``uint8``.
    """

    numbers: npt.NDArray[Any]
    precision: Precision
    width: int
    ranges: Vectors | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice | Sequence[int] | npt.NDArray[np.int64]) -> Vectors:
        """Some rows as :meth:`whole` has them."""
        return Stored(self.numbers[rows], self.precision, self.width, self.ranges).whole()

    def whole(self) -> Vectors:
        """(n, d) float32: the numbers, each step's middle, or signs as +-1 / sqrt(d), which have unit length."""
        if self.precision in PACKED:
            signs = np.unpackbits(self._bytes(), axis=-1, count=self.width)
            return (signs.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(self.width))
        if self.ranges is None:
            return self.numbers.astype(np.float32, copy=False)
        low, step = self.ranges[0], (self.ranges[1] - self.ranges[0]) / np.float32(255)
        return (self._bytes().astype(np.float32) + np.float32(0.5)) * step + low

    def cosines(self, vector: Vectors) -> Vectors:
        """Of every row, as :meth:`whole` has it, with one unit vector (d,); a block of rows is made whole at a time."""
        rows = len(self) if self.precision == "float32" else _ROWS
        return np.concatenate([self[i : i + rows] @ vector for i in range(0, len(self), max(1, rows))])

    def _bytes(self) -> npt.NDArray[np.uint8]:
        """As ``uint8`` and ``ubinary`` have them."""
        if self.precision not in ("int8", "binary"):
            return self.numbers
        return np.ascontiguousarray(self.numbers).view(np.uint8) ^ np.uint8(0x80)
