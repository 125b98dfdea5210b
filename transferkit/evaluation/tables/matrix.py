"""Rows of an evaluation as a matrix: models down, tasks across, the mean, and what the models differ by."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transferkit.evaluation.tables.rows import TaskRow, by_encoder, means
from transferkit.report.formats import count, score, signed
from transferkit.report.intervals import (
    DRAWS,
    FEWEST_SAMPLES,
    FEWEST_TASKS,
    LEVEL,
    Draws,
    Interval,
    drawn_differences,
    interval,
    over_tasks,
    over_texts,
)
from transferkit.report.view import View

_CELL = 9  # columns of a terminal that a number takes
_LABEL = 40  # those that a model's name should have


@dataclass(frozen=True)
class Line:
    """One model: its scores in percent, their mean, and what it has over the first one."""

    model: str
    method: str
    label: str
    mean: float | None
    scores: dict[str, float | None]
    against_first: Interval | None
    by_task: dict[str, Interval | None]


@dataclass(frozen=True)
class Matrix:
    """All models on all tasks.

    Attributes:
        lines: a model each, in the order in which they were run.
        tasks: how many are run in the end.
        judged: task -> texts, pairs or queries that were scored; None where that is not known.
        resampled: what is drawn for the interval of the mean; None: there is none.
    """

    lines: tuple[Line, ...]
    judged: dict[str, int | None]
    tasks: int
    resampled: Literal["texts", "tasks"] | None


def matrix_of(rows: Sequence[TaskRow], *, types: Sequence[str]) -> Matrix:
    """The matrix of all encoders.

    Args:
        rows: of all encoders.
        types: as for :func:`transferkit.evaluation.tables.rows.means`.
    """
    encoders = [{row.task: row for row in own} for own in by_encoder(rows)]
    tasks = list(dict.fromkeys(row.task for row in rows))
    draws = [_draws(own, encoders[0]) for own in encoders]
    whole = [own for own in encoders if len(own) == len(types) and all(row.score is not None for row in own.values())]
    resampled: Literal["texts", "tasks"] | None = None
    if len(encoders) > 1 and encoders[0] in whole:
        if all(len(draws[encoders.index(own)]) == len(tasks) for own in whole):
            resampled = "texts"
        elif len(tasks) >= FEWEST_TASKS:
            resampled = "tasks"
    lines = [
        _line(own, encoders[0], found, tasks, types, resampled if own in whole else None)
        for own, found in zip(encoders, draws, strict=True)
    ]
    return Matrix(tuple(lines), {task: _judged(encoders, task) for task in tasks}, len(types), resampled)


def _draws(own: dict[str, TaskRow], first: dict[str, TaskRow]) -> dict[str, Draws]:
    """Task -> differences from the first model, where both have samples of it."""
    found = {}
    for task, row in own.items():
        if (other := first.get(task)) is not None and row.samples is not None and other.samples is not None:
            drawn = drawn_differences(task, row.samples, other.samples)
            if drawn is not None:
                found[task] = drawn
    return found


def _line(
    own: dict[str, TaskRow],
    first: dict[str, TaskRow],
    draws: dict[str, Draws],
    tasks: Sequence[str],
    types: Sequence[str],
    resampled: str | None,
) -> Line:
    one = next(iter(own.values()))
    scores = {task: own[task].score if task in own else None for task in tasks}
    gaps = {task: _gap(own.get(task), first.get(task)) for task in tasks}
    by_task: dict[str, Interval | None] = {
        task: interval(gap, draws[task]) if gap is not None and task in draws else None for task, gap in gaps.items()
    }
    overall, known = None, [gap for gap in gaps.values() if gap is not None]
    if own is not first and known and len(known) == len(tasks):
        if resampled == "texts":
            overall = over_texts(sum(known) / len(known), [draws[task] for task in tasks])
        elif resampled == "tasks":
            overall = over_tasks(known)
    mean = means(list(own.values()), types=types).over_tasks
    is_first = own is first
    return Line(one.model, one.method, one.label, mean, scores, overall, dict.fromkeys(tasks) if is_first else by_task)


def _gap(row: TaskRow | None, first: TaskRow | None) -> float | None:
    known = row is not None and first is not None and row.score is not None and first.score is not None
    return row.score - first.score if known else None  # type: ignore[union-attr, operator]


def _judged(encoders: Sequence[dict[str, TaskRow]], task: str) -> int | None:
    return next((own[task].judged for own in encoders if task in own and own[task].judged is not None), None)


# As tables


def matrix_views(matrix: Matrix, *, width: int | None = None) -> list[View]:
    """The matrix, in parts that fit into ``width`` characters where it is given; a line of numbers closes it.

    The mean stands in the first part alone, the caption below the last one.
    """
    tasks = list(matrix.judged)
    label = min(_LABEL, max(len(line.label) for line in matrix.lines))
    if width is None:
        return [_view(matrix, tasks, summary=True, title="Scores", caption=_caption(matrix))]
    has_interval = any(line.against_first is not None for line in matrix.lines)
    room = [max(1, (width - label - taken) // _CELL) for taken in ((5 if has_interval else 2) * _CELL, _CELL)]
    parts, rest = [tasks[: room[0]]], tasks[room[0] :]
    parts += [rest[start : start + room[1]] for start in range(0, len(rest), room[1])]
    several = len(parts) > 1
    return [
        _view(
            matrix,
            part,
            summary=place == 1,
            title=f"Scores, part {place} of {len(parts)}" if several else "Scores",
            caption=_caption(matrix) if place == len(parts) else "",
            narrow=True,
        )
        for place, part in enumerate(parts, start=1)
    ]


def _view(
    matrix: Matrix, tasks: Sequence[str], *, summary: bool, title: str, caption: str, narrow: bool = False
) -> View:
    """Some of the tasks; ``summary``: with the mean before them, ``narrow``: with their names in several lines."""
    lines = matrix.lines
    columns: list[tuple[str, list[str], list[float | None]]] = []
    if summary:
        done = [f"{sum(one is not None for one in line.scores.values())} of {matrix.tasks}" for line in lines]
        columns.append(("Tasks", [*done, ""], []))
        columns.append(("Mean", [*(score(line.mean) for line in lines), ""], [line.mean for line in lines]))
        if any(line.against_first is not None for line in lines):
            columns.append(("To the first", [*(_in_words(line.against_first) for line in lines), ""], []))
    else:
        columns.append(("", [""] * (len(lines) + 1), []))
    for task in tasks:
        values = [line.scores[task] for line in lines]
        columns.append((_broken(task) if narrow else task, [*map(score, values), count(matrix.judged[task])], values))
    cells = list(zip([*(line.label for line in lines), "n"], *(column for _, column, _ in columns), strict=True))
    known = any(matrix.judged[task] is not None for task in tasks)
    header = ("Model", *(name for name, _, _ in columns))
    return View(
        title=title,
        header=header,
        rows=tuple(cells if known else cells[:-1]),
        caption=caption,
        wrapping=header[2:],
        bold=frozenset(
            (row, column)
            for column, (_, _, values) in enumerate(columns, start=1)
            for row, value in enumerate(values)
            if len(lines) > 1 and value is not None and value == max(one for one in values if one is not None)
        ),
    )


def _broken(name: str) -> str:
    """A name in lines that a column of numbers has room for, broken behind an underscore where there is one."""
    pieces = re.findall(f".{{1,{_CELL - 1}}}", re.sub("_", "_\n", name))
    lines = [""]
    for piece in pieces:
        if len(lines[-1]) + len(piece) < _CELL:
            lines[-1] += piece
        else:
            lines.append(piece)
    return "\n".join(line for line in lines if line)


def _caption(matrix: Matrix) -> str:
    several = len(matrix.lines) > 1
    said = f"Main scores in percent{', the best in bold' if several else ''}. Mean: over all tasks."
    if any(number is not None for number in matrix.judged.values()):
        said += " n: texts, pairs or queries that were judged."
    if not several:
        return said
    if matrix.resampled is None:
        return f"{said} No interval of the mean: {_why_none(matrix)}."
    what = (
        "the texts of each task are drawn, the tasks stay"
        if matrix.resampled == "texts"
        else "the tasks are drawn, for some have no scores of single texts"
    )
    return (
        f"{said} To the first: what the mean has over the first model's, in points, and where {LEVEL} % of {DRAWS:,} "
        f"paired bootstrap draws lie; {what}."
    )


def _why_none(matrix: Matrix) -> str:
    if any(line.mean is None for line in matrix.lines[:1]):
        return "the first model lacks scores"
    few = f"no scores of single texts, or fewer than {FEWEST_SAMPLES}"
    return f"a task has {few}, and there are fewer than {FEWEST_TASKS} tasks"


def _in_words(found: Interval | None) -> str:
    return "" if found is None else f"{signed(found.difference)} ({signed(found.low)} to {signed(found.high)})"


def differences_view(matrix: Matrix) -> View | None:
    """A line for each task and each model but the first one, where single texts were scored; None: none were."""
    rows = [
        (line.label, task, _in_words(found), "yes" if found.decided else "", count(matrix.judged[task]))
        for line in matrix.lines
        for task, found in line.by_task.items()
        if found is not None
    ]
    if not rows:
        return None
    missing = [task for task in matrix.judged if all(line.by_task[task] is None for line in matrix.lines)]
    said = f" No scores of single texts: {', '.join(missing)}." if missing else ""
    return View(
        title="Differences from the first model",
        header=("Model", "Task", "Points", "Decided", "n"),
        rows=tuple(rows),
        caption=f"Points over {matrix.lines[0].label}, and where {LEVEL} % of {DRAWS:,} paired bootstrap draws of the "
        f"task's texts, pairs or queries lie; decided where that leaves out 0.{said}",
        in_terminal=False,
    )
