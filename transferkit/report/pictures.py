"""The look that all pictures share, and how one is written. matplotlib is imported inside the functions only."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.files.json import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, by method; several rows of a method share a
# family of hues and differ in the line's style as well, and where these are used up in the mark at its end.
COLOURS = {
    "transfer": ("#d55e00", "#e69f00", "#a8445f", "#7a5c14", "#ef9a7a"),
    "lora": ("#0072b2", "#56b4e9", "#5b6ee1", "#133c6b", "#3d9aa3"),
    "qlora": ("#8a63b8", "#cc79a7"),
    "prompt-tuning": ("#009e73", "#7cae3a"),
}
OTHER_COLOUR = "#7a7a7a"
MUTED = "#5c5f66"  # words of the levels
PAPER = "#ffffff"  # the HTML page makes it transparent
INK = "#2b2f36"  # text and axes; the HTML page replaces it with the page's own text colour
_SIZE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "legend.fontsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
}
STYLE: Any = {
    **_SIZE,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "text.parse_math": False,  # a label may hold a dollar sign
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "transferkit",  # ids that do not change from run to run
    "svg.fonttype": "path",
}


def write_figure(draw: Callable[[], "Figure"], folder: Path, name: str) -> list[Path]:
    """Write what ``draw`` gives as ``name.png`` (150 dpi) and ``name.svg``, in the look that all pictures share."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the drawing
        matplotlib.rcParams.update(STYLE)
        figure = draw()
        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        options: tuple[dict[str, Any], ...] = (
            {"format": "png", "dpi": 150, "metadata": {"Software": None}},
            {"format": "svg", "metadata": {"Date": None, "Creator": None}},
        )
        for file, one in zip((png, svg), options, strict=True):
            figure.savefig(drawn := BytesIO(), facecolor=PAPER, **one)
            write_bytes(file, drawn.getvalue())
    return [png, svg]


def shorten(words: str, limit: int) -> str:
    """``words``, where they are longer less their middle: what tells one row from another stands at the end."""
    if len(words) <= limit:
        return words
    start = limit // 3
    return words[:start].rstrip() + "…" + words[start + 1 - limit :].lstrip()
