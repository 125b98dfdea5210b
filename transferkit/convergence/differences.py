"""Which rows are held against which, and whether what they differ by is decided or open. No torch.

:func:`doubts` is the rule, for scores and for steps; the sentences above a table and the table of differences ask it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, median
from typing import Any

import numpy as np

from transferkit.config.methods import all_methods
from transferkit.convergence.comparison import ENOUGH_SEEDS, Comparison, Row
from transferkit.convergence.curve import selecting_sets
from transferkit.convergence.series import source_of
from transferkit.report.formats import signed
from transferkit.report.intervals import DRAWS, LEVEL, Interval, Part, Samples, drawn_differences, interval
from transferkit.report.raw import number
from transferkit.report.view import View

LABEL_FREE = "label-free"  # the end of a run's own label, where its transfer learned from texts alone
SAME_POINTS = 0.05  # less than this prints as 0.0
_TRANSFER = "transfer"
_ANCHORS = (_TRANSFER, "lora")  # against these all are held
_BY_ROWS = (
    f"By rows: where {LEVEL} % of {DRAWS:,} paired bootstrap draws of the dev sets' rows lie, of the mean over the "
    "seeds that both have; for runs that keep what each row came to, with dev sets of which every row counts by itself."
)


@dataclass(frozen=True)
class Difference:
    """What a row has over another one, in points.

    Attributes:
        gap: of the medians over seeds.
        by_seed: seed -> what it differs by, of the seeds that both have.
        few: of the two rows, those with too few seeds.
        overlap: whether their ranges over seeds do.
        interval: of the mean over the seeds that both have, by the choice of the dev rows; None where a run does not
            say what each row came to, or is not the checkpoint of its row.
    """

    row: Row
    against: Row
    gap: float
    by_seed: Mapping[int, float]
    few: tuple[Row, ...]
    overlap: bool
    interval: Interval | None = None

    @property
    def decided(self) -> bool:
        """Whether it would take more than another seed to turn it round."""
        return not self.few and not self.overlap

    @property
    def verdict(self) -> str:
        """In words; of what the ranges leave open also whether every seed says the same."""
        if self.few:
            return "open, fewer than three seeds"
        if not self.overlap:
            return "decided"
        gaps = self.by_seed.values()
        if len(gaps) >= ENOUGH_SEEDS:
            if min(gaps) >= SAME_POINTS:
                return "open, above in every seed"
            if max(gaps) <= -SAME_POINTS:
                return "open, below in every seed"
        return "open"


def difference(row: Row, against: Row, *, elsewhere: bool = False) -> Difference | None:
    """Of the two rows' scores, or those on the sets that choose nothing; None where one has none."""

    def scores(one: Row) -> list[float]:
        found = [point.other_score if elsewhere else point.score for point in one.series.kept()]
        return [score for score in found if score is not None]

    mine, theirs = scores(row), scores(against)
    if len(mine) < len(row.series.runs) or len(theirs) < len(against.series.runs):
        return None
    few, overlap = doubts(row, against, of=scores)
    first, second = _by_seed(row, mine), _by_seed(against, theirs)
    if not hangs_on_seeds(against) and len(theirs) == 1:
        second = dict.fromkeys(first, theirs[0])
    elif not hangs_on_seeds(row) and len(mine) == 1:
        first = dict.fromkeys(second, mine[0])
    shared = {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}
    found = None if elsewhere else _interval(row, against, shared)
    return Difference(row, against, median(mine) - median(theirs), shared, few, overlap, found)


def _interval(row: Row, against: Row, shared: Mapping[int, float]) -> Interval | None:
    """The rows of the dev sets are drawn with replacement, the same ones for both and for every seed."""
    if not shared or not (row.kept and against.kept):
        return None
    drawn = [
        drawn_differences("dev", *samples)
        for seed in shared
        if (samples := tuple(_samples(one, seed) for one in (row, against))) and None not in samples
    ]
    draws = [one for one in drawn if one is not None]
    return interval(mean(shared.values()), np.mean(draws, axis=0)) if len(draws) == len(shared) else None


def _samples(row: Row, seed: int) -> Samples | None:
    """What the reported rows of all sets that may select came to in its run of that seed, or in its only one."""
    runs = row.series.runs
    run = runs[0] if len(runs) == 1 else next(one for one in runs if one.record["seed"] == seed)
    names = selecting_sets(run, select=True)
    if any(name not in run.outcomes for name in names):
        return None
    sets = [run.outcomes[name] for name in names]
    return tuple(Part(tuple(one["values"]), None if one["gold"] is None else tuple(one["gold"])) for one in sets)


def doubts(one: Row, other: Row, *, of: Callable[[Row], Sequence[float]]) -> tuple[tuple[Row, ...], bool]:
    """Why a difference is open: rows with fewer than three seeds that hang on them, and whether the ranges overlap.

    Args:
        one: a row.
        other: another one.
        of: what they differ in, a number for each of a row's runs.
    """
    few = tuple(row for row in (one, other) if row.seeds < ENOUGH_SEEDS and hangs_on_seeds(row))
    mine, theirs = of(one), of(other)
    return few, min(mine) <= max(theirs) and min(theirs) <= max(mine)


