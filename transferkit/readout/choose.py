"""Which readout: every kind with every ridge and exponent is fitted, and texts that choose have the say.

Thirty readouts tried on two hundred rows: the best of them is best by luck as a rule. So the usual one stands unless
another is better by more than one standard error of the rows that choose.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

from torch import Tensor

from transferkit.config.sections import ReadoutKind, ReadoutSection
from transferkit.readout.fit import Fitter, Trials
from transferkit.readout.readout import Readout, Settings

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # in units of the mean eigenvalue
ALPHAS = (0.25, 0.5, 1.0)
# Kinds in the order in which they stand, each with its usual readout.
USUAL: dict[ReadoutKind, Settings] = {
    "pairs": Settings("pairs", ridge=1.0, alpha=0.5),
    "whiten": Settings("whiten", ridge=1.0),
    "none": Settings("none"),
}


@dataclass(frozen=True)
class Chosen:
    """The best readout of a kind, and its score on the texts that choose."""

    readout: Readout
    score: float


def choose(
    section: ReadoutSection, fitter: Fitter, vectors: Tensor, score: Callable[[Tensor], float], *, rows: int
) -> "Choice":
    """Try all that ``section`` leaves open, and fit the one of each kind that stands.

    Args:
        section: of a recipe; kinds, ridges and exponents that it fixes are not chosen.
        fitter: of the sample.
        vectors: (n, d) pooled vectors of the texts that choose.
        score: of their finished vectors (n, d) in percent, higher is better.
        rows: that the score is a mean over.
    """
    trials = Trials(fitter, vectors)
    tried: dict[ReadoutKind, list[_Tried]] = {}
    for settings in open_settings(section, has_pairs=fitter.has_pairs):
        tried.setdefault(settings.kind, []).append((score(trials(settings)), settings))
    best = {kind: _stands(found, [USUAL.get(kind)], rows=rows) for kind, found in tried.items()}
    of_kinds = [best[kind] for kind in _allowed(section, has_pairs=fitter.has_pairs)]
    order = [best[kind][1] for kind in USUAL if kind in best]
    delivered = _stands(of_kinds, order, rows=rows)[1].kind
    return Choice({kind: Chosen(fitter.fit(one), found) for kind, (found, one) in best.items()}, delivered)


_Tried = tuple[float, Settings]


def _stands(tried: list[_Tried], usual: Sequence[Settings | None], *, rows: int) -> _Tried:
    """The first of the usual ones that the best of all does not beat by more than its error; else the best."""
    best = max(tried, key=lambda one: one[0])
    # No mean of values from 0 to 100 has a greater standard error.
    error = sqrt(max(best[0] * (100 - best[0]), 0.0) / rows)
    close = {settings: score for score, settings in tried if score >= best[0] - error}
    return next(((close[one], one) for one in usual if one in close), best)


@dataclass(frozen=True)
class Choice:
    """The best of every kind that was tried, and the kind that a checkpoint is delivered with."""

    best: dict[ReadoutKind, Chosen]
    delivered: ReadoutKind

    @property
    def chosen(self) -> Chosen:
        """What is delivered."""
        return self.best[self.delivered]


def without_pairs(section: ReadoutSection) -> str | None:
    """What a user should know where the training sets hold no pairs."""
    if section.kind == "pairs":
        return "readout.kind: pairs: the training sets hold none, so vectors are whitened"
    if section.kind == "auto":
        return "readout: the training sets hold no pairs, so plain and whitened are the choices"
    return None


def _allowed(section: ReadoutSection, *, has_pairs: bool) -> list[ReadoutKind]:
    if section.kind == "auto":
        return ["none", "whiten", "pairs"] if has_pairs else ["none", "whiten"]
    return ["whiten" if section.kind == "pairs" and not has_pairs else section.kind]


def open_settings(section: ReadoutSection, *, has_pairs: bool) -> Iterator[Settings]:
    """Every readout that is tried. What the recipe fixes is the delivered one; the others stand beside it in tables."""
    ridges = RIDGES if section.ridge is None else (section.ridge,)
    yield Settings("none")
    if section.kind == "center":
        yield Settings("center")
    for ridge in ridges:
        yield Settings("whiten", ridge=ridge)
    if has_pairs:
        for ridge in ridges:
            for alpha in ALPHAS if section.alpha is None else (section.alpha,):
                yield Settings("pairs", ridge=ridge, alpha=alpha)
