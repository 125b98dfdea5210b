"""Rows of an evaluation as the tables that a reader sees."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from transferkit.evaluation.tables.matrix import differences_view, matrix_of, matrix_views
from transferkit.evaluation.tables.rows import Spread, TaskRow, by_encoder, means, ratio, spreads
from transferkit.report.formats import count, percent, score, seconds
from transferkit.report.view import View


def throughput(rows: Sequence[TaskRow]) -> str:
    """What was run now, in words: texts, texts a second, share of the time in the encoder."""
    run = [row for row in rows if not row.kept]
    if not run:
        return "nothing was run: no weight, setting, instruction or text has changed"
    whole_tasks = [row for row in run if row.seconds is not None]
    if not whole_tasks:
        return "no task was run from its beginning to its end"
    texts, inside, whole = (
        sum(getattr(row, name) for row in whole_tasks) for name in ("texts", "encoder_seconds", "seconds")
    )
    rate, share = ratio(texts, inside), ratio(100 * inside, whole)
    return (
        f"{count(texts)} texts in {seconds(whole)} s: {count(round(rate or 0))} texts/s in the encoder, "
        f"{percent(share)} of the time in it"
    )


def views(rows: Sequence[TaskRow], *, types: Sequence[str], width: int | None = None) -> list[View]:
    """The matrix, differences, means, spread over templates, means of the types, and the tasks of each encoder.

    With several encoders only the matrix, means and spread stand in a terminal, where the others would be too wide or
    too long. With one its tasks stand there, and the matrix is that line again.

    Args:
        rows: of all encoders.
        types: as for :func:`transferkit.evaluation.tables.rows.means`.
        width: as for :func:`transferkit.evaluation.tables.matrix.matrix_views`.
    """
    encoders = by_encoder(rows)
    lines = []
    for own in encoders:
        mean = means(own, types=types)
        done = sum(row.score is not None for row in own)
        lines.append((own[0].label, f"{done} of {len(types)}", score(mean.over_tasks), score(mean.over_types)))
    overall = View(
        title="Means",
        header=("Model", "Tasks", "Over tasks", "Over types"),
        rows=tuple(lines),
        caption="Main scores in percent: mean over all tasks, mean over the means of the types of task.",
    )
    alone = len(encoders) == 1
    found = spreads(rows, types=types)
    matrix = matrix_of(rows, types=types)
    differences = differences_view(matrix)
    return [
        *[replace(view, in_terminal=not alone) for view in matrix_views(matrix, width=width)],
        *([differences] if differences is not None else []),
        overall,
        *([_spread_view(found)] if found else []),
        _types_view(encoders, types, in_terminal=alone),
        *[_tasks_view(own, in_terminal=alone) for own in encoders],
    ]


def _spread_view(found: Sequence[Spread]) -> View:
    templates = ", ".join(dict.fromkeys(str(one.templates) for one in found))
    return View(
        title="Spread over templates",
        header=("Model", "Task", "Lowest", "Median", "Highest"),
        rows=tuple(
            (one.label, one.task or "mean over tasks", score(one.low), score(one.median), score(one.high))
            for one in found
        ),
        caption=f"Scores in percent over {templates} templates: how much hangs on the choice of the prompt alone.",
    )


def _types_view(encoders: Sequence[Sequence[TaskRow]], types: Sequence[str], *, in_terminal: bool) -> View:
    """A line a type of task, or with several encoders a line each and a column a type."""
    found = [means(own, types=types).by_type for own in encoders]
    lines: list[tuple[str, ...]]
    if in_terminal:
        lines = [(kind, str(number), score(found[0][kind])) for kind, number in Counter(types).items()]
        header: tuple[str, ...] = ("Type", "Tasks", "Mean")
    else:
        one = zip(encoders, found, strict=True)
        lines = [(own[0].label, "", *map(score, by_type.values())) for own, by_type in one]
        header = ("Model", "", *Counter(types))
    return View("Means of types", header, tuple(lines), "Mean of the main scores in percent.", in_terminal=in_terminal)


def _tasks_view(rows: Sequence[TaskRow], *, in_terminal: bool) -> View:
    shared = " Those that were read for another pooling are not counted." if any(row.shared for row in rows) else ""
    problems = [f" {row.task} failed: {row.problem}." for row in rows if row.problem is not None]
    metrics = ", ".join(dict.fromkeys(row.metric for row in rows))
    return View(
        title=rows[0].label,
        header=("Task", "Type", "Score", "Seconds", "Texts", "Texts/s", "In encoder"),
        rows=tuple(
            (
                row.task,
                row.type,
                score(row.score),
                seconds(row.seconds),
                count(row.texts),
                count(None if row.texts_per_second is None else round(row.texts_per_second)),
                percent(row.encoder_percent),
            )
            for row in rows
        ),
        caption=f"Score: the task's main score ({metrics}) in percent. Texts: different ones that were read, and how "
        f"many a second of the encoder's time.{shared} In encoder: share of the seconds.{''.join(problems)}",
        in_terminal=in_terminal,
    )
