"""One convergence table -> terminal, Markdown, CSV and JSON. No torch.

CSV and JSON hold one flat line a row with raw numbers. Terminal, Markdown and the HTML page show the same
numbers as a few narrow tables (``views``), because forty columns cannot be read; the terminal leaves out
differences, examples and tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from transferkit.convergence.comparable import run_id
from transferkit.convergence.comparison import Cell, Comparison, Crossing, Row, decoders, scored_rows
from transferkit.convergence.differences import differences_view, flat_differences
from transferkit.convergence.findings import findings
from transferkit.convergence.series import KIND_NAMES
from transferkit.progress import plain
from transferkit.report.formats import count, level, memory, score, seconds, short_count, times
from transferkit.report.markdown import escape_markdown, markdown_table
from transferkit.report.raw import csv_text, json_text, number
from transferkit.report.terminal import rich_table
from transferkit.report.view import View

FORMAT = 1
# The other columns of the scores would be cut by a narrow terminal.
_DISPENSABLE = ("Last", "Memory", *dict.fromkeys(name.capitalize() for name in KIND_NAMES.values()))
_RANGE = "Best (range)"
_KEPT = "●"
_WIDE = 96  # characters of a terminal that hold all columns


def views(comparison: Comparison) -> list[View]:
    """Scores and what they differ by, then one table a measure of cost with a column a target."""
    differences = differences_view(comparison)
    found = [_scores(comparison), *([] if differences is None else [differences])]
    if comparison.targets:
        found.append(_costs(comparison, "Steps to target", _with_speedup("steps", count)))
        found.append(_costs(comparison, "Seconds to target", _with_speedup("seconds", seconds)))
        found.append(_examples_and_tokens(comparison))
    return found


def title(comparison: Comparison) -> str:
    """What a table is called: after the decoder that its runs embed with."""
    names = decoders(comparison)
    return f"Convergence table: {', '.join(names)}" if names else "Convergence table"


def print_table(comparison: Comparison, console: Console) -> None:
    """Print findings, tables and notes on a rich console."""
    console.print(plain(title(comparison), style="bold"))
    for sentence in findings(comparison):
        console.print(plain(sentence))
    for view in views(comparison):
        if view.in_terminal:
            console.print()
            console.print(rich_table(view if console.width >= _WIDE else view.narrowed()))
    for note in comparison.notes:
        console.print(plain("note:", style="yellow") + plain(f" {note}"))


def to_markdown(comparison: Comparison) -> str:
    """The tables, the findings above them and the run ids below, as GitHub-flavoured Markdown."""
    parts = [
        f"# {escape_markdown(title(comparison))}",
        "\n".join(f"- {escape_markdown(sentence)}" for sentence in findings(comparison)),
    ]
    parts += [markdown_table(view) for view in views(comparison)]
    parts.append("\n".join(["## Runs", "", *_md_runs(comparison)]))
    if comparison.notes:
        parts.append("\n".join(["## Notes", "", *[f"- {escape_markdown(note)}" for note in comparison.notes]]))
    return "\n\n".join(parts) + "\n"


def to_csv(comparison: Comparison) -> str:
    """One line a row, raw numbers; an empty cell is unknown or not reached (see its ``_bound`` column)."""
    return csv_text([{**record, "runs": " ".join(record["runs"])} for record in flat_rows(comparison)])


def to_json(comparison: Comparison) -> str:
    """What :func:`as_facts` gives, as text."""
    return json_text(as_facts(comparison))


def as_facts(comparison: Comparison) -> dict[str, Any]:
    """The table with its targets, reference, dev sets and notes; None is unknown or not reached."""
    reference = comparison.reference
    return {
        "format": FORMAT,
        "reference": None
        if reference is None
        else {"label": reference.series.name, "readout": reference.series.readout},
        "targets": [{"fraction": t.fraction, "score": number(t.score)} for t in comparison.targets],
        "selecting_dev_sets": list(comparison.selecting),
        "other_dev_sets": list(comparison.others),
        "rows": flat_rows(comparison),
        "differences": flat_differences(comparison),
        "findings": findings(comparison),
        "notes": list(comparison.notes),
    }


def flat_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat mapping a row, as in CSV and JSON; targets are in the names: ``steps_to_95_percent``."""
    return [_flat_row(row, kinds=_kinds(comparison)) for row in comparison.rows]


