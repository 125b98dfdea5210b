"""Curves: same bytes from the same records, nothing outside the drawing, labels kept apart."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.pictures import drawn
from helpers.run_builder import every_method, make_run, metric

from transferkit.convergence import curve_plot
from transferkit.convergence.comparison import compare
from transferkit.convergence.curve_plot import spread, write_curves
from transferkit.runs.folder import Run


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


def test_long_labels_stay_apart_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = "transfer, W + offsets, anchors start [prompting.reads instruction"
    labels = [f"{start}{end}-bundled-llama-5m]" for end in (", source source-instruction", "+text, source source-both")]
    rows = [metric(0, 40.0), metric(50, 60.0)]
    runs = [make_run(tmp_path, str(i), rows, method="transfer", label=label) for i, label in enumerate(labels)]
    (legend,) = drawn(write_curves, compare(runs), monkeypatch).legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted(labels)


def many_rows(folder: Path, method: str, count: int) -> list[Path]:
    """Runs of as many labels, the later the better."""
    return [
        make_run(folder, f"{i:02d}", [metric(0, 40.0), metric(50, 60.0 + i)], method=method, label=f"row {i:02d}")
        for i in range(count)
    ]


@pytest.mark.parametrize("method", ["transfer", "qlora"])  # of many colours, and of two
def test_no_two_of_many_lines_look_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    figure = drawn(write_curves, compare(many_rows(tmp_path, method, 12)), monkeypatch)
    lines = [line for line in figure.axes[0].lines if line.get_marker() in curve_plot.MARKS]
    looks = {(line.get_color(), line.get_linestyle(), line._unscaled_dash_pattern, line.get_marker()) for line in lines}
    assert len(looks) == len(lines) == 12


def test_of_more_lines_than_can_be_told_apart_the_best_stand_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = drawn(write_curves, compare(many_rows(tmp_path, "lora", 20)), monkeypatch)
    curves = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 50]]
    marked = [line for line in curves if line.get_marker() in curve_plot.MARKS]
    assert sorted(line.get_ydata()[-1] for line in marked) == [75, 76, 77, 78, 79]
    assert len(curves) == 20
    assert max(line.get_linewidth() for line in curves if line not in marked) < 1
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == [
        *(f"row {i}" for i in range(15, 19)),
        "row 19 (reference)",
        "15 more lora rows, named in scores.png",
    ]


def test_a_long_label_of_a_level_gives_way_to_how_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        make_run(
            tmp_path,
            pooling,
            [metric(0, 40.0, variant=f"{pooling} · prompteol")],
            method="frozen",
            label="frozen backbone",
            recipe={"frozen": {"poolings": [pooling], "templates": ["prompteol"]}},
        )
        for pooling in ("last", "mean", "weighted_mean")
    ]
    beside = {text.get_text() for axes in drawn(write_curves, compare(runs), monkeypatch).axes for text in axes.texts}
    assert sorted(beside) == [
        "40.0  last · prompteol",
        "40.0  mean · prompteol",
        "40.0  weighted_mean · prompteol",
    ]


def test_levels_of_one_way_to_read_are_called_by_their_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        make_run(
            tmp_path,
            name,
            [metric(0, score, variant="soft tokens side by side")],
            method="prompting-llm-alone",
            label="prompting LLM alone",
            source={"run": name, "sha256": digit * 64},
        )
        for name, score, digit in (("source-of-600-steps", 40.0, "1"), ("source-of-1200-steps", 50.0, "2"))
    ]
    beside = [text.get_text() for axes in drawn(write_curves, compare(runs), monkeypatch).axes for text in axes.texts]
    assert sorted(beside) == ["40.0  prompting LLM alone", "50.0  prompting LLM alone"]


def test_what_has_no_readout_is_a_level_in_every_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        make_run(tmp_path, "tfidf", [metric(0, 46.8)], method="tfidf", label="TF-IDF"),
        make_run(tmp_path, "frozen", [metric(0, 41.0, 50.0)], method="frozen", label="frozen"),
        make_run(tmp_path, "lora", [metric(0, 40.0, 45.0), metric(50, 60.0, 61.0)]),
    ]
    panels = drawn(write_curves, compare(runs), monkeypatch).axes[1::2]
    words = [[text.get_text() for text in axes.texts if "LoRA" not in text.get_text()] for axes in panels]
    assert [sorted(one) for one in words] == [["41.0  frozen", "46.8  TF-IDF"], ["46.8  TF-IDF", "50.0  frozen"]]


def ending_at(folder: Path, **seconds: float) -> list[Run]:
    """A run a method that ended after so many seconds, four steps each."""
    return [
        make_run(
            folder,
            method,
            [metric(step, 40.0 + step, seconds=step * end / 4) for step in (0, 2, 4)],
            method=method.replace("_", "-"),
            label=method,
        )
        for method, end in seconds.items()
    ]


def test_a_slow_method_is_cut_where_the_others_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = ending_at(tmp_path, lora=100.0, transfer=80.0, qlora=900.0)
    by_steps, by_seconds = drawn(write_curves, compare(runs), monkeypatch).axes
    assert by_seconds.get_xlim()[1] == pytest.approx(103)
    assert by_seconds.get_xlabel().endswith("(arrow: goes on to 900)")
    (arrow,) = [line for line in by_seconds.lines if line.get_marker() == ">"]
    assert arrow.get_xdata()[0] == pytest.approx(101.5)
    assert arrow.get_ydata()[0] == pytest.approx(40 + 4 * 101.5 / 900, abs=1e-6)
    assert not [line for line in by_steps.lines if line.get_marker() == ">"]


@pytest.mark.parametrize(
    "seconds",
    [
        {"lora": 900.0, "transfer": 200.0, "qlora": 300.0},  # the reference is what all is held against
        {"lora": 300.0, "qlora": 900.0},  # one of two is half of the picture
        {"lora": 100.0, "transfer": 80.0, "qlora": 190.0},  # not much slower
    ],
)
def test_what_is_not_cut(seconds: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, by_seconds = drawn(write_curves, compare(ending_at(tmp_path, **seconds)), monkeypatch).axes
    assert by_seconds.get_xlim()[1] == pytest.approx(1.03 * max(seconds.values()))
    assert "goes on" not in by_seconds.get_xlabel()


def test_steps_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [metric(step, 40.0 + step) for step in range(3)]
    by_steps, _ = drawn(write_curves, compare([make_run(tmp_path, "run", rows)]), monkeypatch).axes
    assert all(float(tick).is_integer() for tick in by_steps.get_xticks())
