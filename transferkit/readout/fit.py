"""Fit readouts to one sample of vectors: everything that several ridges and exponents share is computed once."""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize

from transferkit.errors import RunError
from transferkit.readout.readout import Readout, Settings


class Fitter:
    """Readouts of a sample, in float64 and without a training step.

    ``whiten``: with the covariance T = U diag(e) U' of the sample, Z = U diag(e + ridge x mean(e))^(-1/2). At ridge 0
    the fitted vectors get exactly unit covariance in the directions that they span; those without variance are
    dropped.

    ``pairs``: canonical correlation analysis (Hotelling, 1936) of a pair's two sides, each taken as first and as second
    one, so that one map serves both. Mean and T are those of all sides; C, the symmetrised mean product of a pair's
    sides after Z, is V diag(c) V', and the map is Z V diag(max(c, 0)^alpha). Alpha 0 is whitening; the greater it is,
    the less count directions in which pairs differ as much as strangers do.

    Args:
        vectors: (n, d) pooled vectors of any norm.
        pairs: (m, 2) places of pairs among them; None: there are none.

    Raises:
        RunError: fewer than two vectors, or a vector that is not finite.
    """

    def __init__(self, vectors: Tensor, pairs: Tensor | None = None) -> None:
        if len(vectors) < 2 or not torch.isfinite(vectors).all():
            raise RunError(f"readout: needs at least two finite vectors to fit, got {len(vectors)} (or NaN among them)")
        self.device = vectors.device
        # On the CPU where the device has no float64 (MPS).
        self._x = normalize((vectors.cpu() if vectors.device.type == "mps" else vectors).double(), dim=-1)
        self._pairs = pairs if pairs is not None and len(pairs) else None

    @property
    def has_pairs(self) -> bool:
        """Whether ``pairs`` can be fitted."""
        return self._pairs is not None

    def fit(self, settings: Settings) -> Readout:
        """The readout of ``settings``, on the device of the vectors.

        Raises:
            RunError: ``pairs`` from a sample that has none.
        """
        readout = Readout(settings, self._x.shape[1]).to(self.device)
        if settings.kind == "center":
            readout.mean.copy_(self._x.mean(0))
        elif settings.kind == "whiten":
            readout.mean.copy_(self._sample.mean)
            readout.matrix.copy_(self._sample.whitening(settings.ridge or 0.0))
        elif settings.kind == "pairs":
            readout.mean.copy_(self._sides.mean)
            readout.matrix.copy_(self._paired(settings.ridge or 0.0, 1.0 if settings.alpha is None else settings.alpha))
        return readout

    @cached_property
    def _sample(self) -> "_Covariance":
        return _Covariance(self._x)

    @cached_property
    def _sides(self) -> "_Covariance":
        """Of both sides of all pairs, a text once a pair."""
        if self._pairs is None:
            raise RunError("readout: pairs: the training sets hold no pairs to fit it on; use whiten or auto")
        places = self._pairs.flatten()
        each_once = torch.equal(places.sort().values, torch.arange(len(self._x)))
        return self._sample if each_once else _Covariance(self._x[places.to(self._x.device)])

    @cached_property
    def _shared(self) -> Tensor:
        """Symmetrised mean product of a pair's sides (d, d), in the basis of the covariance."""
        assert self._pairs is not None  # `_sides` was asked first
        first, second = (
            (self._x[side.to(self._x.device)] - self._sides.mean) @ self._sides.vectors for side in self._pairs.T
        )
        product = first.T @ second / len(first)
        return (product + product.T) / 2

    def _paired(self, ridge: float, alpha: float) -> Tensor:
        whitening = self._sides.whitening(ridge)
        if ridge not in self._correlations:
            gains = self._sides.gains(ridge)
            self._correlations[ridge] = torch.linalg.eigh(gains[:, None] * self._shared * gains)
        correlations, turn = self._correlations[ridge]
        rounding = correlations.abs().max() * len(correlations) * torch.finfo(torch.float64).eps
        shared = torch.where(correlations > rounding, correlations, 0.0)
        if not bool((shared > 0).any()):  # pairs are no more alike than strangers: nothing to turn towards
            return whitening
        return whitening @ (turn * shared**alpha)

    @cached_property
    def _correlations(self) -> dict[float, tuple[Tensor, Tensor]]:
        return {}


class _Covariance:
    """Mean and eigenvectors of vectors (n, d), float64."""

    def __init__(self, x: Tensor) -> None:
        self.mean = x.mean(0)
        centred = x - self.mean
        self.values, self.vectors = torch.linalg.eigh(centred.T @ centred / len(x))

    def gains(self, ridge: float) -> Tensor:
        """What each direction is multiplied by (d,)."""
        values = self.values.clamp(min=0)
        floor = values.max() * len(values) * torch.finfo(torch.float64).eps
        spread = values + ridge * values.mean()
        return torch.where(spread > floor, spread.clamp(min=1e-300).rsqrt(), 0.0)

    def whitening(self, ridge: float) -> Tensor:
        """(d, d); the identity where all vectors are equal, for there is nothing to scale by."""
        gains = self.gains(ridge)
        return self.vectors * gains if bool((gains > 0).any()) else torch.eye(len(gains), device=gains.device).double()
