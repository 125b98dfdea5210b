"""Run records -> convergence table: what every method needs to reach LoRA's best score. No torch."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from transferkit.convergence.caveats import comparison_notes, seconds_compare
from transferkit.convergence.comparable import check_comparable, run_id, with_target
from transferkit.convergence.curve import Point, selecting_sets
from transferkit.convergence.series import (
    KIND_NAMES,
    READOUT_NAMES,
    Series,
    build_series,
)
from transferkit.errors import ConfigError
from transferkit.runs.folder import Run

# Fewer decide nothing: of two equal methods one has both seeds above the other's in a third of all cases.
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class Cell:
    """A number, or a bound where there is none: what was run (lower bound) or a speed-up's upper bound."""

    value: float | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Target:
    """A share of the reference's best score, the score that it asks for in percent, and what the reference needs."""

    fraction: float
    score: float
    cost: dict[str, Cell]  # by measure, each the lowest over the readouts of the reference's runs


@dataclass(frozen=True)
class Crossing:
    """Cost of reaching one target (median over seeds, a seed that never does counts as endless)."""

    target: Target
    cost: dict[str, Cell]  # by measure; a bound is a lower one
    speedup: dict[str, Cell]  # steps and seconds of the target's cost over the row's; a bound is an upper one


@dataclass(frozen=True)
class Row:
    """One group with one readout; medians over its seeds.

    Best is the evaluation that a run keeps by this readout's scores (``eval.keep``): the checkpoint's own where the
    readout is the recipe's.
    """

    series: Series
    seeds: int
    trainable: int
    readout: str  # in words; that of the checkpoints, where it was chosen
    by_kind: dict[str, tuple[float, float | None]]  # of the kept evaluation: score and other sets' with each readout
    initial: float | None  # score at step 0
    best: float
    best_low: float
    best_high: float
    choosing: float  # of the same evaluation, on the rows that chose it
    best_step: float
    kept: bool  # whether that is what the checkpoints of all its runs are, readout and variant included
    last: float  # score of the last evaluation, which nothing chose
    share: float | None  # percent of the reference's best
    other: float | None  # at each seed's best step, mean over the dev sets that select nothing
    crossings: tuple[Crossing, ...]
    timed: bool  # whether its seconds say something beside the reference's (see :func:`caveats.seconds_compare`)
    peak_memory_bytes: float | None
    unfinished: tuple[str, ...]  # run ids


@dataclass(frozen=True)
class Comparison:
    """The convergence table and what it was made from."""

    rows: tuple[Row, ...]
    reference: Row | None  # None without a LoRA run; then there are no targets
    targets: tuple[Target, ...]
    selecting: tuple[str, ...]  # dev sets whose mean is the score
    others: tuple[str, ...]
    notes: tuple[str, ...]
    runs: tuple[Run, ...]


def compare(
    runs: list[Run], *, targets: Iterable[float] = (0.90, 0.95, 0.98, 1.00), allow_unfinished: bool = False
) -> Comparison:
    """The convergence table of ``runs``; ``targets`` are shares of the best LoRA row's best score.

    The reference is the LoRA row (QLoRA where no LoRA was run) whose kept evaluation chose best in the median over its
    seeds; runs from before readouts were chosen stand in two rows, plain and with readout. What it needs for a target
    is read from whichever of its rows is there at the lowest cost: a row that is read with a readout must not win by
    the readout alone.

    Raises:
        ConfigError: a target outside (0, 2], or runs that cannot be compared (see :func:`check_comparable`).
    """
    fractions = sorted(set(targets))
    for fraction in fractions:
        if not 0 < fraction <= 2:
            raise ConfigError(f"compare: targets: expected shares above 0 and up to 2 (0.95 is 95 %), got {fraction!r}")
    check_comparable(runs, allow_unfinished=allow_unfinished)
    ordered = tuple(sorted(runs, key=run_id))
    series = build_series(ordered)
    best_lora = _reference(series)
    levels: tuple[Target, ...] = ()
    if best_lora is not None:
        readouts = [one for one in series if (one.method, one.label) == (best_lora.method, best_lora.label)]
        levels = tuple(_target(f, f * _best(best_lora), readouts) for f in fractions)
    rows = tuple(_row(one, reference=best_lora, targets=levels) for one in series)
    return Comparison(
        rows=rows,
        reference=next((row for row in rows if row.series is best_lora), None),
        targets=levels,
        selecting=tuple(selecting_sets(ordered[0], select=True)),
        others=tuple(selecting_sets(ordered[0], select=False)),
        notes=comparison_notes(series),
        runs=ordered,
    )


def decoders(comparison: Comparison) -> list[str]:
    """Names of the decoders that embed in these runs; rows that use none have no part in it."""
    return sorted({run.record["backbone"]["name"] for run in with_target(comparison.runs)})


def scored_rows(comparison: Comparison, name: str) -> int | None:
    """How many rows of a dev set are in its scores; None where the records are older than that."""
    found: list[int | None] = [
        one.get("reported_rows") for one in comparison.runs[0].record["data"]["dev"] if one["name"] == name
    ]
    return next(iter(found), None)


def best_up_to(series: Series, step: int) -> float:
    """Median over seeds of the score that a row would show if its runs had ended at ``step``."""
    return median(point.score for point in series.kept(up_to=step))


