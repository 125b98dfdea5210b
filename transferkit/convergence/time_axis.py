"""The seconds below the curves: one scale for all rows, cut where one slow method alone goes on."""

from statistics import median
from typing import TYPE_CHECKING, Any

from transferkit.convergence.comparison import Comparison, Row
from transferkit.report.formats import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ALONE = 2.0  # so many times longer than all other methods: the axis ends where the others did
_FAR = 6.0  # so many times longer than the fastest row: the axis is scaled by square roots


def end_of(row: Row) -> float:
    """Seconds after which a row ended, in the median over its seeds."""
    return median(curve[-1].seconds for curve in row.series.curves)


def cut_at(comparison: Comparison) -> float | None:
    """Where the axis ends before the slowest method does; None: nowhere.

    The reference is never cut, nor one of two methods: that would hide what the picture is for.
    """
    ends: dict[str, float] = {}
    for row in comparison.rows:
        if row.series.last_step > 0:
            ends[row.series.method] = max(end_of(row), ends.get(row.series.method, 0.0))
    if len(ends) < 3:
        return None
    slowest = max(ends, key=lambda method: ends[method])
    others = max(end for method, end in ends.items() if method != slowest)
    is_reference = comparison.reference is not None and comparison.reference.series.method == slowest
    return None if is_reference or others <= 0 or ends[slowest] <= _ALONE * others else others


def scale_seconds(axes: "Axes", comparison: Comparison) -> str:
    """Set the axis; returns what its label must say of it."""
    ends = [end_of(row) for row in comparison.rows if row.series.last_step > 0]
    if not ends or min(ends) <= 0:
        return ""
    cut = cut_at(comparison)
    last = max(ends) if cut is None else cut
    axes.set_xlim(0, last * 1.03)  # the same in both rows, so that a head start can be seen
    said = "" if cut is None else f" (arrow: goes on to {seconds(max(ends))})"
    if last / min(ends) < _FAR:
        return said
    import numpy
    from matplotlib.ticker import FixedLocator

    axes.set_xscale("function", functions=(lambda x: numpy.sqrt(numpy.maximum(x, 0.0)), numpy.square))
    unit = 10 ** (len(str(int(last))) - 1)
    ticks = [0.0, *[unit * share for share in (0.02, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8) if unit * share <= last]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    return f" (square-root scale){said}"


def mark_cut(axes: "Axes", xs: list[float], scores: list[float], cut: float, look: dict[str, Any]) -> None:
    """An arrow where a curve leaves the picture."""
    import numpy

    if xs[-1] > cut * 1.03:
        score = float(numpy.interp(cut * 1.015, xs, scores))
        axes.plot([cut * 1.015], [score], marker=">", markersize=7, color=look["color"], linestyle="none", zorder=4)
