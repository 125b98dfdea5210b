"""Where the questions of ``search`` come from, and how what was found for one is shown."""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from transferkit.errors import ConfigError
from transferkit.progress import plain, say

if TYPE_CHECKING:
    from transferkit.embed.search import Hit

PROMPT = "search> "
_LONGEST = 40  # characters of another column's value in a terminal


def check_question(question: str | None, *, texts: str | None) -> None:
    """Refuse a blank question, and questions and texts that would both come from standard input.

    Raises:
        ConfigError: says which.
    """
    if question is None and texts == "-":
        raise ConfigError("search: --texts - takes standard input, and so would the questions; give one as QUESTION")
    if question is not None and not question.strip():
        raise ConfigError("search: the question is empty; write what to look for")


def questions(given: str | None, console: Console) -> Iterator[str]:
    """The one that was given; else what a user types or a pipe brings, a line each, until there is no more.

    Raises:
        ConfigError: nothing came through the pipe.
    """
    if given is not None:
        yield given
        return
    if sys.stdin.isatty():
        say("a question a line; Ctrl-D ends", console, style="dim")
        yield from _typed(console)
        return
    asked = 0
    for line in sys.stdin:
        if line.strip():
            asked += 1
            yield line.strip()
    if not asked:
        raise ConfigError('search: no question; give one, `transferkit search "..."`, or one a line through a pipe')


def _typed(console: Console) -> Iterator[str]:
    with suppress(ImportError):
        import readline  # noqa: F401 - what was typed can then be edited and called up again
    while True:
        try:
            if sys.stdout.isatty():
                line = input(PROMPT)
            else:  # where `input` would write its prompt among the results
                console.print(PROMPT, end="")
                if not (line := sys.stdin.readline()):
                    raise EOFError
        except EOFError:
            say("", console)  # the shell's prompt begins a line of its own
            return
        if line.strip():
            yield line.strip()


def print_hits(hits: "list[Hit]", console: Console) -> None:
    """A line a result: cosine, ``*`` where it stands out, name, text; below it the row's other columns."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="dim")
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for hit in hits:
        shown: Any = plain(hit.entry.text)
        if hit.entry.columns:
            shown = Group(shown, _others(hit.entry.columns))
        table.add_row(f"{'*' if hit.stands_out else ' '}{hit.score:.2f}", plain(hit.entry.name), shown)
    console.print(table)


def said_of(hits: "list[Hit]") -> str | None:
    """What the marks of a question's hits mean; None where there are too few texts for any."""
    if not hits or hits[0].stands_out is None:
        return None
    if hits[0].stands_out:
        return "* stands out: nearer than texts come to each other here that are unrelated"
    return "none stands out: unrelated texts come as near to each other here, so what was asked for may be missing"


def as_json(question: str, hit: "Hit") -> str:
    """A hit as one line."""
    found = {
        "question": question,
        "score": round(hit.score, 4),
        "stands_out": hit.stands_out,
        "name": hit.entry.name,
        "text": hit.entry.text,
        "columns": dict(hit.entry.columns),
    }
    return json.dumps(found, default=str)  # dates


def _others(columns: Any) -> Text:
    cells = (f"{name}: {value}" for name, value in columns.items())
    return plain("  ".join(cell if len(cell) <= _LONGEST else f"{cell[:_LONGEST]}..." for cell in cells), style="dim")
