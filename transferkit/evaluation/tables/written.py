"""Rows of an evaluation as Markdown, CSV and JSON, and the files that hold them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transferkit.evaluation.tables.matrix import Matrix, matrix_of
from transferkit.evaluation.tables.rows import TaskRow, by_encoder, means, spreads
from transferkit.evaluation.tables.views import views
from transferkit.files.json import write_text
from transferkit.files.writable import writing
from transferkit.report.intervals import DRAWS, LEVEL, Interval
from transferkit.report.markdown import markdown_table
from transferkit.report.raw import DIGITS, csv_text, json_text, number


def to_markdown(rows: Sequence[TaskRow], *, types: Sequence[str]) -> str:
    """All tables as GitHub-flavoured Markdown."""
    parts = ["# Evaluation", *[markdown_table(view) for view in views(rows, types=types)]]
    revisions = [f"- {own[0].label}: `{own[0].revision}`" for own in by_encoder(rows)]
    parts.append("\n".join(["## Revisions", "", *revisions]))
    return "\n\n".join(parts) + "\n"


def to_csv(rows: Sequence[TaskRow]) -> str:
    """One line a row, those of an encoder together, raw numbers; an empty cell is unknown."""
    return csv_text([_record(row) for own in by_encoder(rows) for row in own])


def to_json(rows: Sequence[TaskRow], *, types: Sequence[str]) -> str:
    """The matrix, rows, means and spreads; null is unknown."""
    encoders = [
        {"model": own[0].model, "method": own[0].method, **asdict(means(own, types=types))} for own in by_encoder(rows)
    ]
    content = {
        "matrix": matrix_json(matrix_of(rows, types=types)),
        "rows": [_record(row) for row in rows],
        "means": encoders,
        "spreads": [asdict(one) for one in spreads(rows, types=types)],
    }
    return json_text(content)


def _record(row: TaskRow) -> dict[str, Any]:
    """``kept`` is of the moment and stays out, so that a second call writes the same files."""
    record = asdict(replace(row, samples=None)) | {
        "texts_per_second": row.texts_per_second,
        "encoder_percent": row.encoder_percent,
    }
    for name in ("kept", "samples"):
        record.pop(name)
    return {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in record.items()}


def write_tables(rows: Sequence[TaskRow], folder: Path, *, types: Sequence[str]) -> list[Path]:
    """Write ``table.md`` and ``.csv``, ``matrix.csv`` and ``.json``, over those that are there.

    Raises:
        RefusedError: the folder cannot be written; a ConfigError where a file is in the way.
    """
    matrix = matrix_of(rows, types=types)
    texts = {
        "table.md": to_markdown(rows, types=types),
        "table.csv": to_csv(rows),
        "matrix.csv": matrix_csv(matrix),
        "matrix.json": json_text(matrix_json(matrix)),
    }
    way_out = "the scores are kept, mend that and run it again, or choose another with --out"
    with writing(f"{folder}: cannot write the table there", way_out=way_out):
        for name, text in texts.items():
            write_text(folder / name, text)
    return [folder / name for name in texts]


def matrix_csv(matrix: Matrix) -> str:
    """A line a model, raw numbers; the last one, ``n``, has how many were scored."""
    records = [
        {
            "model": line.model,
            "method": line.method,
            "mean": number(line.mean),
            **_flat("mean_to_first", line.against_first),
            **{task: number(value) for task, value in line.scores.items()},
        }
        for line in matrix.lines
    ]
    empty = dict.fromkeys(records[0])
    return csv_text([*records, {**empty, "model": "n", **matrix.judged}])


def matrix_json(matrix: Matrix) -> dict[str, Any]:
    """The same with the interval of every task; null is unknown."""
    return {
        "judged": matrix.judged,
        "bootstrap": {"resampled": matrix.resampled, "draws": DRAWS, "percent": LEVEL},
        "models": [
            {
                "model": line.model,
                "method": line.method,
                "mean": number(line.mean),
                "scores": {task: number(value) for task, value in line.scores.items()},
                **_flat("mean_to_first", line.against_first),
                "to_first": {
                    task: {"difference": number(one.difference), "low": number(one.low), "high": number(one.high)}
                    for task, one in line.by_task.items()
                    if one is not None
                },
            }
            for line in matrix.lines
        ],
    }


def _flat(name: str, found: Interval | None) -> dict[str, Any]:
    return {
        name: None if found is None else number(found.difference),
        f"{name}_low": None if found is None else number(found.low),
        f"{name}_high": None if found is None else number(found.high),
    }
