"""Which readout: every kind with every ridge and exponent is fitted, and texts that choose say which is best."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from transferkit.config.sections import ReadoutSection
from transferkit.readout.fit import Fitter, Trials
from transferkit.readout.readout import Kind, Readout, Settings

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # in units of the mean eigenvalue
ALPHAS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Chosen:
    """The best readout of a kind, and its score on the texts that choose."""

    readout: Readout
    score: float


def choose(section: ReadoutSection, fitter: Fitter, vectors: Tensor, score: Callable[[Tensor], float]) -> "Choice":
    """Try all that ``section`` leaves open, and fit the best of each kind.

    Args:
        section: of a recipe; kinds, ridges and exponents that it fixes are not chosen.
        fitter: of the sample.
        vectors: (n, d) pooled vectors of the texts that choose.
        score: of their finished vectors (n, d), higher is better.
    """
    trials = Trials(fitter, vectors)
    tried: dict[Kind, list[tuple[float, Settings]]] = {}
    for settings in open_settings(section, has_pairs=fitter.has_pairs):
        tried.setdefault(settings.kind, []).append((score(trials(settings)), settings))
    best = {kind: max(found, key=lambda one: one[0]) for kind, found in tried.items()}
    # Of kinds with the same best score, the one whose settings score more on average, for that is less by luck.
    mean = {kind: sum(one for one, _ in found) / len(found) for kind, found in tried.items()}
    kinds = _allowed(section, has_pairs=fitter.has_pairs)
    delivered = max(kinds, key=lambda kind: (best[kind][0], mean[kind]))
    return Choice({kind: Chosen(fitter.fit(one), found) for kind, (found, one) in best.items()}, delivered)


@dataclass(frozen=True)
class Choice:
    """The best of every kind that was tried, and the kind that a checkpoint is delivered with."""

    best: dict[Kind, Chosen]
    delivered: Kind

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


def _allowed(section: ReadoutSection, *, has_pairs: bool) -> list[Kind]:
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