def _flat_row(row: Row, *, kinds: list[str]) -> dict[str, Any]:
    series = row.series
    backbone = series.runs[0].record["backbone"]
    flat: dict[str, Any] = {
        "backbone": backbone["name"] if backbone else None,
        "method": series.method,
        "label": series.label,
        "variant": series.variant,
        "readout": series.readout if series.readout != "delivered" else row.readout,
        "seeds": row.seeds,
        "trainable_parameters": row.trainable,
        "step_0_score": number(row.initial),
        "best_score": number(row.best),
        "best_score_min": number(row.best_low),
        "best_score_max": number(row.best_high),
        "best_step": number(row.best_step),
        "kept": row.kept,
        "last_score": number(row.last),
        "percent_of_lora_best": number(row.share),
        "other_sets_score": number(row.other),
        "last_step": series.last_step,
    }
    for crossing in row.crossings:
        target = f"{100 * crossing.target.fraction:g}".replace(".", "_") + "_percent"
        for measure, cell in crossing.cost.items():
            flat |= _flat_cell(f"{measure}_to_{target}", cell)
        for measure, cell in crossing.speedup.items():
            flat |= _flat_cell(f"speedup_{measure}_to_{target}", cell)
    for kind in kinds:
        inside, other = row.by_kind.get(kind, (None, None))
        flat |= {f"{kind}_score": number(inside), f"{kind}_other_sets_score": number(other)}
    flat["peak_memory_bytes"] = number(row.peak_memory_bytes)
    flat["unfinished_runs"] = len(row.unfinished)
    flat["runs"] = [run_id(run) for run in series.runs]
    return flat


def _flat_cell(name: str, cell: Cell) -> dict[str, Any]:
    return {name: number(cell.value), f"{name}_bound": number(cell.bound)}


