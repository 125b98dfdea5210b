"""How soon a row is at a share of LoRA's best score, beside LoRA itself: one sentence. No torch."""

from math import inf

from transferkit.convergence.comparison import Cell, Comparison, Crossing, Row
from transferkit.convergence.differences import doubts
from transferkit.report.formats import count, level, score, seconds


def speed(row: Row, comparison: Comparison) -> str:
    """The highest target that the row reaches, and what the reference needs for it: one sentence."""
    reached = [crossing for crossing in row.crossings if crossing.cost["steps"].value is not None]
    if not reached:
        lowest = comparison.targets[0]
        return (
            f"It does not reach {level(lowest.fraction)} of LoRA's best ({score(lowest.score)}) "
            f"in the {count(row.series.last_step)} steps that were run."
        )
    crossing = reached[-1]
    target = crossing.target
    theirs = _soonest(comparison, crossing)
    sentence = f"It reaches {level(target.fraction)} of LoRA's best ({score(target.score)}) "
    sentence += _after(crossing.cost, row, target.score, timed=row.timed)
    if len(reached) < len(row.crossings):
        missed = row.crossings[len(reached)].target
        sentence += f", but not {level(missed.fraction)} ({score(missed.score)})"
    if theirs is None:
        return sentence + "; LoRA's median over seeds does not reach that score."
    which = ", in whichever readout is sooner," if _has_two_readouts(comparison) else ""
    there = _after(target.cost, theirs, target.score, timed=row.timed)
    times = _times(crossing)
    doubt = _doubt_in_steps(row, theirs, target.score) if times else ""
    return f"{sentence}; LoRA{which} is there {there}{times}{doubt}."


def _doubt_in_steps(row: Row, reference: Row, score: float) -> str:
    """Why it decides nothing that one is at a score sooner than the other; empty where it does."""

    def steps(one: Row) -> list[float]:
        return [inf if point is None else point.step for point in one.series.reached(score)]

    few, overlap = doubts(row, reference, of=steps)
    if few:
        return ", by fewer than three seeds, so it is open"
    return ", but the seeds overlap, so it is open" if overlap else ""


def _soonest(comparison: Comparison, crossing: Crossing) -> Row | None:
    """The reference in the readout that needs the fewest steps for a target; None where neither reaches it."""
    wanted = crossing.target.cost["steps"].value
    assert comparison.reference is not None
    for row in comparison.rows:
        if row.series.label == comparison.reference.series.label and wanted is not None:
            (mine,) = (one for one in row.crossings if one.target == crossing.target)
            if mine.cost["steps"].value == wanted:
                return row
    return None


def _has_two_readouts(comparison: Comparison) -> bool:
    """Whether the reference's runs stand in the table with and without readout."""
    labels = [row.series.label for row in comparison.rows]
    return comparison.reference is not None and labels.count(comparison.reference.series.label) > 1


def _after(cost: dict[str, Cell], row: Row, target: float, *, timed: bool) -> str:
    """When a row is at a score: the median, and each seed where there are several."""
    steps, took = cost["steps"].value, cost["seconds"].value
    when = "at step 0" if steps == 0 else f"after {count(steps)} steps"
    each = [None if point is None else point.step for point in row.series.reached(target)]
    details = []
    if len(set(each)) > 1:
        details.append(f"by seed {', '.join('never' if step is None else count(step) for step in each)}")
    if timed and took is not None:
        details.append(f"{seconds(took)} s")
    return f"{when} ({'; '.join(details)})" if details else when


def _times(crossing: Crossing) -> str:
    """How much sooner the row is there than the reference, or later; nothing where neither took a step."""
    if crossing.cost["steps"].value == crossing.target.cost["steps"].value == 0:
        return ""
    parts = [
        f"{max(value, 1 / value):.1f} times {'fewer' if value > 1 else 'as many'} {unit}"
        for unit in ("steps", "seconds")
        if (value := crossing.speedup[unit].value) is not None and f"{max(value, 1 / value):.1f}" != "1.0"
    ]
    return f": transfer needs {' and '.join(parts)}" if parts else ""
