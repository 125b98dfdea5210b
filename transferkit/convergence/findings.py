"""Convergence table -> plain sentences on what was seen, every number taken from the table. No torch."""

from transferkit.convergence.comparison import Comparison, Crossing, Row, best_up_to
from transferkit.convergence.formats import READOUT_NAMES, count, level, percent, points, score, seconds
from transferkit.convergence.series import source_of

_SAME_POINTS = 0.05  # less than this prints as 0.0


def findings(comparison: Comparison) -> list[str]:
    """Sentences, the most important first."""
    sentences = [_reference(comparison)]
    transfer = _best(comparison, "transfer")
    if transfer is None:
        return [
            *sentences,
            "There is no transfer run among these runs, so nothing is said about a carried skill.",
        ]
    sentences.append(_transfer(transfer, comparison))
    if comparison.targets:
        sentences.append(_speed(transfer, comparison))
    sentences.append(_rival(transfer, comparison, "prompt-tuning"))
    sentences.append(_rival(transfer, comparison, "prompting-llm-alone"))
    sentences.extend(_floors(transfer, comparison))
    sentences.extend(_elsewhere(transfer, comparison))
    sentences.append(_seeds(comparison))
    return [sentence for sentence in sentences if sentence]


def _reference(comparison: Comparison) -> str:
    reference = comparison.reference
    if reference is None:
        return (
            "There is no LoRA run among these runs, so there are no targets and no speed-ups: "
            "the table shows best scores only."
        )
    return (
        f"The reference is {_name(reference)}: its best score is {_median_of(reference)}, "
        f"reached after {count(reference.best_step)} steps."
    )


def _transfer(row: Row, comparison: Comparison) -> str:
    at = "at step 0" if row.best_step == 0 else f"after {count(row.best_step)} of {count(row.series.last_step)} steps"
    share = f", {percent(row.share)} of LoRA's best" if row.share is not None else ""
    more = sum(one.series.method == "transfer" for one in comparison.rows) > 1
    who = "The best transfer row" if more else "The transfer row"
    trained = f"with {count(row.trainable)} trained numbers"
    return f"{who}, {_name(row)}, scores {_median_of(row)}{share}, {at}, {trained}."


def _speed(row: Row, comparison: Comparison) -> str:
    """The highest target that the row reaches, and what the reference needs for it."""
    reached = [crossing for crossing in row.crossings if crossing.cost["steps"].value is not None]
    if not reached:
        lowest = comparison.targets[0]
        return (
            f"It does not reach {level(lowest.fraction)} of LoRA's best ({score(lowest.score)}) "
            f"in the {count(row.series.last_step)} steps that were run."
        )
    crossing = reached[-1]
    target = crossing.target
    sentence = f"It reaches {level(target.fraction)} of LoRA's best ({score(target.score)}) {_after(crossing)}"
    if len(reached) < len(row.crossings):
        missed = row.crossings[len(reached)].target
        sentence += f", but not {level(missed.fraction)} ({score(missed.score)})"
    reference = next(c for c in _crossings(comparison.reference) if c.target == target)
    if reference.cost["steps"].value is None:
        return sentence + "; LoRA's median over seeds does not reach that score."
    return f"{sentence}; LoRA is there {_after(reference)}{_times(crossing)}."


def _crossings(row: Row | None) -> tuple[Crossing, ...]:
    return row.crossings if row is not None else ()


def _after(crossing: Crossing) -> str:
    steps, took = crossing.cost["steps"].value, crossing.cost["seconds"].value
    when = "at step 0" if steps == 0 else f"after {count(steps)} steps"
    return f"{when} ({seconds(took)} s)" if took is not None else when


def _times(crossing: Crossing) -> str:
    """How much sooner the row is there than the reference, or later."""
    parts = [
        f"{max(value, 1 / value):.1f} times {'fewer' if value > 1 else 'as many'} {unit}"
        for unit in ("steps", "seconds")
        if (value := crossing.speedup[unit].value) is not None and f"{max(value, 1 / value):.1f}" != "1.0"
    ]
    return f": transfer needs {' and '.join(parts)}" if parts else ""


