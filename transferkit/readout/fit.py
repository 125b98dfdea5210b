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

    Columns stand from the direction that counts most to the one that counts least, by variance or by what pairs share,
    so that the first ones alone are a shorter vector.

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
            readout.mean.copy_(self.sample.mean)
            readout.matrix.copy_(self.sample.whitening(settings.ridge or 0.0).flip(1))  # eigenvalues rise
        elif settings.kind == "pairs":
            readout.mean.copy_(self.sides.mean)
            alpha = 1.0 if settings.alpha is None else settings.alpha
            readout.matrix.copy_(self._paired(settings.ridge or 0.0, alpha).flip(1))
        return readout

    @cached_property
    def sample(self) -> "_Covariance":
        """Of all vectors."""
        return _Covariance(self._x)

    @cached_property
    def sides(self) -> "_Covariance":
        """Of both sides of all pairs, a text once a pair."""
        if self._pairs is None:
            raise RunError("readout: pairs: the training sets hold no pairs to fit it on; use whiten or auto")
        places = self._pairs.flatten()
        each_once = torch.equal(places.sort().values, torch.arange(len(self._x)))
        return self.sample if each_once else _Covariance(self._x[places.to(self._x.device)])

    @cached_property
    def _shared(self) -> Tensor:
        """Symmetrised mean product of a pair's sides (d, d), in the basis of the covariance."""
        assert self._pairs is not None  # whoever asks for this asked for `sides` first
        first, second = (
            (self._x[side.to(self._x.device)] - self.sides.mean) @ self.sides.vectors for side in self._pairs.T
        )
        product = first.T @ second / len(first)
        return (product + product.T) / 2

    def _paired(self, ridge: float, alpha: float) -> Tensor:
        turn = self.turn(ridge)
        whitening = self.sides.whitening(ridge)
        return whitening if turn is None else whitening @ (turn[0] * turn[1] ** alpha)

    def turn(self, ridge: float) -> tuple[Tensor, Tensor] | None:
        """Directions (d, d) after whitening, and what pairs share in each (d,); None: nothing to turn towards."""
        if ridge not in self._turns:
            gains = self.sides.gains(ridge)
            correlations, vectors = torch.linalg.eigh(gains[:, None] * self._shared * gains)
            rounding = correlations.abs().max() * len(correlations) * torch.finfo(torch.float64).eps
            shared = torch.where(correlations > rounding, correlations, 0.0)
            # Pairs that are no more alike than strangers would make every vector zero.
            self._turns[ridge] = (vectors, shared) if bool((shared > 0).any()) else None
        return self._turns[ridge]

    @cached_property
    def _turns(self) -> dict[float, tuple[Tensor, Tensor] | None]:
        return {}


class Trials:
    """What readouts of a fitted sample make of some vectors, up to a rotation, which no cosine sees.

    Products that ridges and exponents share are computed once, and no (d, d) matrix is made for a readout that is
    only tried.

    Args:
        fitter: of the sample.
        vectors: (n, d) pooled vectors.
    """

    def __init__(self, fitter: Fitter, vectors: Tensor) -> None:
        self._fitter = fitter
        self._unit = normalize(vectors.float(), dim=-1)
        self._turned: tuple[float, Tensor, Tensor] | None = None  # of the last ridge

    def __call__(self, settings: Settings) -> Tensor:
        """(n, d) unit vectors."""
        if settings.kind == "none":
            return self._unit
        if settings.kind == "center":
            return normalize(self._unit - self._fitter.fit(settings).mean, dim=-1)
        ridge = settings.ridge or 0.0
        if settings.kind == "whiten":
            return normalize(self._of_sample * _like(self._fitter.sample.gains(ridge), self._unit), dim=-1)
        if self._turned is None or self._turned[0] != ridge:
            turn = self._fitter.turn(ridge)
            whitened = self._of_sides * _like(self._fitter.sides.gains(ridge), self._unit)
            directions, shared = (None, torch.ones(1)) if turn is None else turn
            turned = whitened if directions is None else whitened @ _like(directions, self._unit)
            self._turned = ridge, turned, _like(shared, self._unit)
        _, turned, shared = self._turned
        return normalize(turned * shared ** (1.0 if settings.alpha is None else settings.alpha), dim=-1)

    @cached_property
    def _of_sample(self) -> Tensor:
        return self._along(self._fitter.sample)

    @cached_property
    def _of_sides(self) -> Tensor:
        same = self._fitter.sides is self._fitter.sample
        return self._of_sample if same else self._along(self._fitter.sides)

    def _along(self, covariance: "_Covariance") -> Tensor:
        """Coordinates of the centred vectors along its eigenvectors."""
        return (self._unit - _like(covariance.mean, self._unit)) @ _like(covariance.vectors, self._unit)


def _like(values: Tensor, other: Tensor) -> Tensor:
    return values.to(other.device, other.dtype)


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
