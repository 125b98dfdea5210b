"""Attention report -> heat map as PNG and SVG. matplotlib is imported inside the functions only.

One text: layers by tokens, before above after. Several texts: layers by kinds of token, before beside after.
"""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.attention.report import Report, Side, heading
from transferkit.attention.shares import GROUPS, Token
from transferkit.methods.described import one_line
from transferkit.report.pictures import INK, MUTED, PAPER, shorten, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

# Okabe and Ito's colours less the blue ones, which are the scale's; grey for what is no word.
GROUP_COLOURS = dict(
    zip(GROUPS, ("#7a7a7a", "#e69f00", "#cc79a7", "#9fdcc6", "#009e73", "#c9ccd1", "#d55e00", PAPER), strict=True)
)
_SCALE = (PAPER, "#9ecbea", "#0072b2", "#0b2545")
_SCALE_NAME = "share of attention, %\n(square-root scale)"
_BAR = 1.5  # inches of the colour bar that its own name needs
_TOKEN = 0.23  # inches of a column of tokens
_GROUP = 0.95  # inches of a column of groups
_LETTER = 0.074  # inches of a letter of a token's name
_LEFT, _RIGHT, _TOP = 0.75, 1.25, 1.0  # inches around the panels
_TITLE, _SUBTITLE, _HEADING = 0.1, 0.076, 0.08  # inches of a letter of each


def write_heat_map(report: Report, folder: Path) -> list[Path]:
    """Write ``attention.png`` and ``attention.svg``; the same report gives the same bytes."""
    import warnings

    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box; the numbers beside the picture have it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        return write_figure(lambda: draw(report), folder, "attention")


def draw(report: Report) -> "Figure":
    """The heat map: of tokens where there is one text, else of kinds of token."""
    return _tokens_figure(report) if report.before.look is not None else _groups_figure(report)


def _tokens_figure(report: Report) -> "Figure":
    """Panels below each other, each with its own tokens, whose columns line up as far as the rows agree."""
    looks = [(name, side, side.look) for name, side in report.sides().items() if side.look is not None]
    names = [[_name(token) for token in look.tokens] for _, _, look in looks]
    row = _row_height(len(report.before.layers))
    panel = row * (len(report.before.layers) + 2.4)
    below = [_LETTER * max(map(len, one)) + 0.5 for one in names]  # names, and the next panel's title
    widest = max(map(len, names))
    width = max(7.6, _LEFT + _TOKEN * widest + _RIGHT)
    height = _TOP + sum(panel + space for space in below) + 0.1
    figure = _figure(width, height)
    text = one_line("".join(_joined(looks[0][2].tokens)))
    shown = shorten(text, int((width - 0.25) / _TITLE) - len("Where the vector of “” looks"))
    _titles(figure, report, f"Where the vector of “{shown}” looks", height)
    tables = [_with_mean(look.shares) for _, _, look in looks]
    colours, norm = _colours(tables)
    top = height - _TOP
    for (name, side, look), table, labels, space in zip(looks, tables, names, below, strict=True):
        inches = (_LEFT, top - panel, _TOKEN * len(labels), panel)
        title = shorten(heading(name, side), int((width - _LEFT) / _HEADING))
        axes = _panel(figure, inches, table, side, title=title, colours=colours, norm=norm)
        axes.set_ylim(-2.4, len(side.layers))
        for place, token in enumerate(look.tokens):
            box = {"facecolor": GROUP_COLOURS[token.group], "edgecolor": PAPER, "linewidth": 0.5}
            axes.add_patch(_rectangle(place, -2.3, 1, 0.6, **box))
        axes.set_xticks(np.arange(len(labels)) + 0.5, labels, rotation=90, fontsize=8.5)
        top -= panel + space
    _legend(figure, {token.group for _, _, look in looks for token in look.tokens}, height)
    _colour_bar(figure, colours, norm, (width - 1.0, height - _TOP - panel, panel))
    return figure


def _groups_figure(report: Report) -> "Figure":
    """Panels beside each other, a number in every cell."""
    sides = report.sides()
    groups = [GROUPS.index(group) for group in report.groups()]
    row = max(0.24, _row_height(len(report.before.layers)))
    panel, gap = row * (len(report.before.layers) + 1.4), 0.55
    panel_width = _GROUP * len(groups)
    width = max(7.6, _LEFT + len(sides) * (panel_width + gap) - gap + _RIGHT)
    height = _TOP + max(panel + 0.55, _BAR + 0.15)
    figure = _figure(width, height)
    n = len(report.before.shares)
    _titles(figure, report, f"Where the vectors of {n:,} texts look, mean over texts", height)
    tables = [_with_mean(side.shares.mean(axis=0)[:, groups]) for side in sides.values()]
    colours, norm = _colours(tables)
    for place, ((name, side), table) in enumerate(zip(sides.items(), tables, strict=True)):
        inches = (_LEFT + place * (panel_width + gap), height - _TOP - panel, panel_width, panel)
        room = panel_width + gap if place + 1 < len(sides) else width - inches[0]
        title = shorten(heading(name, side), int(room / _HEADING))
        axes = _panel(figure, inches, table, side, title=title, colours=colours, norm=norm)
        axes.set_ylim(-1.4, len(side.layers))
        for (y, x), share in np.ndenumerate(table):
            dark = norm(100 * share) > 0.5
            middle = y + 0.5 if y < len(side.layers) else -0.9
            colour = PAPER if dark else INK
            axes.text(x + 0.5, middle, f"{100 * share:.1f}", ha="center", va="center", fontsize=8, color=colour)
        tokens = side.tokens.mean(axis=0)
        labels = [f"{GROUPS[group]}\n{100 * tokens[group]:.0f} % of tokens" for group in groups]
        axes.set_xticks(np.arange(len(groups)) + 0.5, labels, fontsize=7.5)
        if place:
            axes.set_ylabel("")
    _colour_bar(figure, colours, norm, (width - 1.0, height - _TOP - panel, panel))
    return figure


