"""Rows of an evaluation -> means as mteb's leaderboards take them, and tables for terminal, Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from transferkit.convergence.formats import count, percent, score, seconds
from transferkit.convergence.tables import View, markdown_table
from transferkit.errors import ConfigError
from transferkit.runs import write_text

_DIGITS = 6  # of raw numbers, as in mteb's files


@dataclass(frozen=True)
class TaskRow:
    """One encoder on one task. ``score`` is the task's main score in percent; None where the task failed.

    Attributes:
        metric: which score is the main one.
        seconds: of the task in all, data and scoring included.
        encoder_seconds: of them, those in the encoder.
        texts: different texts that were embedded.
        kept: the score was there already; then the times are those of the run that measured it.
        problem: why there is no score.
    """

    model: str
    method: str
    revision: str
    task: str
    type: str
    metric: str
    score: float | None = None
    seconds: float | None = None
    encoder_seconds: float | None = None
    texts: int | None = None
    mteb_version: str | None = None
    kept: bool = False
    problem: str | None = None

    @property
    def texts_per_second(self) -> float | None:
        """Texts a second of the encoder's time."""
        return _ratio(self.texts, self.encoder_seconds)

    @property
    def encoder_percent(self) -> float | None:
        """Share of the time that was spent in the encoder."""
        share = _ratio(self.encoder_seconds, self.seconds)
        return None if share is None else 100 * share


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


@dataclass(frozen=True)
class Means:
    """Mean over tasks, over the means of the types, and of each type; None while one of the scores is missing."""

    over_tasks: float | None
    over_types: float | None
    by_type: dict[str, float | None]


def means(rows: Sequence[TaskRow], *, tasks: int) -> Means:
    """Means as on mteb's leaderboards.

    Args:
        rows: of one encoder.
        tasks: how many there are when all are done; with fewer scores no mean over all of them is given.
    """
    types = dict.fromkeys(row.type for row in rows)
    by_type = {kind: _mean([row.score for row in rows if row.type == kind]) for kind in types}
    if len(rows) < tasks:
        return Means(None, None, by_type)
    return Means(_mean([row.score for row in rows]), _mean(list(by_type.values())), by_type)


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers and len(numbers) == len(values) else None


def by_encoder(rows: Sequence[TaskRow]) -> list[list[TaskRow]]:
    """The rows of each encoder, in the order in which they were run."""
    found: dict[tuple[str, str, str], list[TaskRow]] = {}
    for row in rows:
        found.setdefault((row.model, row.method, row.revision), []).append(row)
    return list(found.values())


def throughput(rows: Sequence[TaskRow]) -> str:
    """What was run now, in words: texts, texts a second, share of the time in the encoder."""
    run = [row for row in rows if not row.kept and row.texts is not None]
    if not run:
        return "nothing was run: no weight, setting, instruction or text has changed"
    texts, inside, whole = (sum(getattr(row, name) for row in run) for name in ("texts", "encoder_seconds", "seconds"))
    rate, share = _ratio(texts, inside), _ratio(100 * inside, whole)
    return (
        f"{count(texts)} texts in {seconds(whole)} s: {count(round(rate or 0))} texts/s in the encoder, "
        f"{percent(share)} of the time in it"
    )


def views(rows: Sequence[TaskRow], *, tasks: int) -> list[View]:
    """Means with a line an encoder, means of the types, and the tasks of each encoder.

    With several encoders only the first stands in a terminal, where the others would be too wide or too long.
    """
    encoders = by_encoder(rows)
    lines = []
    for own in encoders:
        mean = means(own, tasks=tasks)
        done = sum(row.score is not None for row in own)
        lines.append((_label(own), f"{done} of {tasks}", score(mean.over_tasks), score(mean.over_types)))
    overall = View(
        title="Means",
        header=("Model", "Tasks", "Over tasks", "Over types"),
        rows=tuple(lines),
        caption="Main scores in percent: mean over all tasks, mean over the means of the types of task.",
    )
    alone = len(encoders) == 1
    return [
        overall,
        _types_view(encoders, in_terminal=alone),
        *[_tasks_view(own, in_terminal=alone) for own in encoders],
    ]


def _label(rows: Sequence[TaskRow]) -> str:
    return f"{rows[0].model}: {rows[0].method}"


def _types_view(encoders: Sequence[Sequence[TaskRow]], *, in_terminal: bool) -> View:
    """A line a type of task, or with several encoders a line each and a column a type."""
    types = list(dict.fromkeys(row.type for own in encoders for row in own))
    found = [means(own, tasks=len(own)).by_type for own in encoders]
    lines: list[tuple[str, ...]]
    if in_terminal:
        counted = [(kind, str(sum(row.type == kind for row in encoders[0]))) for kind in types]
        lines = [(kind, number, score(found[0][kind])) for kind, number in counted]
        header: tuple[str, ...] = ("Type", "Tasks", "Mean")
    else:
        one = zip(encoders, found, strict=True)
        lines = [(_label(own), "", *[score(by_type.get(kind)) for kind in types]) for own, by_type in one]
        header = ("Model", "", *types)
    return View("Means of types", header, tuple(lines), "Mean of the main scores in percent.", in_terminal=in_terminal)


def _tasks_view(rows: Sequence[TaskRow], *, in_terminal: bool) -> View:
    problems = [f" {row.task} failed: {row.problem}." for row in rows if row.problem is not None]
    metrics = ", ".join(dict.fromkeys(row.metric for row in rows))
    return View(
        title=_label(rows),
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
        caption=f"Score: the task's main score ({metrics}) in percent. Texts: different ones that were embedded, and "
        f"how many a second of the encoder's time. In encoder: share of the seconds.{''.join(problems)}",
        in_terminal=in_terminal,
    )


def to_markdown(rows: Sequence[TaskRow], *, tasks: int) -> str:
    """All tables as GitHub-flavoured Markdown."""
    parts = ["# Evaluation", *[markdown_table(view) for view in views(rows, tasks=tasks)]]
    revisions = [f"- {own[0].model}: `{own[0].revision}`" for own in by_encoder(rows)]
    parts.append("\n".join(["## Revisions", "", *revisions]))
    return "\n\n".join(parts) + "\n"


def to_csv(rows: Sequence[TaskRow]) -> str:
    """One line a row, raw numbers; an empty cell is unknown."""
    records = [_record(row) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def to_json(rows: Sequence[TaskRow], *, tasks: int) -> str:
    """Rows and means; null is unknown."""
    encoders = [
        {"model": own[0].model, "method": own[0].method, **asdict(means(own, tasks=tasks))} for own in by_encoder(rows)
    ]
    return json.dumps({"rows": [_record(row) for row in rows], "means": encoders}, indent=2, ensure_ascii=False) + "\n"


def _record(row: TaskRow) -> dict[str, Any]:
    """``kept`` is of the moment and stays out, so that a second call writes the same files."""
    record = asdict(row) | {"texts_per_second": row.texts_per_second, "encoder_percent": row.encoder_percent}
    record.pop("kept")
    return {key: round(value, _DIGITS) if isinstance(value, float) else value for key, value in record.items()}


def write_tables(rows: Sequence[TaskRow], folder: Path, *, tasks: int) -> list[Path]:
    """Write ``table.md`` and ``table.csv``.

    Raises:
        ConfigError: the folder cannot be written.
    """
    texts = {"table.md": to_markdown(rows, tasks=tasks), "table.csv": to_csv(rows)}
    try:
        for name, text in texts.items():
            write_text(folder / name, text)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot write the table there ({error.strerror}); choose another with --out"
        ) from None
    return [folder / name for name in texts]
