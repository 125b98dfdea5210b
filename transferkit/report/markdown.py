"""A view -> GitHub-flavoured Markdown."""

import re
from collections.abc import Sequence

from transferkit.report.view import View


def markdown_table(view: View) -> str:
    """A heading, the view as a table, its caption."""
    rule = "| " + " | ".join("---" if position < 2 else "---:" for position in range(len(view.header))) + " |"
    lines = [f"## {escape_markdown(view.title)}", "", _row(view.header), rule]
    bold = [
        [column for column in range(len(row)) if (place, column) in view.bold] for place, row in enumerate(view.rows)
    ]
    rows = [_row(row, bold=columns) for row, columns in zip(view.rows, bold, strict=True)]
    return "\n".join([*lines, *rows, "", escape_markdown(view.caption)])


def escape_markdown(text: str) -> str:
    """Text with nothing that Markdown or HTML would read as its own."""
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def _row(cells: tuple[str, ...], *, bold: Sequence[int] = ()) -> str:
    texts = [escape_markdown(cell) for cell in cells]
    return "| " + " | ".join(f"**{text}**" if column in bold else text for column, text in enumerate(texts)) + " |"
