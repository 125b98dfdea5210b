"""Numbers as a reader sees them."""

import csv
import io

import pytest

from transferkit.report.formats import count, memory, seconds, short_count, times
from transferkit.report.raw import csv_text


def test_number_formats() -> None:
    assert [count(value) for value in (None, 0, 50, 1234567, 75.5)] == ["", "0", "50", "1,234,567", "75.5"]
    assert [short_count(value) for value in (9600, 14400, 504000, 2.5e6)] == [
        "9,600",
        "14.4 k",
        "504 k",
        "2.5 M",
    ]
    assert [short_count(value) for value in (None, 9999, 10_000, 999_499, 999_600, 999_500_000)] == [
        "",
        "9,999",
        "10 k",
        "999 k",
        "1 M",
        "1 G",
    ]
    assert [seconds(value) for value in (0.0, 12.34, 99.99, 1234.5)] == ["0.0", "12.3", "100.0", "1,234"]
    assert [memory(value) for value in (None, 2**20 * 300, 2**30 * 3)] == ["", "300 MiB", "3.0 GiB"]
    shown = [times(value) for value in (None, 3.97, 1.0, 0.97, 0.5, 0.333)]
    assert shown == ["", "4.0x", "1.0x", "1.0x", "2.0x slower", "3.0x slower"]
    assert times(0.5, below="more") == "2.0x more"


def test_no_text_becomes_a_formula() -> None:
    """A spreadsheet runs what stands behind one of these signs."""
    records = [{"label": sign + "cmd", "score": -1.5} for sign in ("=", "+", "-", "@", "\t", "")]
    rows = list(csv.DictReader(io.StringIO(csv_text(records), newline="")))
    assert [row["label"] for row in rows] == [*(f"'{sign}cmd" for sign in "=+-@\t"), "cmd"]
    assert {row["score"] for row in rows} == {"-1.5"}


@pytest.mark.parametrize("text", ["\r=1+1", "a\r=1+1", "a\r\n=1+1", "\n=1+1"])
def test_no_text_begins_a_row_of_its_own(text: str) -> None:
    """A spreadsheet takes a lone carriage return for the end of a row."""
    written = csv_text([{"name": text, "score": "1"}])
    assert "\r" not in written
    ((_, row),) = enumerate(csv.DictReader(io.StringIO(written, newline="")))
    assert row["score"] == "1"
    assert row["name"].startswith(("a\n=", "'\n="))
