"""Convergence table -> plain sentences on what was seen, every number taken from the table. No torch."""

from math import ceil, inf, sqrt
from statistics import median
from typing import Any

from transferkit.convergence.comparison import Comparison, Row, best_up_to
from transferkit.convergence.differences import (
    SAME_POINTS,
    Difference,
    best_row,
    best_transfer,
    difference,
    full_name,
    source_in,
)
from transferkit.convergence.speed import speed
from transferkit.report.formats import count, percent, points, score, seconds, signed


def findings(comparison: Comparison) -> list[str]:
    """Sentences, the most important first."""
    sentences = [_reference(comparison)]
    transfer = best_transfer(comparison)
    if transfer is None:
        return [
            *sentences,
            "There is no transfer run among these runs, so nothing is said about a carried skill.",
        ]
    sentences.insert(0, _in_short(transfer, comparison))
    sentences.append(_transfer(transfer, comparison))
    if comparison.targets:
        sentences.append(speed(transfer, comparison))
    sentences.append(_rival(transfer, comparison, "prompt-tuning"))
    sentences.append(_rival(transfer, comparison, "prompting-llm-alone"))
    sentences.extend(_floors(transfer, comparison))
    sentences.extend(_source_cost(transfer, comparison))
    sentences.extend(_elsewhere(transfer, comparison))
    sentences.append(_seeds(comparison))
    return [sentence for sentence in sentences if sentence]


_NO_LESSONS = ("frozen", "tfidf", "encoder", "prompting-llm-alone")  # rows that learn nothing on this decoder


def _in_short(row: Row, comparison: Comparison) -> str:
    """Whether the transfer was worth it, against what learns nothing, then against LoRA."""
    floors = [floor for method in _NO_LESSONS if (floor := best_row(comparison, method)) is not None]
    highest = max(floors, key=lambda one: one.best, default=None)
    if highest is not None and highest.best > row.best - SAME_POINTS:
        found = _from(row, highest)
        return (
            f"In short: not shown to be worth it. {full_name(highest)} learns nothing on this decoder and scores "
            f"{score(highest.best)}, transfer {score(row.best)} ({found.verdict})."
        )
    above = "it is above all that learns nothing here" if floors else "no row that learns nothing is among these runs"
    if highest is not None:
        above += f", by {points(_from(row, highest).gap)} ({_from(row, highest).verdict})"
    reference = comparison.reference
    if reference is None:
        return f"In short: transfer scores {score(row.best)}; {above}."
    found, learned = _from(row, reference), f"{count(row.trainable)} trained numbers for {count(reference.trainable)}"
    return f"In short: transfer stands {_apart(found.gap, 'LoRA')} ({found.verdict}), with {learned}; {above}."


def _source_cost(row: Row, comparison: Comparison) -> list[str]:
    """What the training of its source is worth a target, where the records say how long it took."""
    took = [(run.record["source"] or {}).get("train_seconds") for run in row.series.runs]
    known = [value for value in took if value is not None]
    if len(known) < len(took):
        return []
    source, own = median(known), median(curve[-1].seconds for curve in row.series.curves)
    spread = ", ".join(f"{seconds(source / targets)} s" for targets in (1, 3, 10))
    sentence = (
        f"Its source was trained once, in {seconds(source)} s by its own record: spread over 1, 3 and 10 targets "
        f"{spread} each, beside the {seconds(own)} s of adapting here"
    )
    if (reference := comparison.reference) is not None and row.timed:
        theirs = median(curve[-1].seconds for curve in reference.series.curves)
        if theirs > own:
            targets = ceil(source / (theirs - own))
            sentence += f"; LoRA took {seconds(theirs)} s here, so from {count(targets)} targets on transfer takes less"
        else:
            sentence += f"; LoRA took {seconds(theirs)} s here, so transfer never takes less"
    return [sentence + "."]


def _reference(comparison: Comparison) -> str:
    reference = comparison.reference
    if reference is None:
        return (
            "There is no LoRA run among these runs, so there are no targets and no speed-ups: "
            "the table shows best scores only."
        )
    what = "its last score" if reference.series.keep == "last" else "its best score"
    sentence = f"The reference is {full_name(reference)}: {what} is {_median_of(reference)}, reached {_at(reference)}"
    if _still_rising(reference):
        who = (
            "it is best where it ends"
            if len(reference.series.runs) == 1
            else "at least half of its runs are best at their end"
        )
        sentence += f"; {who}, so it might rise further with more steps, and all targets with it"
    return sentence + "."


def _still_rising(row: Row) -> bool:
    """Whether half of the seeds or more score higher at their last evaluation than at all before."""
    highest_last = [
        curve[-1].score > max((point.score for point in curve[:-1]), default=inf) for curve in row.series.curves
    ]
    return row.series.last_step > 0 and median(highest_last) > 0


def _at(row: Row) -> str:
    """The step that a row stands with, of those that it ran."""
    if row.best_step == 0:
        return "at step 0"
    return f"after {count(row.best_step)} of {count(row.series.last_step)} steps"


def _transfer(row: Row, comparison: Comparison) -> str:
    reference, share = comparison.reference, ""
    if reference is not None:
        share = f", {percent(row.share)} of LoRA's best ({_from(row, reference).verdict})"
    more = sum(one.series.method == "transfer" for one in comparison.rows) > 1
    who = "The best transfer row" if more else "The transfer row"
    trained = f"with {count(row.trainable)} trained numbers"
    return f"{who}, {full_name(row)}, scores {_median_of(row)}{share}, {_at(row)}, {trained}."


