"""One run's learning curve: its evaluations, which of them it stands with, and when it is at a score. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Literal

from transferkit.runs.folder import Run

Keep = Literal["best", "last"]

_SAME = 1e-9  # 0.9 * 74.0 is 66.60000000000001: a score of 66.6 has reached it


@dataclass(frozen=True)
class Point:
    """One evaluation. Scores in percent; ``seconds`` of training, cache building and the readout's fit.

    ``choosing`` is the score by which it is the best or not, of other rows than ``score`` where the dev sets have
    halves. ``kind`` is the readout that it is delivered with, and ``by_kind`` has for each kind that was tried the
    score and that on the other sets.
    """

    step: int
    examples: int
    tokens: int | None
    seconds: float
    score: float
    other_score: float | None  # mean over the dev sets that select nothing
    choosing: float
    kind: str | None = None
    by_kind: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)


def selecting_sets(run: Run, *, select: bool) -> list[str]:
    """Names of the dev sets that choose the best step (``select``), or of the others."""
    return [entry["name"] for entry in run.record["data"]["dev"] if entry["select"] is select]


def learning_curve(run: Run, *, key: str, variant: str | None) -> tuple[Point, ...]:
    """Evaluations of a run in steps' order, by the scores that ``key`` names, of one variant where it has several."""
    others = selecting_sets(run, select=False)
    points = []
    for row in run.metrics:
        if variant is not None and row.get("variant") != variant:
            continue
        name = ("plain" if row["score"].get("readout") is None else "readout") if key == "delivered" else key
        if row["score"].get(name) is None:
            continue
        points.append(
            Point(
                step=row["step"],
                examples=row["examples"],
                tokens=row.get("tokens"),
                seconds=row["seconds"] + ((row.get("readout_seconds") or 0.0) if name == "readout" else 0.0),
                score=row["score"][name],
                other_score=_other(row, others, name),
                choosing=row["choosing"][name] if key == "delivered" else row["score"][name],
                kind=(row["readout"] or {}).get("kind", "none") if key == "delivered" else None,
                by_kind=_by_kind(row, others) if key == "delivered" else {},
            )
        )
    return tuple(sorted(points, key=lambda point: point.step))


def _by_kind(row: dict[str, Any], others: list[str]) -> dict[str, tuple[float, float | None]]:
    kinds = [name for name, value in row["score"].items() if name != "readout" and value is not None]
    return {name: (row["score"][name], _other(row, others, name)) for name in kinds}


def _other(row: dict[str, Any], others: list[str], name: str) -> float | None:
    """Mean over the sets ``others``."""
    found = [row["scores"].get(one, {}).get(name) for one in others]
    return mean(found) if found and None not in found else None


def kept(curve: Sequence[Point], keep: Keep) -> Point:
    """The last evaluation, or the best one, the earliest of equal ones."""
    return curve[-1] if keep == "last" else max(curve, key=lambda point: (point.choosing, -point.step))


def reached(curve: Sequence[Point], score: float, keep: Keep) -> Point | None:
    """The evaluation from which a curve has ``score``: the first one, under ``keep: last`` for good; None: never."""
    has = [point.score >= score - _SAME for point in curve]
    if keep == "best":
        return next((point for point, there in zip(curve, has, strict=True) if there), None)
    below = [i for i, there in enumerate(has) if not there]
    start = below[-1] + 1 if below else 0
    return curve[start] if start < len(curve) else None
