"""Convergence table -> plain sentences on what was seen, every number taken from the table. No torch."""

from math import inf, sqrt
from statistics import median
from typing import Any

from transferkit.convergence.comparison import ENOUGH_SEEDS, Comparison, Row, best_up_to
from transferkit.convergence.series import source_of
from transferkit.convergence.speed import speed
from transferkit.report.formats import count, percent, points, score

_SAME_POINTS = 0.05  # less than this prints as 0.0


def findings(comparison: Comparison) -> list[str]:
    """Sentences, the most important first."""
    sentences = [_reference(comparison)]
    # Of rows with fewer seeds the best one is rather the luckiest; rivals and floors are taken as good as they come.
    known = max((min(row.seeds, ENOUGH_SEEDS) for row in _rows(comparison, "transfer")), default=0)
    transfer = max((row for row in _rows(comparison, "transfer") if row.seeds >= known), key=_score, default=None)
    if transfer is None:
        return [
            *sentences,
            "There is no transfer run among these runs, so nothing is said about a carried skill.",
        ]
    sentences.append(_transfer(transfer, comparison))
    if comparison.targets:
        sentences.append(speed(transfer, comparison))
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
    what = "its last score" if reference.series.keep == "last" else "its best score"
    sentence = f"The reference is {_name(reference)}: {what} is {_median_of(reference)}, reached {_at(reference)}"
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
    share = f", {percent(row.share)} of LoRA's best" if row.share is not None else ""
    more = sum(one.series.method == "transfer" for one in comparison.rows) > 1
    who = "The best transfer row" if more else "The transfer row"
    trained = f"with {count(row.trainable)} trained numbers"
    return f"{who}, {_name(row)}, scores {_median_of(row)}{share}, {_at(row)}, {trained}."


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
    rival = _best(comparison, method, source=_source(row))
    if rival is None:
        of_this_source = " of the same source" if _best(comparison, method) is not None else ""
        return f"No run of {name}{of_this_source} is among these runs, so it is open whether transfer beats it."
    gap = row.best - rival.best
    best = f"(best row: {_name(rival)}, {score(rival.best)}{_pairs(row, rival)})"
    if doubt := _doubt(row, rival, name):
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


def _doubt(row: Row, rival: Row, name: str) -> str:
    """Why the difference of two rows decides nothing; empty where it does."""
    few = [who for who, one in (("transfer", row), (name, rival)) if one.seeds < ENOUGH_SEEDS]
    if few:
        return f"there are fewer than three seeds of {' and of '.join(few)}"
    return "the ranges over seeds overlap" if _overlap(row, rival) else ""


def _pairs(row: Row, rival: Row) -> str:
    """What transfer has over a rival from the same source, seed by seed."""
    if _source(rival) is None or row.seeds < 2:
        return ""
    mine, theirs = ({_seed(one, i): p.score for i, p in enumerate(one.series.kept())} for one in (row, rival))
    gaps = [mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())]
    return f"; by seed {', '.join(f'{gap:+.1f}' for gap in gaps)}" if len(gaps) > 1 else ""


def _seed(row: Row, position: int) -> int:
    return int(row.series.runs[position].record["seed"])


def _apart(gap: float, name: str) -> str:
    if abs(gap) < _SAME_POINTS:
        return f"level with {name}"
    return f"{points(abs(gap))} {'above' if gap > 0 else 'below'} {name}"


def _floors(row: Row, comparison: Comparison) -> list[str]:
    parts = []
    for method, name in (("frozen", "the best frozen backbone"), ("tfidf", "TF-IDF")):
        floor = _best(comparison, method)
        if floor is None:
            continue
        within = "; within transfer's range over seeds" if row.best_low <= floor.best <= row.best_high else ""
        parts.append(f"{_apart(row.best - floor.best, name)} ({_name(floor)}: {score(floor.best)}{within})")
    return [f"Transfer stands {' and '.join(parts)}."] if parts else []


def _elsewhere(row: Row, comparison: Comparison) -> list[str]:
    """The dev sets that select nothing: is what was learned good outside the sets that chose the step?"""
    reference = comparison.reference
    if row.other is None or not comparison.others:
        return []
    compared = ""
    if reference is not None and reference.other is not None:
        compared = f"; LoRA's reference row scores {score(reference.other)} there"
    best = max((one for one in comparison.rows if one.other is not None), key=lambda one: one.other or 0.0)
    if best.series.label not in (row.series.label, reference and reference.series.label):
        compared += f", and the best row there is {_name(best)} with {score(best.other)}"
    where = f"On the dev sets that choose nothing ({', '.join(comparison.others)})"
    return [f"{where} it scores {score(row.other)}{compared}."]


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


def _best(comparison: Comparison, method: str, *, source: str | None = None) -> Row | None:
    """The best row of a method over its groups and readouts; with ``source``, of no other source run."""
    rows = [row for row in _rows(comparison, method) if source is None or _source(row) in (None, source)]
    return max(rows, key=_score, default=None)


def _rows(comparison: Comparison, method: str) -> list[Row]:
    return [row for row in comparison.rows if row.series.method == method]


def _score(row: Row) -> float:
    return row.choosing


def _source(row: Row) -> str | None:
    return source_of(row.series.runs[0])


def _overlap(one: Row, other: Row) -> bool:
    return one.best_low <= other.best_high and other.best_low <= one.best_high


def _name(row: Row) -> str:
    return f"{row.series.name}, {row.readout}"


def _median_of(row: Row) -> str:
    if row.seeds < 2:
        return f"{score(row.best)} (one seed)" if row.series.last_step > 0 else score(row.best)
    return f"{score(row.best)} (median of {row.seeds} seeds, {score(row.best_low)} to {score(row.best_high)})"