_RIVALS = {
    "prompt-tuning": (
        "prompt tuning",
        "the carried skill is worth more than free vectors trained from scratch",
        "the carried skill is worth no more than free vectors trained from scratch",
    ),
    "prompting-llm-alone": (
        "the Prompting LLM alone",
        "the backbone adds to what the Prompting LLM knows by itself",
        "the Prompting LLM would do as well without the backbone",
    ),
}


def _rival(row: Row, comparison: Comparison, method: str) -> str:
    """Transfer against a rival's best row, plain or with readout, and at equal steps where both train."""
    name, meaning_if_better, meaning_if_not = _RIVALS[method]
    rival = _best(comparison, method, source=_source(row))
    if rival is None:
        of_this_source = " of the same source" if _best(comparison, method) is not None else ""
        return f"No run of {name}{of_this_source} is among these runs, so it is open whether transfer beats it."
    gap = row.best - rival.best
    meaning = meaning_if_better if gap >= _SAME_POINTS else meaning_if_not
    sentence = f"Transfer {_against(gap, name)} (best row: {_name(rival)}, {score(rival.best)}): {meaning}"
    if gap >= _SAME_POINTS and _overlap(row, rival):
        sentence += ", though the ranges over seeds overlap"
    shorter = min(row.series.last_step, rival.series.last_step)
    if 0 < shorter < max(row.series.last_step, rival.series.last_step):
        mine, theirs = best_up_to(row.series, shorter), best_up_to(rival.series, shorter)
        sentence += f". Up to step {count(shorter)}, which both ran, transfer scores {score(mine)}"
        sentence += f" and {name} {score(theirs)}"
    return sentence + "."


def _against(gap: float, name: str) -> str:
    if abs(gap) < _SAME_POINTS:
        return f"is level with {name}"
    return f"{'beats' if gap > 0 else 'loses to'} {name} by {points(abs(gap))}"


def _floors(row: Row, comparison: Comparison) -> list[str]:
    parts = []
    for method, name in (("frozen", "the best frozen backbone"), ("tfidf", "TF-IDF")):
        floor = _best(comparison, method)
        if floor is None:
            continue
        gap = row.best - floor.best
        place = "level with" if abs(gap) < _SAME_POINTS else f"{points(abs(gap))} {'above' if gap > 0 else 'below'}"
        parts.append(f"{place} {name} ({_name(floor)}: {score(floor.best)})")
    return [f"Transfer stands {' and '.join(parts)}."] if parts else []


def _elsewhere(row: Row, comparison: Comparison) -> list[str]:
    """The dev sets that select nothing: is what was learned good outside the sets that chose the step?"""
    reference = comparison.reference
    if row.other is None or not comparison.others:
        return []
    compared = ""
    if reference is not None and reference.other is not None:
        compared = f"; LoRA's reference row scores {score(reference.other)} there"
    where = f"On the dev sets that choose nothing ({', '.join(comparison.others)})"
    return [f"{where} it scores {score(row.other)}{compared}."]


def _seeds(comparison: Comparison) -> str:
    single = [row for row in comparison.rows if row.seeds == 1 and row.series.last_step > 0]
    if not single:
        return ""
    return "Rows with one seed have no range: take differences of a point or two between them as open."


def _best(comparison: Comparison, method: str, *, source: str | None = None) -> Row | None:
    """The best row of a method over its groups and readouts; with ``source``, of no other source run."""
    rows = [
        row
        for row in comparison.rows
        if row.series.method == method and (source is None or _source(row) in (None, source))
    ]
    return max(rows, key=lambda row: row.best) if rows else None


def _source(row: Row) -> str | None:
    return source_of(row.series.runs[0])


def _overlap(one: Row, other: Row) -> bool:
    return one.best_low <= other.best_high and other.best_low <= one.best_high


def _name(row: Row) -> str:
    return f"{row.series.name}, {READOUT_NAMES[row.series.readout]}"


def _median_of(row: Row) -> str:
    if row.seeds < 2:
        return f"{score(row.best)} (one seed)" if row.series.last_step > 0 else score(row.best)
    return f"{score(row.best)} (median of {row.seeds} seeds, {score(row.best_low)} to {score(row.best_high)})"
