"""The HTML page: what is put into it stays text, and its pictures can be read on a dark page too."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from transferkit.report import page as module
from transferkit.report.page import Figure, Page, RunFacts, inline_svg, to_html
from transferkit.report.pictures import COLOURS, INK, MUTED, OTHER_COLOUR, PAPER
from transferkit.report.view import View

EVIL = """<script>alert("x")</script> & 'y' {{ page }}"""
STYLE = Path(module.__file__).with_name("page.css").read_text(encoding="utf-8")


def page(words: str) -> Page:
    """Words everywhere."""
    return Page(
        title=words,
        subtitle=words,
        findings=[words],
        figures=[Figure(inline_svg("<?xml?><svg></svg>", label=words), words)],
        views=[View(words, (words, words), ((words, words),), words)],
        marked=(words, words),
        notes=[words],
        definitions={words: words},
        runs=[RunFacts(words, words, {words: words})],
    )


def test_what_is_put_into_the_page_stays_text() -> None:
    html, harmless = to_html(page(EVIL)), to_html(page("word"))
    assert "<script" not in html
    assert html.count(str(escape(EVIL))) == harmless.count("word") > 15
    assert re.findall(r"<\w+", html) == re.findall(r"<\w+", harmless)


def test_a_name_that_the_page_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        to_html("no page")  # type: ignore[arg-type]


def test_a_picture_follows_the_colours_of_the_page() -> None:
    colours = [*(one for family in COLOURS.values() for one in family), OTHER_COLOUR, MUTED]
    marks = "".join(f'<path style="stroke: {colour}"/>' for colour in (*colours, INK))
    svg = f'<?xml?><svg><metadata>who</metadata><g style="fill: {PAPER}"/>{marks}</svg>'
    drawing = inline_svg(svg, label="a picture")
    assert drawing.startswith('<svg role="img" aria-label="a picture">')
    assert "who" not in drawing
    assert "fill: none" in drawing
    assert "stroke: currentColor" in drawing
    named = re.findall(r"var\((--\w+), (#\w+)\)", drawing)
    assert [fallback for _, fallback in named] == colours
    on_dark = STYLE.split("prefers-color-scheme: dark")[1]
    assert all(f"{name}: #" in on_dark for name, _ in named)
