"""The closed-form map after pooling: centre, whiten, or turn towards what the training pairs share."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.config.sections import ReadoutKind


@dataclass(frozen=True)
class Settings:
    """Which map it is.

    Attributes:
        kind: ``none`` leaves the unit norm alone.
        ridge: of ``whiten`` and ``pairs``, in units of the mean eigenvalue.
        alpha: of ``pairs``, how much directions count that a pair's two sides share.
    """

    kind: ReadoutKind
    ridge: float | None = None
    alpha: float | None = None

    def as_facts(self) -> dict[str, Any]:
        """For records and checkpoints."""
        return asdict(self)


class Readout(nn.Module):
    """Unit norm -> minus mean -> times matrix -> unit norm.

    ``mean`` (d,) and ``matrix`` (d, d) are buffers: they are saved with a checkpoint and never trained. ``center`` has
    no matrix, and with ``none`` only the unit norm is left. :mod:`transferkit.readout.fit` fits them.

    Attributes:
        descending: whether the matrix has the directions that count most first, as every fit gives them; checkpoints of
            earlier versions have them last.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, settings: Settings, width: int, *, descending: bool = True) -> None:
        super().__init__()
        self.settings = settings
        has_matrix = settings.kind in ("whiten", "pairs")
        self.descending = descending or not has_matrix
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width) if has_matrix else torch.zeros(0))

    @classmethod
    def plain(cls, width: int) -> "Readout":
        """The unit norm alone."""
        return cls(Settings("none"), width)

    @property
    def kind(self) -> ReadoutKind:
        """Of its settings."""
        return self.settings.kind

    @property
    def takes(self) -> int:
        """Numbers of a pooled vector."""
        return len(self.mean)

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the tensors."""
        ordered = {"descending": True} if len(self.matrix) and self.descending else {}
        return self.settings.as_facts() | {"width": len(self.mean)} | ordered

    def strongest(self, vectors: Tensor, count: int) -> Tensor:
        """The ``count`` columns of vectors (n, d) that count most: the first ones, where nothing orders them."""
        ordered = self.descending or count == vectors.shape[1]
        return vectors[:, :count] if ordered else vectors.flip(1)[:, :count]

    def linear(self, vectors: Tensor) -> Tensor:
        """The map before the last normalisation: (n, d) -> (n, d) in fp32."""
        x = nn.functional.normalize(vectors.float(), dim=-1)
        if self.kind == "none":
            return x
        x = x - self.mean
        return x if self.kind == "center" else x @ self.matrix

    def unscaled(self, vectors: Tensor) -> Tensor:
        """Vectors (n, d) without a last unit norm: those of :meth:`linear`, with ``none`` the pooled ones."""
        return vectors.float() if self.kind == "none" else self.linear(vectors)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, d) pooled vectors -> (n, d) unit vectors."""
        return nn.functional.normalize(self.linear(vectors), dim=-1)

    def finished(self, vectors: Tensor, *, count: int | None, normalize: bool) -> Tensor:
        """Pooled vectors (n, d) -> (n, count) of unit length, or as they are before that.

        Args:
            vectors: of any norm.
            count: of the strongest columns that are kept; None: all. What is kept has unit length again.
            normalize: False: those of :meth:`unscaled`.
        """
        x = self.linear(vectors) if normalize else self.unscaled(vectors)
        x = x if count is None else self.strongest(x, count)
        return nn.functional.normalize(x, dim=-1) if normalize else x