def _scores(comparison: Comparison) -> View:
    """Best scores: every column but the cost of a target."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("Seeds", lambda row: count(row.seeds)),
        ("Trained", lambda row: count(row.trainable)),
        ("Step 0", lambda row: score(row.initial)),
        (_RANGE, _best_with_range),
        ("At step", lambda row: count(row.best_step) + (f" {_KEPT}" if row.kept else "")),
        ("Last", lambda row: score(row.last)),
        ("% of LoRA", lambda row: score(row.share)),
        ("Other sets", lambda row: score(row.other)),
        ("Memory", lambda row: memory(row.peak_memory_bytes)),
    ]
    columns += [(f"{KIND_NAMES[kind].capitalize()}", partial(_with_kind, kind=kind)) for kind in _kinds(comparison)]
    if comparison.reference is None:
        columns = [column for column in columns if column[0] != "% of LoRA"]
    if not comparison.others:
        columns = [column for column in columns if column[0] != "Other sets"]
    best = _what_best_is(comparison)
    caption = f"Score: mean over {_sets(comparison, comparison.selecting)}; medians over seeds. Best is {best}"
    if any(row.kept for row in comparison.rows):
        caption += f" {_KEPT}: this step, with this readout, is what the checkpoints of the row's runs are."
    if comparison.others:
        caption += f" Other sets: {_sets(comparison, comparison.others)}; they choose nothing."
    return View(
        title="Scores in percent",
        header=("Method", "Readout", *[name for name, _ in columns]),
        rows=tuple((*row_name(row), *[read(row) for _, read in columns]) for row in comparison.rows),
        caption=caption,
        wrapping=(_RANGE,),
        dispensable=_DISPENSABLE,
        stacked=True,
    )


def _sets(comparison: Comparison, names: Sequence[str]) -> str:
    """Their names, each with the number of its rows where it is known."""
    rows = {name: scored_rows(comparison, name) for name in names}
    return ", ".join(name if number is None else f"{name} (n {count(number)})" for name, number in rows.items())


def _costs(comparison: Comparison, title: str, read: Callable[[Crossing], str]) -> View:
    """A table with a column a target; rows that train nothing and reach nothing are left out."""
    header = [f"{level(target.fraction)} ({score(target.score)})" for target in comparison.targets]
    rows = [(*row_name(row), *[read(crossing) for crossing in row.crossings]) for row in comparison.rows]
    return View(
        title=title,
        header=("Method", "Readout", *header),
        rows=tuple(row for row in rows if any(row[2:])),
        caption="Columns: share of LoRA's best score (that score). '> 500': half of the seeds or more did "
        "not reach it, so the median is above 500. '2.0x': the reference needs 2.0 times as much, in whichever readout "
        "it needs less; '2.0x more' and '2.0x slower': the row does. The training of a transfer's source, done "
        "once, is in none of them.",
    )


def row_name(row: Row) -> tuple[str, str]:
    """The first two cells of a row in every view: its name, starred where a run is unfinished, and its readout."""
    return row.series.name + (" *" if row.unfinished else ""), row.readout


def _what_best_is(comparison: Comparison) -> str:
    if all(row.series.keep == "last" for row in comparison.rows):
        best = "the last evaluation, as eval.keep says; nothing chose it."
    elif _kinds(comparison):
        best = "the evaluation that was best on the choosing halves; the scores are of the reporting halves."
    else:
        best = (
            "the highest of a row's evaluations on these very texts, which flatters rows with many of them; nothing "
            "chose the last one."
        )
    if not _kinds(comparison):
        return best
    return best + (
        " Readout: what the checkpoints have, chosen by the choosing halves. The last columns: the same evaluation "
        "with each readout, on these sets and on the other ones."
    )


def _kinds(comparison: Comparison) -> list[str]:
    """Readouts that stand beside the chosen one in any row."""
    return [kind for kind in KIND_NAMES if any(kind in row.by_kind and len(row.by_kind) > 1 for row in comparison.rows)]


def _with_kind(row: Row, kind: str) -> str:
    inside, other = row.by_kind.get(kind, (None, None))
    return score(inside) if other is None else f"{score(inside)} / {score(other)}"


def _best_with_range(row: Row) -> str:
    return score(row.best) + (f" ({score(row.best_low)} to {score(row.best_high)})" if len(row.series.runs) > 1 else "")


def _with_speedup(measure: str, form: Callable[[float | None], str]) -> Callable[[Crossing], str]:
    """Cost and speed-up; the speed-up's bound is left to CSV and JSON, a "< 20x" reads like a promise."""

    def read(crossing: Crossing) -> str:
        speedup = times(crossing.speedup[measure].value, below="more" if measure == "steps" else "slower")
        return _cell(crossing.cost[measure], form) + (f" ({speedup})" if speedup else "")

    return read


def _examples_and_tokens(comparison: Comparison) -> View:
    def read(crossing: Crossing) -> str:
        found = [_cell(crossing.cost[measure], short_count) for measure in ("examples", "tokens")]
        return " / ".join(found) if any(found) else ""

    return replace(_costs(comparison, "Examples / tokens to target", read), in_terminal=False)


def _cell(cell: Cell, form: Callable[[float | None], str]) -> str:
    return f"> {form(cell.bound)}" if cell.bound is not None else form(cell.value)


def _md_runs(comparison: Comparison) -> list[str]:
    """A line for every group: what it was run as, so that each row leads back to its runs."""
    lines: dict[str, None] = {}
    for row in comparison.rows:
        ids = ", ".join(f"{run_id(run)} (seed {run.record['seed']}{_commit(run.record)})" for run in row.series.runs)
        lines[f"- {escape_markdown(row.series.label)}: {escape_markdown(ids)}"] = None
    return list(lines)


def _commit(record: dict[str, Any]) -> str:
    git = record.get("git")
    return f", commit {git['commit'][:10]}" if git else ""
