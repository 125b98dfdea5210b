"""Raw numbers for programs: CSV and JSON."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

DIGITS = 6  # behind the point, as in mteb's files: far below what a measurement can tell, above float noise


def number(value: float | None) -> float | int | None:
    """The number itself, whole where it is whole."""
    if value is None:
        return None
    rounded = round(float(value), DIGITS)
    return int(rounded) if rounded.is_integer() else rounded


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """A header, then one line a record; an empty cell is unknown. All records have the first one's keys.

    Text that a spreadsheet would take for a formula stands behind an apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in record.items()} for record in records)
    return out.getvalue()


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = "\n".join(re.split("\r\n?", value))  # csv puts no quotes around "\r", and a spreadsheet ends the row there
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text


def json_text(value: Any) -> str:
    """Indented, letters as they are; null is unknown."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
