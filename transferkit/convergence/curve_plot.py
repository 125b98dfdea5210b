"""Convergence table -> learning curves as PNG and SVG. matplotlib is imported inside the functions only.

One row of panels a readout, score against steps on the left and against seconds on the right. Lines are
medians over seeds, bands go from the lowest to the highest seed, what trains nothing is a dashed level. Where a method
has more rows than can be told apart, its best ones stand out and the others are thin: the picture of scores names all.
"""

from collections import Counter
from math import lcm
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from transferkit.convergence.comparison import Comparison, Row
from transferkit.convergence.curve import Point
from transferkit.convergence.series import READOUT_NAMES, Series
from transferkit.convergence.time_axis import cut_at, mark_cut, scale_seconds
from transferkit.report.formats import level, score
from transferkit.report.pictures import COLOURS, INK, MUTED, OTHER_COLOUR, shorten, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (2, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKS = ("o", "s", "^", "D")
_PALE = 0.45
_MANY, _BEST = 12, 5  # of a method with more rows than _MANY the _BEST ones have looks of their own
_BESIDE = 25  # characters that stand beside a panel
_LEGEND = {3: 36, 2: 62, 1: 130}  # columns of the legend: characters of a name that one of them holds


def write_curves(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``curves.png`` and ``curves.svg``; the same records give the same bytes."""
    return write_figure(lambda: _figure(comparison), folder, "curves")


def _figure(comparison: Comparison) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    readouts = [name for name in READOUT_NAMES if any(row.series.readout == name for row in comparison.rows)]
    looks = _looks(comparison)
    entries = _entries(looks, comparison)
    longest = max((len(name) for name, _ in entries), default=0)
    columns = next((columns for columns, fits in _LEGEND.items() if longest <= fits), 1)
    legend_rows = -(-len(entries) // columns)
    legend_inches = 0.21 * legend_rows + 0.25 if entries else 0.0
    height = 3.55 * len(readouts) + 0.35 + legend_inches
    figure = Figure(figsize=(12, height))
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(readouts), 2, squeeze=False, sharey=True)
    for readout, (by_steps, by_seconds) in zip(readouts, grid, strict=True):
        rows = _panel(comparison, readout)
        for axes, x in ((by_steps, "steps"), (by_seconds, "seconds")):
            _draw_levels(axes, rows, comparison)
            _draw_curves(axes, rows, x=x, looks=looks, cut=cut_at(comparison) if x == "seconds" else None)
        name = READOUT_NAMES[readout]
        title = "Embeddings as delivered" if readout == "delivered" else f"{name.capitalize()} embeddings"
        by_steps.set_title(title, loc="left", fontweight="bold")
        by_steps.set_ylabel("dev score, %")
        by_steps.set_xlabel("optimizer steps")
        by_steps.locator_params(axis="x", integer=True)  # there is no half a step
        by_seconds.set_xlabel("seconds of training and cache building" + scale_seconds(by_seconds, comparison))
        by_seconds.tick_params(labelleft=False)
    figure.subplots_adjust(
        left=0.055,
        right=0.8,
        top=1 - 0.32 / height,
        bottom=(0.6 + legend_inches) / height,
        hspace=0.32,
        wspace=0.05,
    )
    for readout, (_, by_seconds) in zip(readouts, grid, strict=True):
        rows = _panel(comparison, readout)
        _label_levels(by_seconds, _levels(rows, comparison), inches=by_seconds.get_position().height * height)
    _legend(figure, entries, height=height, columns=columns)
    return figure


def _panel(comparison: Comparison, readout: str) -> list[Row]:
    """The rows of a readout; what trains nothing and is read in no other way is a level in every panel."""
    times = Counter(row.series.label for row in comparison.rows)
    return [
        row
        for row in comparison.rows
        if row.series.readout == readout or (not _trained(row) and times[row.series.label] == 1)
    ]


def _trained(row: Row) -> bool:
    return row.series.last_step > 0


def _looks(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Line colour, style and mark of every trained label, in table order; the reference is drawn thicker."""
    looks: dict[str, dict[str, Any]] = {}
    used: dict[str, int] = {}
    outstanding = _outstanding(comparison)
    for row in comparison.rows:
        series = row.series
        if not _trained(row) or series.label in looks:
            continue
        family = COLOURS.get(series.method, (OTHER_COLOUR,))
        if series.label not in outstanding:
            looks[series.label] = _pale_look(series.method)
            continue
        position = used.get(series.method, 0)
        used[series.method] = position + 1
        looks[series.label] = {
            "color": family[position % len(family)],
            "linestyle": _STYLES[position % len(_STYLES)],
            "marker": MARKS[position // lcm(len(family), len(_STYLES)) % len(MARKS)],
            "markersize": 4.5,
            "linewidth": 2.6 if _is_reference(series.label, comparison) else 1.9,
        }
    return looks


def _outstanding(comparison: Comparison) -> set[str]:
    """Labels that are drawn in a look of their own: all of a method, or its best ones and the reference."""
    best: dict[str, dict[str, float]] = {}
    for row in comparison.rows:
        if _trained(row):
            found = best.setdefault(row.series.method, {})
            found[row.series.label] = max(row.best, found.get(row.series.label, row.best))
    return {
        label
        for found in best.values()
        for position, label in enumerate(sorted(found, key=lambda one: -found[one]))
        if len(found) <= _MANY or position < _BEST or _is_reference(label, comparison)
    }


def _is_reference(label: str, comparison: Comparison) -> bool:
    return comparison.reference is not None and label == comparison.reference.series.label


def _pale_look(method: str) -> dict[str, Any]:
    return {"color": COLOURS.get(method, (OTHER_COLOUR,))[0], "linewidth": 0.8, "alpha": _PALE}


def _is_pale(look: dict[str, Any]) -> bool:
    return look.get("alpha") == _PALE


def _entries(looks: dict[str, dict[str, Any]], comparison: Comparison) -> list[tuple[str, dict[str, Any]]]:
    """Name and look of everything in the legend; the pale lines of a method are one entry."""
    own = [
        (f"{label} (reference)" if _is_reference(label, comparison) else label, look)
        for label, look in looks.items()
        if not _is_pale(look)
    ]
    methods = {row.series.label: row.series.method for row in comparison.rows}
    pale = Counter(methods[label] for label, look in looks.items() if _is_pale(look))
    return own + [
        (f"{count} more {method} rows, named in scores.png", _pale_look(method)) for method, count in pale.items()
    ]


def _draw_curves(axes: "Axes", rows: list[Row], *, x: str, looks: dict[str, dict[str, Any]], cut: float | None) -> None:
    for row in rows:
        if not _trained(row):
            continue
        look = looks[row.series.label]
        steps = _common_steps(row.series)
        at = [[curve[step] for curve in _by_step(row.series)] for step in steps]
        xs: list[float] = [*steps] if x == "steps" else [median(point.seconds for point in points) for points in at]
        scores = [[point.score for point in points] for points in at]
        medians = [median(values) for values in scores]
        axes.plot(xs, medians, zorder=3, solid_capstyle="round", markevery=[-1], **look)
        if cut is not None:
            mark_cut(axes, xs, medians, cut, look)
        if len(row.series.curves) > 1 and not _is_pale(look):
            low, high = [min(values) for values in scores], [max(values) for values in scores]
            axes.fill_between(xs, low, high, color=look["color"], alpha=0.22, linewidth=0, zorder=2)
    axes.grid(axis="y", color=OTHER_COLOUR, alpha=0.18, linewidth=0.7)
    axes.margins(x=0.02, y=0.06)


def _by_step(series: Series) -> list[dict[int, Point]]:
    return [{point.step: point for point in curve} for curve in series.curves]


def _common_steps(series: Series) -> list[int]:
    """Steps that all seeds were scored at: a median over changing sets of seeds would jump."""
    shared = set.intersection(*[set(curve) for curve in _by_step(series)])
    return sorted(shared)


def _levels(rows: list[Row], comparison: Comparison) -> list[tuple[float, str, bool]]:
    """Score, words and whether it is a target, for every horizontal line."""
    levels = [(t.score, f"{level(t.fraction)} of LoRA's best", True) for t in comparison.targets]
    untrained = [row for row in rows if not _trained(row)]
    variants = Counter(row.series.variant for row in untrained)
    return levels + [(row.best, _level_name(row.series, variants), False) for row in untrained]


def _level_name(series: Series, variants: Counter[str | None]) -> str:
    """The label; where that is too long to stand beside a panel, the variant, which says how it was read.

    Where several rows were read in that way, what the label calls the method.
    """
    if len(series.label) <= _BESIDE or series.variant is None:
        return series.label
    return series.variant if variants[series.variant] == 1 else series.label.split(" [")[0]


def _draw_levels(axes: "Axes", rows: list[Row], comparison: Comparison) -> None:
    for value, _, is_target in _levels(rows, comparison):
        style: Any = (0, (1, 2)) if is_target else (0, (5, 3))
        axes.axhline(value, color=INK if is_target else OTHER_COLOUR, linestyle=style, linewidth=1.0, zorder=1)


def _label_levels(axes: "Axes", levels: list[tuple[float, str, bool]], *, inches: float) -> None:
    """Words right of a panel of that height, moved apart where needed, with leaders to their lines."""
    levels = sorted(levels)
    low, high = axes.get_ylim()
    gap = (high - low) * 0.165 / inches  # a line of text
    places = spread([value for value, _, _ in levels], gap=gap)
    transform = axes.get_yaxis_transform()
    for (value, words, is_target), place in zip(levels, places, strict=True):
        colour = INK if is_target else MUTED
        axes.plot(
            [1.0, 1.025],
            [value, place],
            transform=transform,
            color=OTHER_COLOUR,
            linewidth=0.7,
            clip_on=False,
        )
        text = f"{score(value)}  {shorten(words, _BESIDE)}"
        axes.text(1.032, place, text, transform=transform, va="center", ha="left", fontsize=9, color=colour)


def spread(values: list[float], *, gap: float) -> list[float]:
    """Ascending ``values`` moved as little as needed so that neighbours are ``gap`` apart."""
    clusters: list[list[float]] = []
    for value in values:
        clusters.append([value])
        # Neighbouring clusters that touch become one, centred on the mean of its members.
        while len(clusters) > 1 and _start(clusters[-1], gap) - _end(clusters[-2], gap) < gap:
            last = clusters.pop()
            clusters[-1] = clusters[-1] + last
    return [_start(cluster, gap) + position * gap for cluster in clusters for position in range(len(cluster))]


def _start(cluster: list[float], gap: float) -> float:
    return sum(cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _end(cluster: list[float], gap: float) -> float:
    return _start(cluster, gap) + gap * (len(cluster) - 1)


def _legend(figure: "Figure", entries: list[tuple[str, dict[str, Any]]], *, height: float, columns: int) -> None:
    """Names of the lines below the panels, where they cover nothing."""
    if not entries:
        return
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **look) for _, look in entries]
    names = [shorten(name, _LEGEND[columns]) for name, _ in entries]
    place = (0.05, 0.06 / height)
    figure.legend(
        handles, names, loc="lower left", bbox_to_anchor=place, ncols=columns, frameon=False, handlelength=3.2
    )
