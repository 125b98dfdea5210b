"""A readout whose vectors are carried on into another embedder's space."""

import torch
from torch import Tensor, nn

from transferkit.config.sections import ReadoutKind
from transferkit.readout.readout import Readout, Settings


def carried(vectors: Tensor, *, centre: Tensor, matrix: Tensor, mean: Tensor) -> Tensor:
    """Vectors (n, d) of one space in the other (n, e), of any norm; what these are stands at :class:`Bridged`."""
    return torch.addmm(mean, vectors - centre, matrix)


class Bridged(Readout):
    """A readout -> minus its mean -> times a matrix -> plus the other space's mean -> unit norm.

    Args:
        readout: of the embedder that reads.
        centre: (d,) mean of its vectors.
        matrix: (d, e) from there.
        mean: (e,) mean of the other embedder's vectors.
        kind: of the readout that finished these.
        descending: whether the first numbers of these count most; else the last ones do.
    """

    centre: Tensor
    inner: Readout

    def __init__(
        self, readout: Readout, *, centre: Tensor, matrix: Tensor, mean: Tensor, kind: ReadoutKind, descending: bool
    ) -> None:
        nn.Module.__init__(self)
        self.settings, self.inner, self.descending = Settings(kind), readout, descending
        self.register_buffer("centre", centre)
        self.register_buffer("matrix", matrix)
        self.register_buffer("mean", mean)

    @property
    def takes(self) -> int:
        """Numbers of a pooled vector, of the embedder that reads."""
        return self.inner.takes

    def linear(self, vectors: Tensor) -> Tensor:
        """The map before the last normalisation: (n, d) pooled -> (n, e) in fp32."""
        return carried(self.inner(vectors), centre=self.centre, matrix=self.matrix, mean=self.mean)

    def unscaled(self, vectors: Tensor) -> Tensor:
        """Those of :meth:`linear`: the pooled ones are in no other space, whatever the kind."""
        return self.linear(vectors)
