"""One convergence table -> terminal, Markdown, CSV and JSON. No torch.

CSV and JSON hold one flat line a row with raw numbers. Terminal, Markdown and the HTML page show the same
numbers as a few narrow tables (``views``), because forty columns cannot be read; the terminal leaves out
examples and tokens.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from transferkit.convergence.comparable import run_id
from transferkit.convergence.comparison import Cell, Comparison, Crossing, Row, decoders
from transferkit.convergence.findings import findings
from transferkit.convergence.formats import (
    READOUT_NAMES,
    count,
    level,
    memory,
    score,
    seconds,
    short_count,
    times,
)

FORMAT = 1
_SCORES = "Scores in percent"
_DISPENSABLE = ("Last", "Memory")  # columns that a narrow terminal misses least; the others would be cut
_WRAPPING = "Best (range)"
_WIDE = 96  # characters of a terminal that hold all columns
_DIGITS = 6  # of raw numbers: far below what a measurement can tell, above float noise


@dataclass(frozen=True)
class View:
    """One table as text: the first two columns name the row, the others are right-aligned."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    in_terminal: bool = True


def views(comparison: Comparison) -> list[View]:
    """Scores, then one table a measure of cost with a column a target."""
    found = [_scores(comparison)]
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
    console.print(f"[bold]{escape(title(comparison))}[/]")
    for sentence in findings(comparison):
        console.print(escape(sentence))
    for view in views(comparison):
        if view.in_terminal:
            console.print()
            console.print(rich_table(view if console.width >= _WIDE else _narrowed(view)))
    for note in comparison.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")


def rich_table(view: View) -> Table:
    """The view as a borderless table; on a narrow terminal names and ranges wrap, numbers never do."""
    table = Table(
        title=escape(view.title),
        caption=escape(view.caption),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for position, name in enumerate(view.header):
        may_wrap = position == 0 or name == _WRAPPING
        table.add_column(
            escape(name if may_wrap or view.title != _SCORES else name.replace(" ", "\n")),
            justify="left" if position < 2 else "right",
            overflow="fold",
            no_wrap=not may_wrap,
            min_width=12 if position == 0 else 7 if may_wrap else None,
        )
    previous = ""
    for row in view.rows:
        table.add_row(*[escape(cell) for cell in (row[0] if row[0] != previous else "", *row[1:])])
        previous = row[0]
    return table


def _narrowed(view: View) -> View:
    """The view less its dispensable columns."""
    dropped = [name for name in view.header if name in _DISPENSABLE]
    if not dropped:
        return view
    keep = [i for i, name in enumerate(view.header) if name not in dropped]
    header, *rows = (tuple(row[i] for i in keep) for row in (view.header, *view.rows))
    where = f"{', '.join(dropped)}: on a wider terminal or in a file."
    return replace(view, header=header, rows=tuple(rows), caption=f"{view.caption} {where}")


def to_markdown(comparison: Comparison) -> str:
    """The tables, the findings above them and the run ids below, as GitHub-flavoured Markdown."""
    parts = [f"# {_md(title(comparison))}", "\n".join(f"- {_md(sentence)}" for sentence in findings(comparison))]
    parts += [markdown_table(view) for view in views(comparison)]
    parts.append("\n".join(["## Runs", "", *_md_runs(comparison)]))
    if comparison.notes:
        parts.append("\n".join(["## Notes", "", *[f"- {_md(note)}" for note in comparison.notes]]))
    return "\n\n".join(parts) + "\n"


def markdown_table(view: View) -> str:
    """A heading, the view as a table, its caption."""
    lines = [f"## {_md(view.title)}", "", _md_row(view.header), _md_rule(len(view.header))]
    return "\n".join([*lines, *map(_md_row, view.rows), "", _md(view.caption)])


def to_csv(comparison: Comparison) -> str:
    """One line a row, raw numbers; an empty cell is unknown or not reached (see its ``_bound`` column)."""
    records = flat_rows(comparison)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**record, "runs": " ".join(record["runs"])} for record in records)
    return out.getvalue()


