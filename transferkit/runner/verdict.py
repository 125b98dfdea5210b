"""What a training run came to, in one line: what moved, and its dev score against what one has without it."""

from collections.abc import Mapping
from typing import Any

import torch

from transferkit.data.scores import DECIDED, Outcomes, difference_error
from transferkit.methods.base import Embedder
from transferkit.readout.readout import Settings
from transferkit.runs.folder import delivered
from transferkit.training.loop import Fitted
from transferkit.training.scoring import Evidence, Scorer

_STILL = 1e-5  # 1 - cosine, below which rounding alone moved a vector


def verdict(
    embedder: Embedder, fitted: Fitted, scorer: Scorer, *, floors: Mapping[str, Embedder]
) -> dict[str, Any] | None:
    """What the record says of a run that is over; None where an earlier version made the evaluation that was kept.

    The dev score is the mean over the sets that may select, of the rows that are reported. Each rival's vectors pass a
    readout of the settings that the run delivers, fitted to them; ``floors`` are rivals by name that take none. An
    error is the standard error of the difference by the choice of the rows: a paired bootstrap of each set.

    GAIN: decidedly above all rivals. REGRESSION: decidedly below one of them. NO EFFECT: the vectors are those of its
    start. MARGINAL: all else. Decided is what is more than twice its error.
    """
    best, start = fitted.best, fitted.state.start
    if best.evidence is None or start is None:
        return None
    settings = None if best.row["readout"] is None else Settings(**best.row["readout"])
    judge = scorer.those_that_select()
    others = {**embedder.rivals(), **floors}
    rivals = {embedder.start_title: start.outcomes} | {
        name: judge.through(rival, settings) for name, rival in others.items()
    }
    against = [{"name": name, **_against(best.evidence.outcomes, one, judge)} for name, one in rivals.items()]
    turned = _turned(start, best.evidence)
    facts = {"score": delivered(best.row["score"]), "against": against}
    return {"word": _word(turned, against), **facts, "weights_moved": fitted.moved, "vectors_turned": turned}


def in_words(found: Mapping[str, Any]) -> str:
    """The line that a user sees."""
    against = [f"{one['difference']:+.1f} (± {one['error']:.1f}) to {one['name']}" for one in found["against"]]
    moved = f"weights moved by {found['weights_moved']:.2g} of their size"
    turned = f"vectors turned by {found['vectors_turned']:.2g} (1 - cosine)"
    return f"{found['word']}: dev {found['score']:.1f}, {', '.join([*against, moved, turned])}"


def _against(mine: list[Outcomes], theirs: list[Outcomes], judge: Scorer) -> dict[str, float]:
    """Score of a rival, what is gained over it, and the standard error of that; means over the sets that select."""
    metrics = [one.reporting for one in judge.dev_sets]
    scores = [metric.summary(one) for metric, one in zip(metrics, theirs, strict=True)]
    gained = [metric.summary(one) for metric, one in zip(metrics, mine, strict=True)]
    errors = [difference_error(*three) for three in zip(metrics, mine, theirs, strict=True)]
    count = len(metrics)
    return {
        "score": sum(scores) / count,
        "difference": (sum(gained) - sum(scores)) / count,
        "error": sum(error**2 for error in errors) ** 0.5 / count,
    }


def _turned(start: Evidence, end: Evidence) -> float:
    """Mean of 1 - cosine of each vector's start and end."""
    return float(1 - torch.cosine_similarity(start.vectors.float(), end.vectors.float(), dim=-1).mean())


def _word(turned: float, against: list[dict[str, Any]]) -> str:
    if turned < _STILL:
        return "NO EFFECT"
    if any(one["difference"] < -DECIDED * one["error"] for one in against):
        return "REGRESSION"
    if all(one["difference"] > DECIDED * one["error"] for one in against):
        return "GAIN"
    return "MARGINAL"
