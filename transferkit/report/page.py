"""One self-contained HTML page: styles and drawings stand inside it. Light or dark follows the reader's system.

What it looks like is in ``page.html.j2`` and ``page.css``; everything that is put into it is escaped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from transferkit.report.pictures import COLOURS, INK, MUTED, OTHER_COLOUR, PAPER
from transferkit.report.view import View

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """A drawing of :func:`inline_svg` and what stands below it."""

    drawing: Markup
    caption: str


@dataclass(frozen=True)
class RunFacts:
    """A run's name, its row, and what a reader needs to repeat or doubt it: what -> the fact."""

    name: str
    label: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Page:
    """What a page says, in this order. ``marked`` are the first two cells of the rows that stand out in each view."""

    title: str
    subtitle: str
    findings: Sequence[str]
    figures: Sequence[Figure]
    views: Sequence[View]
    marked: tuple[str, str] | None
    notes: Sequence[str]
    definitions: dict[str, str]
    runs: Sequence[RunFacts]


def to_html(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = Markup((_HERE / "page.css").read_text(encoding="utf-8").rstrip())
    return environment.get_template("page.html.j2").render(page=page, style=style)


def inline_svg(svg: str, *, label: str) -> Markup:
    """A picture's SVG without prolog and metadata, in colours that follow the page.

    Args:
        svg: the text of a file that :func:`transferkit.report.pictures.write_figure` wrote.
        label: what it shows, for readers that do not see it.
    """
    drawing = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for colour in (*(one for family in COLOURS.values() for one in family), OTHER_COLOUR, MUTED):
        drawing = drawing.replace(colour, f"var(--{colour.removeprefix('#')}, {colour})")
    drawing = drawing.replace(INK, "currentColor").replace(f"fill: {PAPER}", "fill: none")
    named = Markup('<svg role="img" aria-label="{}"').format(label)
    return Markup(drawing.replace("<svg", str(named), 1))
