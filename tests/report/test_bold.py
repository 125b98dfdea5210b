"""Cells that stand out, in every form of a table."""

import re
from io import StringIO

from rich.console import Console

from transferkit.report.markdown import markdown_table
from transferkit.report.page import Page, to_html
from transferkit.report.terminal import rich_table
from transferkit.report.view import View

VIEW = View(
    title="Scores",
    header=("Model", "Tasks", "Mean", "Other"),
    rows=(("a", "2", "10.0", "30.0"), ("a", "2", "20.0", "5.0")),
    caption="",
    bold=frozenset({(1, 2), (0, 3)}),
    dispensable=("Mean",),
)


def test_markdown() -> None:
    assert markdown_table(VIEW).splitlines()[4:6] == ["| a | 2 | 10.0 | **30.0** |", "| a | 2 | **20.0** | 5.0 |"]


def test_terminal() -> None:
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(rich_table(VIEW))
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert re.findall(r"\x1b\[1m *(\d.*?)\x1b", shown) == ["30.0", "20.0"]


def test_page() -> None:
    page = Page("t", "s", [], [], [VIEW], None, [], {}, [])
    html = to_html(page)
    assert "<td>10.0</td><td><strong>30.0</strong></td>" in html
    assert "<td><strong>20.0</strong></td><td>5.0</td>" in html


def test_a_narrow_table_keeps_what_it_can() -> None:
    narrow = VIEW.narrowed()
    assert narrow.header == ("Model", "Tasks", "Other")
    assert narrow.bold == {(0, 2)}
