"""Convergence table -> one line a row: where it starts, how far it comes, what that is worth on the other sets.

Curves show how a few rows get there; this shows many rows, untrained ones too, at a glance. matplotlib is imported
inside the functions only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.convergence.comparison import Comparison, Row, scored_rows
from transferkit.convergence.series import READOUT_NAMES, Readout
from transferkit.report.formats import count, score
from transferkit.report.pictures import COLOURS, INK, MUTED, OTHER_COLOUR, PAPER, shorten, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME = 60  # characters of a line of a label that stand beside the panels
_FITS = 40  # characters of a label of 10 points below the narrower panel
_SETS = 24  # characters of the sets' names that stand below a panel
_LINE = 0.36  # inches a label


def write_scores(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``scores.png`` and ``scores.svg``; the same records give the same bytes."""
    return write_figure(lambda: _figure(comparison), folder, "scores")


def _figure(comparison: Comparison) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(row.series.label for row in comparison.rows))
    names = [[shorten(line, _NAME) for line in label.replace(" [", "\n[", 1).split("\n")] for label in labels]
    left = 0.3 + 0.067 * max(len(line) for lines in names for line in lines)  # inches; 8.5 points of DejaVu Sans
    height = _LINE * len(labels) + 1.4
    figure = Figure(figsize=(left + 7.5, height))
    FigureCanvasAgg(figure)
    panels = (False, True) if any(row.other is not None for row in comparison.rows) else (False,)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=(3, 2)[: len(panels)])[0]
    for axes, other in zip(grid, panels, strict=True):
        _draw(axes, comparison, labels, other=other)
    grid[0].set_yticks(range(len(labels)), ["\n".join(lines) for lines in names], fontsize=8.5, linespacing=1.15)
    grid[0].set_ylim(len(labels) - 0.4, -0.6)
    for axes in grid[1:]:
        axes.tick_params(labelleft=False)
    figure.subplots_adjust(
        left=left / (left + 7.5), right=0.985, top=1 - 0.35 / height, bottom=0.95 / height, wspace=0.05
    )
    _legend(figure, comparison, x=left / (left + 7.5), height=height)
    return figure


def _draw(axes: "Axes", comparison: Comparison, labels: list[str], *, other: bool) -> None:
    """The rows' scores, or with ``other`` those on the sets that select nothing."""
    reference = comparison.reference
    level = None if reference is None else reference.other if other else reference.best
    for row in comparison.rows:
        y = labels.index(row.series.label) + {"plain": 0.16, "delivered": 0.0}.get(row.series.readout, -0.16)
        colour = COLOURS.get(row.series.method, (OTHER_COLOUR,))[0]
        if other:
            if row.other is not None:
                _dot(axes, row.other, y, colour, row.series.readout)
            continue
        if row.best_low < row.best_high:
            axes.plot(
                [row.best_low, row.best_high], [y, y], color=colour, alpha=0.3, lw=6, solid_capstyle="butt", zorder=2
            )
        if row.initial is not None and row.series.last_step > 0:
            axes.plot([row.initial, row.best], [y, y], color=colour, linewidth=1.2, zorder=3)
            axes.plot([row.initial], [y], color=colour, marker="|", markersize=7, zorder=3)
        _dot(axes, row.best, y, colour, row.series.readout)
    choose = "choose" if len(comparison.others) > 1 else "chooses"
    sets = _sets(comparison.others if other else comparison.selecting, comparison)
    words = f"{sets}, which {choose} nothing, %" if other else f"{sets}, %"
    axes.set_xlabel(words, fontsize=10 if len(words) <= _FITS else 8)
    axes.grid(axis="both", color=OTHER_COLOUR, alpha=0.18, linewidth=0.7)
    axes.margins(x=0.06)
    if level is not None:
        axes.axvline(level, color=INK, linestyle=(0, (1, 2)), linewidth=1.0, zorder=1)
        # The words stay inside their panel: they end at a line that stands on its right.
        left, right = axes.get_xlim()
        end = level > (left + right) / 2
        axes.text(
            level,
            1.01,
            f"LoRA's {'' if other else 'best '}{score(level)}",
            transform=axes.get_xaxis_transform(),
            ha="right" if end else "left",
            va="bottom",
            fontsize=9,
        )


def _sets(names: tuple[str, ...], comparison: Comparison) -> str:
    """What a panel's score is the mean of: the sets, or how many they are where their names are too long; and n."""
    words, rows = ", ".join(names), [scored_rows(comparison, name) for name in names]
    known = sum(number for number in rows if number is not None)
    return (words if len(words) <= _SETS else f"mean of {len(names)} sets") + (
        f" (n {count(known)})" if known and None not in rows else ""
    )


def _dot(axes: "Axes", x: float, y: float, colour: str, readout: Readout) -> None:
    axes.plot([x], [y], zorder=4, **_mark(colour, readout))


def _mark(colour: str, readout: Readout) -> dict[str, Any]:
    face = PAPER if readout == "plain" else colour
    shape, size = ("D", 5) if readout == "center" else ("o", 6)
    return {"color": colour, "marker": shape, "markersize": size, "markerfacecolor": face, "markeredgewidth": 1.4}


def _legend(figure: "Figure", comparison: Comparison, *, x: float, height: float) -> None:
    from matplotlib.lines import Line2D

    def line(**look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", **{"color": MUTED, **look})

    readouts: list[Row] = list({row.series.readout: row for row in comparison.rows}.values())
    entries = [(line(**_mark(MUTED, row.series.readout)), READOUT_NAMES[row.series.readout]) for row in readouts]
    if any(row.series.last_step > 0 for row in comparison.rows):
        entries.append((line(marker="|", markersize=8), "step 0"))
        entries.append((Line2D([], [], color=MUTED, linewidth=1.2), "step 0 to best"))
    if any(row.best_low < row.best_high for row in comparison.rows):
        entries.append((Line2D([], [], color=MUTED, alpha=0.3, linewidth=6), "lowest to highest seed"))
    handles, names = zip(*entries, strict=True)
    figure.legend(
        handles, names, loc="lower left", bbox_to_anchor=(x - 0.01, 0.04 / height), ncols=len(names), frameon=False
    )
