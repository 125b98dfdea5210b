"""What a reader of a convergence table must know about how its runs differ: one sentence each. No torch."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from transferkit.config.poolings import STATIC, parts_of
from transferkit.convergence.comparable import run_id
from transferkit.convergence.series import Series, precision_of, recipe_facts
from transferkit.runs.folder import Run

# Keys of the recipe in which rows of one table should agree, or the reader must know.
_COMPARED_KEYS = (
    "embedding.max_length",
    "loss.temperature",
    "loss.symmetric",
    "readout.kind",
    "readout.sample",
    "readout.ridge",
    "eval.keep",
)


_UNEVEN = 1.3  # seeds of one row whose seconds a step differ by more ran on a machine that others used too
_APART = timedelta(days=1)  # between runs that one machine made at one pace


def comparison_notes(series: list[Series]) -> tuple[str, ...]:
    """Caveats under the table, in a fixed order; empty where the runs differ in nothing that matters."""
    by_label = {one.label: one.runs for one in series}
    trained = {one.label: one.runs for one in series if one.last_step > 0}
    notes = [
        _batch_sizes(trained),
        _differing(
            "Dev sets were scored every {values} steps; steps to a target are read at those evaluations",
            trained,
            lambda run: recipe_facts(run).get("eval.every"),
        ),
        _differing(
            "Backbones were loaded with quantization {values}",
            by_label,
            lambda run: (run.record["backbone"] or {}).get("quantization"),
        ),
        _differing(
            "The text's token embeddings stand beside the states (`static` in the recipe's pooling): {values}",
            trained,
            lambda run: "yes" if STATIC in parts_of(str(recipe_facts(run).get("embedding.pooling"))) else "no",
        ),
        _differing("Models computed in precision {values}", trained, precision_of),
        *(_differing(f"{key} differs: {{values}}", trained, _of_recipe(key)) for key in _COMPARED_KEYS),
        _differing("Devices differ, so seconds and memory cannot be compared: {values}", by_label, _device),
        _uneven(series),
        _far_apart(trained),
        _ended_by_seconds(trained),
        *_unfinished(by_label),
        *_seed_twice(by_label),
        _uncommitted(by_label),
    ]
    return tuple(note for note in notes if note)


def _differing(sentence: str, groups: dict[str, tuple[Run, ...]], read: Callable[[Run], Any]) -> str | None:
    """``sentence`` with every value and its labels; None where all runs agree or say nothing."""
    found: dict[str, dict[str, None]] = {}
    for label, runs in groups.items():
        for run in runs:
            if (value := read(run)) is not None:
                found.setdefault(str(value), {})[label] = None
    if len(found) < 2:
        return None
    values = "; ".join(f"{value} ({', '.join(found[value])})" for value in sorted(found))
    return sentence.format(values=values) + "."


def _batch_sizes(groups: dict[str, tuple[Run, ...]]) -> str | None:
    return _differing(
        "Batch sizes differ, so equal steps are not equal examples, nor equal negatives: {values}",
        groups,
        lambda run: recipe_facts(run).get("optim.batch_size"),
    )


def _device(run: Run) -> str | None:
    facts = [run.record.get(key) for key in ("device", "device_name", "threads")]
    named = [str(fact) for fact in facts if fact is not None]
    return " ".join(named) if named else None


def seconds_compare(series: Sequence[Series]) -> bool:
    """Whether seconds of these rows say something of each other: seeds of an even pace, all within a day."""
    runs = [run for one in series for run in one.runs]
    return all(one.uneven_pace() <= _UNEVEN for one in series) and _span(runs) <= _APART


def _span(runs: Iterable[Run]) -> timedelta:
    """Between the first and the last of the runs; records of old runs may not say when they began."""
    begun = [datetime.fromisoformat(run.record["created_at"]) for run in runs if run.record.get("created_at")]
    return max(begun) - min(begun) if begun else timedelta(0)


def _far_apart(groups: dict[str, tuple[Run, ...]]) -> str | None:
    span = _span(run for runs in groups.values() for run in runs)
    if span <= _APART:
        return None
    return (
        f"Runs began up to {span.days} days apart, and a machine that others use changes its pace, so compare steps "
        "rather than seconds."
    )


def _uneven(series: list[Series]) -> str | None:
    """A machine that others use too, or several machines: seconds then say little."""
    found = {one.label: one.uneven_pace() for one in series if one.uneven_pace() > _UNEVEN}
    if not found:
        return None
    rows = "; ".join(f"{label} ({factor:.1f} times)" for label, factor in found.items())
    return f"A step took longer in one seed than in another, so compare steps rather than seconds: {rows}."


def _ended_by_seconds(groups: dict[str, tuple[Run, ...]]) -> str | None:
    """Rows whose steps were decided by the pace of a machine."""
    found = {label: limit for label, runs in groups.items() if (limit := recipe_facts(runs[0]).get("optim.seconds"))}
    if not found:
        return None
    rows = "; ".join(f"{label} ({limit:g} s)" for label, limit in found.items())
    return f"Runs that ended by their training seconds (optim.seconds), not by their steps: {rows}."


def _unfinished(groups: dict[str, tuple[Run, ...]]) -> list[str]:
    runs = sorted({run_id(run): run for group in groups.values() for run in group}.items())
    listed = [
        f"{name} ({run.record['status']}, step {run.metrics[-1]['step']})"
        for name, run in runs
        if run.record["status"] != "done"
    ]
    return [f"Unfinished runs, marked with an asterisk: {', '.join(listed)}."] if listed else []


def _seed_twice(groups: dict[str, tuple[Run, ...]]) -> list[str]:
    notes = []
    for label, runs in groups.items():
        seeds = [run.record["seed"] for run in runs]
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        for seed in twice:
            names = ", ".join(run_id(run) for run in runs if run.record["seed"] == seed)
            notes.append(f"{label}: {names} have the same seed {seed}, so they are repeats and not seeds.")
    return notes


def _uncommitted(groups: dict[str, tuple[Run, ...]]) -> str | None:
    dirty = sorted(
        {run_id(run) for runs in groups.values() for run in runs if (run.record.get("git") or {}).get("dirty")}
    )
    return f"Run from a checkout with uncommitted changes: {', '.join(dirty)}." if dirty else None


def _of_recipe(key: str) -> Callable[[Run], Any]:
    return lambda run: recipe_facts(run).get(key)
