"""A view -> a table of rich."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from transferkit.progress import plain
from transferkit.report.view import View


def rich_table(view: View) -> Table:
    """The view as a borderless table; on a narrow terminal names and ranges wrap, numbers never do."""
    table = Table(
        title=plain(view.title, style="table.title"),
        caption=plain(view.caption, style="table.caption"),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for position, name in enumerate(view.header):
        may_wrap = position == 0 or name in view.wrapping
        table.add_column(
            plain(name.replace(" ", "\n") if view.stacked and not may_wrap else name),
            justify="left" if position < 2 else "right",
            overflow="fold",
            no_wrap=not may_wrap,
            min_width=12 if position == 0 else 7 if may_wrap else None,
        )
    previous = ""
    for place, row in enumerate(view.rows):
        cells = (row[0] if row[0] != previous else "", *row[1:])
        bold = ["bold" if (place, column) in view.bold else "" for column in range(len(cells))]
        table.add_row(*[plain(cell, style=style) for cell, style in zip(cells, bold, strict=True)])
        previous = row[0]
    return table
