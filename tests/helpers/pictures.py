"""Pictures before they are written, and what every one owes its reader: no word covers another one or leaves it."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.text import Text

from transferkit.convergence.comparison import Comparison
from transferkit.report.pictures import STYLE


def drawn(write: Callable[[Comparison, Path], Any], comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The figure that ``write`` would write."""
    figures: list[Any] = []
    monkeypatch.setattr(f"{write.__module__}.write_figure", lambda draw, folder, name: figures.append(draw()))
    write(comparison, Path())
    return figures[0]


def assert_words_stay_apart(draw: Callable[[], Any]) -> None:
    """Of the figure that ``draw`` makes in the look of all pictures."""
    with matplotlib.rc_context(STYLE):
        figure = draw()
        figure.canvas.draw()
        not_drawn = _labels_outside(figure)
        texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
        texts = [text for text in texts if text not in not_drawn]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    width, height = figure.canvas.get_width_height()
    for words, box in boxes:
        assert box.x0 >= 0, words
        assert box.y0 >= 0, words
        assert box.x1 <= width, words
        assert box.y1 <= height, words
    for (one, first), (other, second) in combinations(boxes, 2):
        beside = min(first.x1, second.x1) - max(first.x0, second.x0) <= 1
        above = min(first.y1, second.y1) - max(first.y0, second.y0) <= 1
        assert beside or above, (one, other)


def _labels_outside(figure: Any) -> set[Text]:
    """Labels of ticks beyond the ends of their axis, which matplotlib makes but does not draw."""
    found: set[Text] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                found |= {tick.label1, tick.label2}
    return found