def _panel(
    figure: "Figure",
    inches: tuple[float, float, float, float],
    table: np.ndarray,
    side: Side,
    *,
    title: str,
    colours: "Colormap",
    norm: "Normalize",
) -> "Axes":
    """Layers upwards, their mean as a row of its own below them."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = inches
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
    layers, columns = len(side.layers), table.shape[1]
    look: dict[str, Any] = {"cmap": colours, "norm": norm, "edgecolors": PAPER, "linewidth": 0.5}
    axes.pcolormesh(np.arange(columns + 1), np.arange(layers + 1), 100 * table[:-1], **look)
    axes.pcolormesh(np.arange(columns + 1), [-1.4, -0.4], 100 * table[-1:], **look)
    step = 1 if layers <= 16 else 2 if layers <= 32 else 4
    ticks = [place for place in range(layers) if (layers - 1 - place) % step == 0]
    axes.set_yticks([-0.9, *(place + 0.5 for place in ticks)], ["mean", *(str(side.layers[place]) for place in ticks)])
    axes.set_ylabel("layer")
    axes.set_title(title, loc="left", fontsize=9.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlim(0, columns)
    return axes


def _titles(figure: "Figure", report: Report, title: str, height: float) -> None:
    figure.text(0.12 / figure.get_figwidth(), 1 - 0.3 / height, title, fontsize=11, fontweight="bold")
    subtitle = f"{report.backbone}: what the pooled positions attend to, mean over heads"
    subtitle += f", instruction “{one_line(report.instruction)}”" if report.instruction else ""
    subtitle = shorten(subtitle, int((figure.get_figwidth() - 0.2) / _SUBTITLE))
    figure.text(0.12 / figure.get_figwidth(), 1 - 0.52 / height, subtitle, fontsize=9, color=MUTED)


def _colours(tables: list[np.ndarray]) -> "tuple[Colormap, Normalize]":
    """One scale for all panels. A square root, because one token often takes most and the rest would all look white."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    largest = max(float(table.max()) for table in tables)
    return LinearSegmentedColormap.from_list("shares", _SCALE), PowerNorm(0.5, vmin=0, vmax=100 * largest)


def _colour_bar(figure: "Figure", colours: "Colormap", norm: "Normalize", inches: tuple[float, float, float]) -> None:
    from matplotlib.cm import ScalarMappable

    width, height = figure.get_size_inches()
    left, bottom, high = inches
    high, bottom = max(high, _BAR), min(bottom, bottom + high - _BAR)
    axes = figure.add_axes((left / width, bottom / height, 0.14 / width, high / height))
    largest = float(norm.vmax or 0)
    ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 40, 60, 80, 100) if tick <= largest]
    shown = [tick for tick, after in pairwise([*ticks, 1e9]) if norm(after) - norm(tick) > 0.06 or tick == 0]
    figure.colorbar(ScalarMappable(norm, colours), cax=axes, ticks=shown, format="{x:g}").set_label(_SCALE_NAME)
    axes.tick_params(labelsize=8)
    axes.yaxis.label.set_fontsize(8.5)


def _legend(figure: "Figure", groups: set[str], height: float) -> None:
    shown = [group for group in GROUPS if group in groups]
    handles = [_rectangle(0, 0, 1, 1, facecolor=GROUP_COLOURS[group]) for group in shown]
    place = (0.08 / figure.get_figwidth(), 0.03 / height)
    figure.legend(
        handles,
        shown,
        loc="lower left",
        bbox_to_anchor=place,
        ncols=len(shown),
        frameon=False,
        fontsize=8.5,
        handlelength=1.0,
        columnspacing=1.2,
    )


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _rectangle(x: float, y: float, width: float, height: float, **look: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, **look)


def _row_height(layers: int) -> float:
    return 0.24 if layers <= 16 else 0.15


def _with_mean(table: np.ndarray) -> np.ndarray:
    """Layers by columns, and their mean as the last row."""
    return np.concatenate([table, table.mean(axis=0, keepdims=True)])


def _name(token: Token) -> str:
    """A token below its column; a further piece of a word begins with a dot."""
    name = one_line(token.name.strip(" ")) or "␣"
    return shorten(name if token.opens else f"·{name}", 20)


def _joined(tokens: list[Token]) -> list[str]:
    """The text's own words and punctuation."""
    return [token.name for token in tokens if token.group in ("stop words", "content words", "punctuation")]
