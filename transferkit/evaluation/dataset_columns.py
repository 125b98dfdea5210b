"""Columns of ``datasets`` read in blocks, however they are gone through."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasets import Column

_BLOCK = 1024  # values read at a time
_LOOKS = 16  # at single values; a column that is asked more often is read whole


@contextmanager
def columns_in_blocks() -> Iterator[None]:
    """Inside the block going through a column is quick, value by value too.

    mteb 2.26 looks at the labels of a training split ten times, one by one, and hands the labels of the test split to
    scikit-learn dozens of times; ``datasets`` 4 and newer answers each look with a query of its table: half a minute
    for 14,000 labels, whatever the model.
    """
    item, items = Column.__getitem__, Column.__iter__

    def look_up(column: Any, key: Any) -> Any:
        if not isinstance(key, int):
            return item(column, key)
        kept = vars(column)
        if "kept" not in kept:
            kept["looks"] = kept.get("looks", 0) + 1
            if kept["looks"] <= _LOOKS:
                return item(column, key)
            kept["kept"] = item(column, slice(None))
        return kept["kept"][key]

    def go_through(column: Any) -> Iterator[Any]:
        for start in range(0, len(column), _BLOCK):
            yield from item(column, slice(start, start + _BLOCK))

    Column.__getitem__, Column.__iter__ = look_up, go_through
    try:
        yield
    finally:
        Column.__getitem__, Column.__iter__ = item, items
