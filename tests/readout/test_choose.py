"""The readout is chosen by the texts that choose, plain is among the choices, and what a recipe fixes stays fixed."""

import pytest
import torch
from torch import Tensor

from transferkit.config.sections import ReadoutSection
from transferkit.readout.choose import ALPHAS, RIDGES, Choice, choose, open_settings, without_pairs
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings


def sample(n: int = 40, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, width, generator=generator) + 1, torch.arange(n).view(-1, 2)


VECTORS, PLACES = sample()


class Judge:
    """Likes one kind, ridge or alpha, and keeps what it was shown; it tells readouts by what they make of vectors."""

    def __init__(self, **liked: object) -> None:
        self.liked = liked
        self.seen: list[Settings] = []

    def __call__(self, finished: Tensor) -> float:
        settings = self.tried[len(self.seen)]
        self.seen.append(settings)
        expected = Fitter(VECTORS, PLACES).fit(settings)(VECTORS)
        torch.testing.assert_close(finished @ finished.T, expected @ expected.T, rtol=1e-4, atol=1e-4)
        return float(sum(getattr(settings, key) == value for key, value in self.liked.items()))

    tried: list[Settings]


def decide(judge: Judge, *, pairs: bool = True, **section: object) -> Choice:
    fitter = Fitter(VECTORS, PLACES if pairs else None)
    parsed = ReadoutSection.model_validate(section)
    judge.tried = list(open_settings(parsed, has_pairs=pairs))
    return choose(parsed, fitter, VECTORS, judge)


@pytest.mark.parametrize(
    "liked",
    [{"kind": "none"}, {"kind": "whiten", "ridge": 3.0}, {"kind": "pairs", "ridge": 0.3, "alpha": 0.5}],
    ids=lambda liked: str(liked["kind"]),
)
def test_what_scores_best_is_delivered(liked: dict[str, object]) -> None:
    chosen = decide(Judge(**liked)).chosen.readout.settings
    assert {key: getattr(chosen, key) for key in liked} == liked


def test_of_equally_good_kinds_the_one_that_is_so_more_often_is_delivered() -> None:
    """One lucky ridge of whitening is as good as every readout from pairs."""

    class Lucky(Judge):
        def __call__(self, finished: Tensor) -> float:
            super().__call__(finished)
            settings = self.seen[-1]
            return float(settings.kind == "pairs" or (settings.kind, settings.ridge) == ("whiten", 10.0))

    assert decide(Lucky()).delivered == "pairs"


def test_every_ridge_and_exponent_is_tried_once() -> None:
    judge = Judge()
    choice = decide(judge)
    assert len(set(judge.seen)) == len(judge.seen) == 1 + len(RIDGES) + len(RIDGES) * len(ALPHAS)
    assert choice.chosen.readout.kind == "none"  # all score alike: the simplest
    assert set(choice.best) == {"none", "whiten", "pairs"}


@pytest.mark.parametrize("kind", ["none", "center", "whiten", "pairs"])
def test_a_kind_that_the_recipe_fixes_is_delivered(kind: str) -> None:
    other = "whiten" if kind != "whiten" else "none"
    assert decide(Judge(kind=other), kind=kind).delivered == kind


def test_what_the_recipe_fixes_is_not_chosen() -> None:
    judge = Judge(kind="pairs")
    choice = decide(judge, ridge=0.7, alpha=0.2)
    assert {settings.ridge for settings in judge.seen} == {None, 0.7}
    assert (choice.chosen.readout.settings.ridge, choice.chosen.readout.settings.alpha) == (0.7, 0.2)


@pytest.mark.parametrize("kind", ["auto", "pairs"])
def test_without_pairs_whitening_takes_their_place(kind: str) -> None:
    choice = decide(Judge(kind="whiten"), pairs=False, kind=kind)
    assert choice.delivered == "whiten"
    assert "pairs" not in choice.best
    said = without_pairs(ReadoutSection.model_validate({"kind": kind}))
    assert said is not None
    assert {"auto": "plain and whitened are the choices", "pairs": "vectors are whitened"}[kind] in said


@pytest.mark.parametrize("kind", ["none", "center", "whiten"])
def test_a_readout_that_needs_no_pairs_misses_none(kind: str) -> None:
    assert without_pairs(ReadoutSection.model_validate({"kind": kind})) is None
