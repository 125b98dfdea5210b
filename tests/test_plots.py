"""Curves: same bytes from the same records, nothing outside the drawing, labels kept apart."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest
from run_builder import every_method, make_run, metric

from transferkit.convergence.comparison import compare
from transferkit.convergence.plots import spread, write_curves


def test_same_records_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    runs = every_method(tmp_path, seeds=(17, 18))
    png, svg = write_curves(compare(runs), tmp_path)
    before = png.read_bytes(), svg.read_bytes()
    write_curves(compare(runs[::-1]), tmp_path)
    assert (png.read_bytes(), svg.read_bytes()) == before
    assert before[0][:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(before[0][16:20], "big") == 1800  # pixels wide
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert b"dc:date" not in before[1]


@pytest.mark.parametrize(
    ("method", "rows"),
    [
        (
            "transfer",
            [metric(0, 60.0), metric(50, 70.0)],
        ),  # no LoRA, no readout: one row of panels, no targets
        ("frozen", [metric(0, 41.0)]),  # no curve at all
        ("lora", [metric(0, 40.0, 41.0)]),  # a LoRA run of no steps
    ],
)
def test_few_runs_can_be_drawn(tmp_path: Path, method: str, rows: list) -> None:
    run = make_run(tmp_path, "run", rows, method=method, label="price $5 {x} <b> $")
    assert all(path.stat().st_size > 5000 for path in write_curves(compare([run]), tmp_path))


def test_a_users_matplotlib_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib

    comparison = compare([make_run(tmp_path, "run", [metric(0, 40.0), metric(50, 60.0)])])
    before = write_curves(comparison, tmp_path)[1].read_bytes()
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.grid": True}):
        assert write_curves(comparison, tmp_path)[1].read_bytes() == before
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_spread_keeps_labels_apart_and_in_order() -> None:
    values = [10.0, 10.2, 10.4, 20.0, 30.0, 30.5]
    places = spread(values, gap=1.0)
    assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in pairwise(places))
    assert places[3] == 20.0  # nothing near it
    assert sum(places[:3]) == pytest.approx(sum(values[:3]))  # a cluster stays around its own middle