def to_json(comparison: Comparison) -> str:
    """The table with its targets, reference, dev sets and notes; null is unknown or not reached."""
    reference = comparison.reference
    value = {
        "format": FORMAT,
        "reference": None
        if reference is None
        else {"label": reference.series.name, "readout": reference.series.readout},
        "targets": [{"fraction": t.fraction, "score": _raw(t.score)} for t in comparison.targets],
        "selecting_dev_sets": list(comparison.selecting),
        "other_dev_sets": list(comparison.others),
        "rows": flat_rows(comparison),
        "findings": findings(comparison),
        "notes": list(comparison.notes),
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def flat_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat mapping a row, as in CSV and JSON; targets are in the names: ``steps_to_95_percent``."""
    return [_flat_row(row) for row in comparison.rows]


def _flat_row(row: Row) -> dict[str, Any]:
    series = row.series
    backbone = series.runs[0].record["backbone"]
    flat: dict[str, Any] = {
        "backbone": backbone["name"] if backbone else None,
        "method": series.method,
        "label": series.label,
        "variant": series.variant,
        "readout": series.readout,
        "seeds": row.seeds,
        "trainable_parameters": row.trainable,
        "step_0_score": _raw(row.initial),
        "best_score": _raw(row.best),
        "best_score_min": _raw(row.best_low),
        "best_score_max": _raw(row.best_high),
        "best_step": _raw(row.best_step),
        "last_score": _raw(row.last),
        "percent_of_lora_best": _raw(row.share),
        "other_sets_score": _raw(row.other),
        "last_step": series.last_step,
    }
    for crossing in row.crossings:
        target = f"{100 * crossing.target.fraction:g}".replace(".", "_") + "_percent"
        for measure, cell in crossing.cost.items():
            flat |= _flat_cell(f"{measure}_to_{target}", cell)
        for measure, cell in crossing.speedup.items():
            flat |= _flat_cell(f"speedup_{measure}_to_{target}", cell)
    flat["peak_memory_bytes"] = _raw(row.peak_memory_bytes)
    flat["unfinished_runs"] = len(row.unfinished)
    flat["runs"] = [run_id(run) for run in series.runs]
    return flat


def _flat_cell(name: str, cell: Cell) -> dict[str, Any]:
    return {name: _raw(cell.value), f"{name}_bound": _raw(cell.bound)}


def _raw(value: float | None) -> float | int | None:
    """The number itself, whole where it is whole."""
    if value is None:
        return None
    rounded = round(float(value), _DIGITS)
    return int(rounded) if rounded.is_integer() else rounded


def _scores(comparison: Comparison) -> View:
    """Best scores: every column but the cost of a target."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("Seeds", lambda row: count(row.seeds)),
        ("Trained", lambda row: count(row.trainable)),
        ("Step 0", lambda row: score(row.initial)),
        (_WRAPPING, _best_with_range),
        ("At step", lambda row: count(row.best_step)),
        ("Last", lambda row: score(row.last)),
        ("% of LoRA", lambda row: score(row.share)),
        ("Other sets", lambda row: score(row.other)),
        ("Memory", lambda row: memory(row.peak_memory_bytes)),
    ]
    if comparison.reference is None:
        columns = [column for column in columns if column[0] != "% of LoRA"]
    if not comparison.others:
        columns = [column for column in columns if column[0] != "Other sets"]
    best = (
        "the last evaluation, as eval.keep says; nothing chose it."
        if all(row.series.keep == "last" for row in comparison.rows)
        else "the highest of a row's evaluations on these very texts, which flatters rows with many of them; nothing "
        "chose the last one."
    )
    caption = f"Score: mean over {', '.join(comparison.selecting)}; medians over seeds. Best is {best}"
    if comparison.others:
        caption += f" Other sets: {', '.join(comparison.others)}; they choose nothing."
    return View(
        title=_SCORES,
        header=("Method", "Readout", *[name for name, _ in columns]),
        rows=tuple((*row_name(row), *[read(row) for _, read in columns]) for row in comparison.rows),
        caption=caption,
    )


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
        "it needs less. The training of a transfer's source, done once, is in none of them.",
    )


def row_name(row: Row) -> tuple[str, str]:
    """The first two cells of a row in every view: its name, starred where a run is unfinished, and its readout."""
    return row.series.name + (" *" if row.unfinished else ""), READOUT_NAMES[row.series.readout]


def _best_with_range(row: Row) -> str:
    return score(row.best) + (f" ({score(row.best_low)} to {score(row.best_high)})" if len(row.series.runs) > 1 else "")


def _with_speedup(measure: str, form: Callable[[float | None], str]) -> Callable[[Crossing], str]:
    """Cost and speed-up; the speed-up's bound is left to CSV and JSON, a "< 20x" reads like a promise."""

    def read(crossing: Crossing) -> str:
        speedup = times(crossing.speedup[measure].value)
        return _cell(crossing.cost[measure], form) + (f" ({speedup})" if speedup else "")

    return read


def _examples_and_tokens(comparison: Comparison) -> View:
    def read(crossing: Crossing) -> str:
        found = [_cell(crossing.cost[measure], short_count) for measure in ("examples", "tokens")]
        return " / ".join(found) if any(found) else ""

    return replace(_costs(comparison, "Examples / tokens to target", read), in_terminal=False)


def _cell(cell: Cell, form: Callable[[float | None], str]) -> str:
    return f"> {form(cell.bound)}" if cell.bound is not None else form(cell.value)


def _md(text: str) -> str:
    """Text with nothing that Markdown or HTML would read as its own."""
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def _md_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_md(cell) for cell in cells) + " |"


def _md_rule(columns: int) -> str:
    return "| " + " | ".join("---" if position < 2 else "---:" for position in range(columns)) + " |"


def _md_runs(comparison: Comparison) -> list[str]:
    """A line for every group: what it was run as, so that each row leads back to its runs."""
    lines: dict[str, None] = {}
    for row in comparison.rows:
        ids = ", ".join(f"{run_id(run)} (seed {run.record['seed']}{_commit(run.record)})" for run in row.series.runs)
        lines[f"- {_md(row.series.label)}: {_md(ids)}"] = None
    return list(lines)


def _commit(record: dict[str, Any]) -> str:
    git = record.get("git")
    return f", commit {git['commit'][:10]}" if git else ""