def hangs_on_seeds(row: Row) -> bool:
    """Whether another seed could give another score.

    What learns nothing and starts from no source is one fixed number, but for a fitted readout: the seed draws the
    texts that it is fitted on.
    """
    facts = all_methods().get(row.series.method)
    if facts is None or facts.learns or facts.needs_source:
        return True
    if row.series.readout == "delivered":
        return any(point.kind != "none" for point in row.series.kept())
    return row.series.readout != "plain"


def _by_seed(row: Row, values: Sequence[float]) -> dict[int, float]:
    return {int(run.record["seed"]): value for run, value in zip(row.series.runs, values, strict=True)}


# Which rows


def best_transfer(comparison: Comparison, *, label_free: bool | None = None) -> Row | None:
    """The best transfer row; of rows with fewer seeds than others the best one is rather the luckiest.

    Args:
        comparison: where it stands.
        label_free: learned from texts alone, or not; None: either.
    """
    found = [row for row in rows_of(comparison, _TRANSFER) if label_free in (None, _is_label_free(row))]
    known = max((min(row.seeds, ENOUGH_SEEDS) for row in found), default=0)
    return max((row for row in found if row.seeds >= known), key=_choosing, default=None)


def best_row(comparison: Comparison, method: str, *, source: str | None = None) -> Row | None:
    """The best row of a method over its groups and readouts, as good as it comes; with ``source``, of no other one."""
    rows = [row for row in rows_of(comparison, method) if source is None or source_in(row) in (None, source)]
    return max(rows, key=_choosing, default=None)


def rows_of(comparison: Comparison, method: str) -> list[Row]:
    """Its rows, in the table's order."""
    return [row for row in comparison.rows if row.series.method == method]


def source_in(row: Row) -> str | None:
    """What its runs started from."""
    return source_of(row.series.runs[0])


def full_name(row: Row) -> str:
    """Of a row in a sentence: with its readout."""
    return f"{row.series.name}, {row.readout}"


def _choosing(row: Row) -> float:
    return row.choosing


def _is_label_free(row: Row) -> bool:
    return str(row.series.runs[0].record["label"]).endswith(LABEL_FREE)


def compared(comparison: Comparison) -> list[tuple[Row, Row]]:
    """Pairs of rows: the best transfer row, the best label-free one and LoRA's, each with the best of every method."""
    carried = [best_transfer(comparison, label_free=one) for one in (False, True)]
    anchors = [row for row in (*carried, comparison.reference) if row is not None]
    source = next((source_in(row) for row in carried if row is not None), None)
    methods = dict.fromkeys(row.series.method for row in comparison.rows if row.series.method not in _ANCHORS)
    others = [best_row(comparison, method, source=source) for method in methods]
    rows = list({id(row): row for row in (*anchors, *others) if row is not None}.values())
    return [(one, other) for one, other in combinations(rows, 2) if any(one is anchor for anchor in anchors)]


# The table


def differences_view(comparison: Comparison) -> View | None:
    """Each pair's differences; None where there is none. Too wide for a terminal."""
    pairs = compared(comparison)
    if not pairs:
        return None
    found = [difference(one, other) for one, other in pairs]
    drawn, both = any(one is not None and one.interval is not None for one in found), bool(comparison.others)
    header = ("Row", "Against", "Score", "Verdict", "By seed", *(["By rows"] if drawn else []))
    return View(
        title="Differences",
        header=(*header, "Other sets", "Verdict there", "By seed there") if both else header,
        rows=tuple(
            (
                full_name(one),
                full_name(other),
                *_cells(between),
                *([_in_words(between)] if drawn else []),
                *(_cells(difference(one, other, elsewhere=True)) if both else ()),
            )
            for (one, other), between in zip(pairs, found, strict=True)
        ),
        caption="Points of the row over the one that it is held against, by their medians; of each method the row that "
        "chose best. Decided: three seeds or more of both, and all of one above all of the other. Else open, and said "
        "where it is above or below in every seed. What learns nothing and has no fitted readout is one number, "
        "whatever the seed." + (f" {_BY_ROWS}" if drawn else ""),
        wrapping=("Against",),
        in_terminal=False,
    )


def _in_words(found: Difference | None) -> str:
    if found is None or found.interval is None:
        return ""
    return f"{signed(found.interval.low)} to {signed(found.interval.high)}"


def _cells(found: Difference | None) -> tuple[str, str, str]:
    if found is None:
        return "", "", ""
    by_seed = list(found.by_seed.values())
    return signed(found.gap), found.verdict, ", ".join(map(signed, by_seed)) if len(by_seed) > 1 else ""


def flat_differences(comparison: Comparison) -> list[dict[str, Any]]:
    """The same as mappings with raw numbers, for JSON."""
    return [
        {
            "row": full_name(one),
            "against": full_name(other),
            **_flat("score", difference(one, other)),
            **_flat("other_sets", difference(one, other, elsewhere=True)),
        }
        for one, other in compared(comparison)
    ]


def _flat(name: str, found: Difference | None) -> dict[str, Any]:
    if found is None:
        return {name: None, f"{name}_verdict": None, f"{name}_by_seed": {}}
    by_seed = {str(seed): number(gap) for seed, gap in found.by_seed.items()}
    flat = {name: number(found.gap), f"{name}_verdict": found.verdict, f"{name}_by_seed": by_seed}
    if found.interval is not None:
        flat |= {f"{name}_low": number(found.interval.low), f"{name}_high": number(found.interval.high)}
    return flat
