"""The usual readout stands unless the texts that choose say more than their error, and what a recipe fixes stays."""

import pytest
import torch
from torch import Tensor

from transferkit.config.sections import ReadoutSection
from transferkit.readout.choose import ALPHAS, RIDGES, USUAL, Choice, choose, open_settings, without_pairs
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings


def sample(n: int = 40, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, width, generator=generator) + 1, torch.arange(n).view(-1, 2)


VECTORS, PLACES = sample()
ROWS = 200  # an accuracy of 82 % over so many has a standard error of 2.7 points


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
        right = all(getattr(settings, key) == value for key, value in self.liked.items())
        return self.better if right else 80.0

    tried: list[Settings]
    better = 90.0


def decide(judge: Judge, *, pairs: bool = True, **section: object) -> Choice:
    fitter = Fitter(VECTORS, PLACES if pairs else None)
    parsed = ReadoutSection.model_validate(section)
    judge.tried = list(open_settings(parsed, has_pairs=pairs))
    return choose(parsed, fitter, VECTORS, judge, rows=ROWS)


@pytest.mark.parametrize(
    "liked",
    [{"kind": "none"}, {"kind": "whiten", "ridge": 3.0}, {"kind": "pairs", "ridge": 0.3, "alpha": 0.5}],
    ids=lambda liked: str(liked["kind"]),
)
def test_what_scores_best_is_delivered(liked: dict[str, object]) -> None:
    chosen = decide(Judge(**liked)).chosen.readout.settings
    assert {key: getattr(chosen, key) for key in liked} == liked


@pytest.mark.parametrize(("better", "stands"), [(82.6, True), (82.8, False)])
def test_the_usual_one_stands_against_what_is_better_by_less_than_the_error(better: float, stands: bool) -> None:
    liked = {"kind": "whiten", "ridge": 3.0}
    judge = Judge(**liked)
    judge.better = better
    choice = decide(judge)
    assert choice.chosen.readout.settings == (USUAL["pairs"] if stands else Settings("whiten", ridge=3.0))
    assert choice.best["pairs"].readout.settings == USUAL["pairs"]
    assert choice.best["whiten"].readout.settings == (USUAL["whiten"] if stands else Settings("whiten", ridge=3.0))


@pytest.mark.parametrize("score", [0.0, 100.0, -3.0])
def test_an_error_is_never_below_nothing(score: float) -> None:
    """Rank correlations can be negative."""
    fitter, section = Fitter(VECTORS, PLACES), ReadoutSection.model_validate({"kind": "whiten", "ridge": 0.5})
    choice = choose(section, fitter, VECTORS, lambda finished: score, rows=ROWS)
    assert choice.chosen.score == score


def test_every_ridge_and_exponent_is_tried_once() -> None:
    judge = Judge()
    choice = decide(judge)
    assert len(set(judge.seen)) == len(judge.seen) == 1 + len(RIDGES) + len(RIDGES) * len(ALPHAS)
    assert choice.chosen.readout.settings == USUAL["pairs"]  # all score alike
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
