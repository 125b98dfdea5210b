"""Scores of all rows at a glance: every dot where the table says, same bytes from the same records, words apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.pictures import assert_words_stay_apart, drawn
from helpers.run_builder import every_method, make_run, metric

from transferkit.convergence.comparison import compare
from transferkit.convergence.score_plot import write_scores


def dots(axes: Any) -> list[tuple[int, bool, float]]:
    """Position from the top, whether it is hollow, and score of every dot."""
    return sorted(
        (round(float(line.get_ydata()[0])), line.get_markerfacecolor() != line.get_color(), float(line.get_xdata()[0]))
        for line in axes.lines
        if line.get_marker() == "o"
    )


def test_every_row_has_its_dots_in_the_order_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = compare(every_method(tmp_path))
    best, others = drawn(write_scores, comparison, monkeypatch).axes
    labels = list(dict.fromkeys(row.series.label for row in comparison.rows))
    assert [text.get_text() for text in best.get_yticklabels()] == labels
    rows = [(labels.index(row.series.label), row.series.readout == "plain", row) for row in comparison.rows]
    assert dots(best) == sorted((place, plain, row.best) for place, plain, row in rows)
    assert dots(others) == sorted((place, plain, row.other) for place, plain, row in rows)
    starts = [float(line.get_xdata()[0]) for line in best.lines if line.get_marker() == "|"]
    assert sorted(starts) == sorted(row.initial for row in comparison.rows if row.series.last_step > 0)
    low, high = best.get_ylim()
    assert low > high  # the first row of the table stands on top


def test_same_records_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    runs = every_method(tmp_path, seeds=(17, 18))
    before = [path.read_bytes() for path in write_scores(compare(runs), tmp_path)]
    assert [path.read_bytes() for path in write_scores(compare(runs[::-1]), tmp_path)] == before


@pytest.mark.parametrize("method", ["transfer", "lora", "frozen"])
def test_one_run_can_be_drawn(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a reference, without a readout, without a curve."""
    rows = [metric(0, 40.0)] if method == "frozen" else [metric(0, 40.0), metric(50, 60.0)]
    comparison = compare([make_run(tmp_path, "run", rows, method=method, label="price $5 {x} <b> $")])
    best, _ = drawn(write_scores, comparison, monkeypatch).axes
    assert dots(best) == [(0, True, rows[-1]["score"]["plain"])]


@pytest.mark.parametrize(
    "names", [("stackoverflow_short___",), ("s" * 24,), ("a", "b", "c" * 16), tuple("abcdefghijklm")]
)
def test_what_stands_below_a_panel_is_not_cut_off(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = replace(compare(every_method(tmp_path)), others=names)
    assert_words_stay_apart(lambda: drawn(write_scores, comparison, monkeypatch))


@pytest.mark.parametrize("best", [20.0, 60.0, 100.0])
def test_words_stay_apart_wherever_the_reference_stands(
    best: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [make_run(tmp_path, "lora", [metric(0, 10.0, other=best)], method="lora", label="LoRA")]
    for i in range(30):
        rows = [metric(0, 10.0, other=30.0), metric(50, 60.0 + i / 2, 62.0 + i / 2, other=50.0)]
        runs.append(
            make_run(tmp_path, f"{i}", rows, method="transfer", label=f"transfer {i} " + "[in a long way] " * 8)
        )
    comparison = compare(runs)
    assert_words_stay_apart(lambda: drawn(write_scores, comparison, monkeypatch))


def test_a_row_that_no_other_set_scored_has_no_dot_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        make_run(tmp_path, "a", [metric(0, 40.0), metric(50, 60.0)]),
        make_run(tmp_path, "b", [metric(0, 50.0, other=None)], method="tfidf"),
    ]
    best, others = drawn(write_scores, compare(runs), monkeypatch).axes
    assert [score for _, _, score in dots(best)] == [60.0, 50.0]
    assert [score for _, _, score in dots(others)] == [50.0]


def test_without_other_sets_there_is_one_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dev = [{"name": "in-domain", "kind": "knn", "select": True, "sha256": "1", "texts": 500, "reported_rows": 240}]
    data = {"train_sha256": "a", "dev_sha256": "d", "train": [{"name": "mixture", "rows": 9600}], "dev": dev}
    rows = [metric(0, 40.0, other=None), metric(50, 60.0, other=None)]
    for row in rows:
        del row["scores"]["elsewhere"]
    (panel,) = drawn(write_scores, compare([make_run(tmp_path, "run", rows, data=data)]), monkeypatch).axes
    assert dots(panel) == [(0, True, 60.0)]
    assert panel.get_xlabel() == "in-domain (n 240), %"


def test_the_legend_says_what_a_line_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (legend,) = drawn(write_scores, compare(every_method(tmp_path)), monkeypatch).legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["plain", "whitened", "step 0", "step 0 to best", "lowest to highest seed"]