_RIVALS = {  # method -> its name, what a transfer that beats it shows, and one that does not
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
    """Transfer against a rival's best row, plain or with readout, and at equal steps where both train.

    What that shows is said where both have three seeds or more and all of one score above all of the other. Where
    runs of one seed share their source and their texts, their differences are given one by one.
    """
    name, meaning_if_better, meaning_if_not = _RIVALS[method]
    rival = best_row(comparison, method, source=source_in(row))
    if rival is None:
        of_this_source = " of the same source" if best_row(comparison, method) is not None else ""
        return f"No run of {name}{of_this_source} is among these runs, so it is open whether transfer beats it."
    found = _from(row, rival)
    gap, best = found.gap, f"(best row: {full_name(rival)}, {score(rival.best)}{_pairs(found)})"
    if doubt := _doubt(found, name):
        sentence = f"Transfer stands {_apart(gap, name)} {best}; {doubt}, so it is open whether {meaning_if_better}"
    elif gap > 0:
        sentence = f"Transfer beats {name} by {points(gap)} {best}: {meaning_if_better}"
    else:
        sentence = f"Transfer loses to {name} by {points(-gap)} {best}: {meaning_if_not}"
    shorter = min(row.series.last_step, rival.series.last_step)
    if 0 < shorter < max(row.series.last_step, rival.series.last_step):
        mine, theirs = best_up_to(row.series, shorter), best_up_to(rival.series, shorter)
        sentence += f". Up to step {count(shorter)}, which both ran, transfer scores {score(mine)}"
        sentence += f" and {name} {score(theirs)}"
    return sentence + "."


def _from(row: Row, other: Row) -> Difference:
    """What their scores differ by, which every row has."""
    found = difference(row, other)
    assert found is not None
    return found


def _doubt(found: Difference, name: str) -> str:
    """Why the difference of transfer and the rival of that name decides nothing; empty where it does."""
    if found.decided:
        return ""
    few = ["transfer" if row is found.row else name for row in found.few]
    return f"there are fewer than three seeds of {' and of '.join(few)}" if few else "the ranges over seeds overlap"


def _pairs(found: Difference) -> str:
    """What transfer has over a rival from the same source, seed by seed."""
    if source_in(found.against) is None or found.row.seeds < 2 or len(found.by_seed) < 2:
        return ""
    return f"; by seed {', '.join(map(signed, found.by_seed.values()))}"


def _apart(gap: float, name: str) -> str:
    if abs(gap) < SAME_POINTS:
        return f"level with {name}"
    return f"{points(abs(gap))} {'above' if gap > 0 else 'below'} {name}"


_FLOORS = {"frozen": "the best frozen backbone", "tfidf": "TF-IDF", "encoder": "the ready-made encoder"}


def _floors(row: Row, comparison: Comparison) -> list[str]:
    parts = []
    for method, name in _FLOORS.items():
        floor = best_row(comparison, method)
        if floor is None:
            continue
        found = _from(row, floor)
        parts.append(f"{_apart(found.gap, name)} ({full_name(floor)}: {score(floor.best)}; {found.verdict})")
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
    return [f"Transfer stands {listed}."] if parts else []


def _elsewhere(row: Row, comparison: Comparison) -> list[str]:
    """The dev sets that select nothing: is what was learned good outside the sets that chose the step?"""
    reference = comparison.reference
    if row.other is None or not comparison.others:
        return []
    compared = ""
    if reference is not None and reference.other is not None:
        compared = f"; LoRA's reference row scores {score(reference.other)} there{_verdict_there(row, reference)}"
    best = max((one for one in comparison.rows if one.other is not None), key=lambda one: one.other or 0.0)
    if best.series.label not in (row.series.label, reference and reference.series.label):
        compared += f", and the best row there is {full_name(best)} with {score(best.other)}{_verdict_there(row, best)}"
    where = f"On the dev sets that choose nothing ({', '.join(comparison.others)})"
    return [f"{where} it scores {score(row.other)}{compared}."]


def _verdict_there(row: Row, other: Row) -> str:
    found = difference(row, other, elsewhere=True)
    return "" if found is None else f" ({found.verdict})"


def _seeds(comparison: Comparison) -> str:
    single = [row for row in comparison.rows if row.seeds == 1 and row.series.last_step > 0]
    if not single:
        return ""
    return f"Rows with one seed have no range, so what they differ by is open{_sampling_error(comparison)}."


def _sampling_error(comparison: Comparison) -> str:
    """What the choice of the texts leaves open; said where the score is an accuracy and the recipe limits its texts."""
    selecting = set(comparison.selecting)
    recipe = comparison.runs[0].recipe
    dev = [one for one in recipe["data"]["dev"] if one["name"] in selecting]
    if len(dev) != 1 or dev[0].get("kind") != "knn" or not dev[0].get("limit"):
        return ""
    best = (comparison.reference or max(comparison.rows, key=lambda row: row.best)).best
    recorded = next(one for one in _recorded(comparison) if one["name"] in selecting)
    rows = recorded.get("reported_rows") or dev[0]["limit"]
    error = sqrt(best * (100 - best) / rows)
    return (
        f"; an accuracy of {score(best)} over at most {count(rows)} texts has a standard error of at least "
        f"{points(error)} by the choice of these texts alone"
    )


def _recorded(comparison: Comparison) -> list[dict[str, Any]]:
    """What the record says of the dev sets."""
    found: list[dict[str, Any]] = comparison.runs[0].record["data"]["dev"]
    return found


def _median_of(row: Row) -> str:
    if row.seeds < 2:
        return f"{score(row.best)} (one seed)" if row.series.last_step > 0 else score(row.best)
    return f"{score(row.best)} (median of {row.seeds} seeds, {score(row.best_low)} to {score(row.best_high)})"
