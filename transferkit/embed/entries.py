"""What a file of texts holds beside them: the other columns of its rows, for whoever finds one."""

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from transferkit.files.tables import STREAMED, read_table

_SHOWN = (str, int, float, bool, date, datetime, time)  # no vectors, nested values or bytes


def other_columns(texts: str, *, column: str) -> list[dict[str, Any]] | None:
    """Column -> value of each row, without the text, empty values and such as no line could show.

    None where the file has no columns.

    Args:
        texts: a file that was read before, or ``-``.
        column: holds the text.
    """
    path = Path(texts)
    if texts == "-" or path.suffix.lower() not in STREAMED:
        return None
    names, _ = read_table(path, (), where=texts)
    left_out = {column, *(_nested(path) if path.suffix.lower() == ".parquet" else ())}
    others = [name for name in names if name not in left_out]
    if not others:
        return None
    _, values = read_table(path, others, where=texts)
    rows = zip(*(values[name] for name in others), strict=True)
    return [{name: value for name, value in zip(others, row, strict=True) if _is_shown(value)} for row in rows]


def _nested(path: Path) -> list[str]:
    """Columns of a parquet file that hold lists or the like, as vectors: to read them would take most of the time."""
    import pyarrow.parquet

    return [field.name for field in pyarrow.parquet.read_schema(path) if field.type.num_fields]


def _is_shown(value: object) -> bool:
    return isinstance(value, _SHOWN) and value != "" and value == value  # NaN stands for nothing
