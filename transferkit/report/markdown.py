"""A view -> GitHub-flavoured Markdown."""

import re

from transferkit.report.view import View


def markdown_table(view: View) -> str:
    """A heading, the view as a table, its caption."""
    rule = "| " + " | ".join("---" if position < 2 else "---:" for position in range(len(view.header))) + " |"
    lines = [f"## {escape_markdown(view.title)}", "", _row(view.header), rule]
    return "\n".join([*lines, *map(_row, view.rows), "", escape_markdown(view.caption)])


def escape_markdown(text: str) -> str:
    """Text with nothing that Markdown or HTML would read as its own."""
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"
