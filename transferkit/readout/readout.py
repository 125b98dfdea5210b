"""Closed-form readout after pooling: centre or whiten, fitted on a sample of vectors without any training step."""

from typing import Literal

import torch
from torch import Tensor, nn

from transferkit.errors import RunError

Kind = Literal["none", "center", "whiten"]


class Readout(nn.Module):
    """Unit norm -> minus mean -> times V / sqrt(eigenvalue + ridge) -> unit norm.

    ``mean`` (d,) and ``matrix`` (d, d) are buffers: they are saved with a checkpoint and never trained. With
    ``kind="center"`` the matrix stays the identity; with ``"none"`` only the unit norm is left.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, kind: Kind, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width) if kind == "whiten" else torch.zeros(0))

    @torch.no_grad()
    def fit(self, vectors: Tensor, *, ridge: float) -> "Readout":
        """Fit mean and matrix to ``vectors`` (n, d), in float64; returns itself.

        Args:
            vectors: pooled vectors of unlabelled texts, any norm.
            ridge: added to every eigenvalue, in units of the mean eigenvalue. With 0 the fitted vectors get exactly
                unit covariance in the directions that they span; directions without variance are dropped.

        Raises:
            RunError: fewer than two vectors, or a vector that is not finite.
        """
        if self.kind == "none":
            return self
        if len(vectors) < 2 or not torch.isfinite(vectors).all():
            raise RunError(f"readout: needs at least two finite vectors to fit, got {len(vectors)} (or NaN among them)")
        # On the CPU where the device has no float64 (MPS).
        x = nn.functional.normalize((vectors.cpu() if vectors.device.type == "mps" else vectors).double(), dim=-1)
        mean = x.mean(0)
        self.mean.copy_(mean)
        if self.kind == "whiten":
            centred = x - mean
            eigenvalues, v = torch.linalg.eigh(centred.T @ centred / len(x))
            floor = eigenvalues.max().clamp(min=0) * x.shape[1] * torch.finfo(torch.float64).eps
            spread = eigenvalues.clamp(min=0) + ridge * eigenvalues.clamp(min=0).mean()
            gain = torch.where(spread > floor, spread.clamp(min=1e-300).rsqrt(), 0.0)
            # All vectors equal: nothing to scale by, so the readout only centres.
            self.matrix.copy_(v * gain if bool((gain > 0).any()) else torch.eye(len(mean)))
        return self

    def linear(self, vectors: Tensor) -> Tensor:
        """The map before the last normalisation: (n, d) -> (n, d) in fp32."""
        x = nn.functional.normalize(vectors.float(), dim=-1)
        if self.kind == "none":
            return x
        x = x - self.mean
        return x @ self.matrix if self.kind == "whiten" else x

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, d) pooled vectors -> (n, d) unit vectors."""
        return nn.functional.normalize(self.linear(vectors), dim=-1)