def _reference(series: list[Series]) -> Series | None:
    """The best LoRA series; of equal ones the one that is there sooner, which is the stricter."""
    for method in ("lora", "qlora"):
        candidates = [one for one in series if one.method == method]
        if candidates:
            return max(candidates, key=lambda one: (_choosing(one), -_best_step(one)))
    return None


def _best(series: Series) -> float:
    return median(point.score for point in series.kept())


def _choosing(series: Series) -> float:
    return median(point.choosing for point in series.kept())


def _best_step(series: Series) -> float:
    return median(point.step for point in series.kept())


def _target(fraction: float, score: float, readouts: list[Series]) -> Target:
    cost = {measure: _lowest([_cost(one, score, read) for one in readouts]) for measure, read in _READ.items()}
    return Target(fraction=fraction, score=score, cost=cost)


def _lowest(cells: list[Cell]) -> Cell:
    """The lowest value, or the lowest bound where there is no value."""
    values = [cell.value for cell in cells if cell.value is not None]
    bounds = [cell.bound for cell in cells if cell.bound is not None]
    return Cell(value=min(values)) if values else Cell(bound=min(bounds, default=None))


def _row(series: Series, *, reference: Series | None, targets: tuple[Target, ...]) -> Row:
    timed = reference is not None and seconds_compare([series, reference])
    best = series.kept()
    scores = [point.score for point in best]
    return Row(
        series=series,
        seeds=len({run.record["seed"] for run in series.runs}),
        trainable=series.runs[0].record["parameters"]["trainable"],
        readout=_readout_in_words(series, best),
        by_kind=_by_kind(best),
        initial=_median(curve[0].score if curve[0].step == 0 else None for curve in series.curves),
        best=median(scores),
        best_low=min(scores),
        best_high=max(scores),
        choosing=_choosing(series),
        best_step=_best_step(series),
        kept=series.is_delivered,
        last=median(curve[-1].score for curve in series.curves),
        share=None if reference is None else 100 * median(scores) / _best(reference),
        other=_median(point.other_score for point in best),
        crossings=tuple(_crossing(series, target, timed=timed) for target in targets),
        timed=timed,
        peak_memory_bytes=_median(_peak_memory_bytes(run) for run in series.runs),
        unfinished=tuple(run_id(run) for run in series.runs if run.record["status"] != "done"),
    )


def _readout_in_words(series: Series, best: list[Point]) -> str:
    if series.readout != "delivered":
        return READOUT_NAMES[series.readout]
    return " or ".join(dict.fromkeys(KIND_NAMES[str(point.kind)] for point in best))


def _by_kind(best: list[Point]) -> dict[str, tuple[float, float | None]]:
    """Medians over the runs."""
    shared = [kind for kind in best[0].by_kind if all(kind in point.by_kind for point in best)]
    return {
        kind: (median(point.by_kind[kind][0] for point in best), _median(point.by_kind[kind][1] for point in best))
        for kind in shared
    }


def _peak_memory_bytes(run: Run) -> float | None:
    """The record's figure; of an unfinished run, which has none yet, that of its last evaluation."""
    recorded = run.record.get("peak_memory_bytes")
    return recorded if recorded is not None else run.metrics[-1].get("peak_memory_bytes")


def _median(values: Iterable[float | None]) -> float | None:
    """Median, or None where one value is unknown."""
    known = list(values)
    return None if any(value is None for value in known) else median(v for v in known if v is not None)


def _crossing(series: Series, target: Target, *, timed: bool) -> Crossing:
    cost = {measure: _cost(series, target.score, read) for measure, read in _READ.items()}
    speedup = {measure: _speedup(cost[measure], target.cost[measure]) for measure in ("steps", "seconds")}
    if not timed:
        speedup["seconds"] = Cell()
    return Crossing(target=target, cost=cost, speedup=speedup)


_READ: dict[str, Callable[[Point], float | None]] = {
    "steps": lambda point: point.step,
    "examples": lambda point: point.examples,
    "tokens": lambda point: point.tokens,
    "seconds": lambda point: point.seconds,
}


def _cost(series: Series, score: float, read: Callable[[Point], float | None]) -> Cell:
    """Median over seeds of what ``read`` says at the evaluation from which a run has ``score``.

    Where half of the seeds or more never reach it the median is unknown. Its lower bound counts those seeds
    with what they ran; a method that trains nothing has none.
    """
    needed: list[float] = []
    at_least: list[float] = []
    for curve, hit in zip(series.curves, series.reached(score), strict=True):
        value = read(hit if hit is not None else curve[-1])
        if value is None:
            return Cell()
        needed.append(math.inf if hit is None else value)
        at_least.append(value)
    middle = median(needed)
    if math.isfinite(middle):
        return Cell(value=middle)
    return Cell(bound=median(at_least) if series.last_step > 0 else None)


def _speedup(mine: Cell, theirs: Cell) -> Cell:
    """Reference's cost over the row's; where the row only has a lower bound, that gives an upper one.

    Nothing is said where the reference does not reach the target, or where the row stands there at no cost.
    """
    if not theirs.value:
        return Cell()
    if mine.value is not None:
        return Cell(value=theirs.value / mine.value if mine.value > 0 else None)
    return Cell(bound=theirs.value / mine.bound if mine.bound else None)
