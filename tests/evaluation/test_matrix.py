"""The matrix of ``evaluate``: best scores, how many were judged, and what two models differ by on the same texts."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.evaluate_call import evaluate, evaluated
from helpers.set_folders import write_sets
from helpers.tiny import Tiny
from rich.console import Console
from scipy.stats import bootstrap, spearmanr

from transferkit.evaluation.run import run_tasks
from transferkit.evaluation.samples import samples_file
from transferkit.evaluation.tables.matrix import differences_view, matrix_of, matrix_views
from transferkit.evaluation.tables.rows import TaskRow
from transferkit.evaluation.tables.written import matrix_csv, matrix_json
from transferkit.evaluation.tasks import local_tasks, samples_per_label
from transferkit.evaluation.tfidf import TfidfEncoder
from transferkit.report.intervals import (
    Part,
    drawn_differences,
    interval,
    over_tasks,
    over_texts,
    score_of,
)
from transferkit.report.markdown import markdown_table
from transferkit.report.terminal import rich_table


@pytest.fixture(scope="module", name="sets")
def make_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("matrix") / "sets")


def right(number: int, share: float, seed: int) -> Part:
    """Texts of which that share is right."""
    drawn = np.random.default_rng(seed).random(number) < share
    return Part(tuple(drawn.astype(float)))


def row(model: str, task: str, score: float | None, part: Part | None = None, kind: str = "STS") -> TaskRow:
    samples, judged = (None, None) if part is None else ((part,), len(part.values))
    return TaskRow(model, "a method", model, task, kind, "accuracy", score, judged=judged, samples=samples)


def measured(model: str, task: str, part: Part) -> TaskRow:
    return row(model, task, 100 * score_of((part,)), part)


def test_draws_are_those_of_a_paired_bootstrap() -> None:
    mine, first = right(300, 0.8, 1), right(300, 0.7, 2)
    draws = drawn_differences("task", (mine,), (first,))
    assert draws is not None
    gap = np.subtract(mine.values, first.values)
    expected = bootstrap((100 * gap,), np.mean, method="percentile", n_resamples=4000, random_state=3)
    found = interval(float(100 * gap.mean()), draws)
    assert found is not None
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.8)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.8)
    assert found.decided == (found.low > 0)
    again = drawn_differences("task", (Part(mine.values),), (Part(first.values),))
    np.testing.assert_array_equal(again, draws)
    same = drawn_differences("task", (mine,), (mine,))
    assert same is not None
    assert not same.any()  # the same texts are drawn for both


def test_a_correlation_is_of_the_pairs_that_were_drawn() -> None:
    random = np.random.default_rng(0)
    gold = tuple(np.round(random.uniform(0, 5, 80)))  # with ties
    mine, first = (Part(tuple(np.asarray(gold) + random.normal(0, noise, 80)), gold) for noise in (1.0, 3.0))
    assert score_of((mine,)) == pytest.approx(spearmanr(mine.values, gold)[0])
    draws = drawn_differences("sts", (mine,), (first,))
    assert draws is not None

    def gap(a: Any, b: Any, of: Any) -> float:
        return 100 * float(spearmanr(a, of)[0] - spearmanr(b, of)[0])

    expected = bootstrap(
        (mine.values, first.values, gold), gap, paired=True, vectorized=False, method="percentile",
        n_resamples=1000, random_state=1,
    ).confidence_interval  # fmt: skip
    found = interval(0.0, draws)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=2.5)


def test_what_was_not_scored_on_the_same_texts_has_no_interval() -> None:
    part = right(40, 0.5, 1)
    assert drawn_differences("task", (part,), (right(39, 0.5, 1),)) is None
    assert drawn_differences("task", (part,), (part, part)) is None
    assert drawn_differences("task", (right(9, 0.5, 1),), (right(9, 0.5, 2),)) is None  # too few
    assert drawn_differences("task", (Part(part.values, part.values),), (part,)) is None
    alike = Part((0.5,) * 10, (1.0,) * 10)
    draws = drawn_differences("task", (alike,), (alike,))
    assert draws is not None
    assert interval(0.0, draws) is None  # no correlation of equal scores


def test_the_mean_is_drawn_from_texts_or_from_tasks() -> None:
    draws = [np.array([1.0, 3.0]), np.array([3.0, 5.0])]
    assert over_texts(3.0, draws) == interval(3.0, np.array([2.0, 4.0]))
    assert over_tasks([1.0, 2.0, 3.0, 4.0]) is None
    found = over_tasks([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found is not None
    assert found.difference == 3.0
    assert 1 < found.low < 3 < found.high < 5


def test_models_down_tasks_across() -> None:
    parts = {name: right(200, share, seed) for seed, (name, share) in enumerate({"a": 0.6, "b": 0.9, "c": 0.6}.items())}
    rows = [measured(name, "one", part) for name, part in parts.items()]
    rows += [row(name, "two", score) for name, score in (("a", 70.0), ("b", 20.0), ("c", None))]
    matrix = matrix_of(rows, types=["STS", "STS"])
    assert [line.mean for line in matrix.lines] == [
        pytest.approx(rows[0].score / 2 + 35),
        pytest.approx(rows[1].score / 2 + 10),
        None,
    ]
    assert matrix.judged == {"one": 200, "two": None}
    assert matrix.resampled is None  # one of two tasks has no scores of single texts
    (view,) = matrix_views(matrix)
    assert view.header == ("Model", "Tasks", "Mean", "one", "two")
    assert view.rows[-1] == ("n", "", "", "200", "")
    assert view.bold == {(0, 2), (1, 3), (0, 4)}
    assert "No interval of the mean: a task has no scores of single texts" in view.caption
    markdown = markdown_table(view)
    assert "| a: a method | 2 of 2 | **" in markdown
    assert "| **70.0** |" in markdown
    differences = differences_view(matrix)
    assert differences is not None
    assert [(one[0], one[1], one[3], one[4]) for one in differences.rows] == [
        ("b: a method", "one", "yes", "200"),
        ("c: a method", "one", "", "200"),
    ]
    assert differences.caption.endswith("No scores of single texts: two.")
    a, b, _ = matrix_json(matrix)["models"]
    assert a["to_first"] == {}
    assert b["to_first"]["one"]["low"] > 0
    assert b["scores"]["two"] == 20
    lines = matrix_csv(matrix).splitlines()
    assert lines[0] == "model,method,mean,mean_to_first,mean_to_first_low,mean_to_first_high,one,two"
    assert lines[-1] == "n,,,,,,200,"


def test_the_mean_has_an_interval_where_all_texts_or_enough_tasks_are_there() -> None:
    texts = [measured(model, task, right(100, share, 7)) for model, share in (("a", 0.5), ("b", 0.9)) for task in "xy"]
    matrix = matrix_of(texts, types=["STS", "STS"])
    assert matrix.resampled == "texts"
    found = matrix.lines[1].against_first
    assert found is not None
    assert found.difference == pytest.approx((matrix.lines[1].mean or 0) - (matrix.lines[0].mean or 0))
    assert found.decided
    assert matrix.lines[0].against_first is None
    (view,) = matrix_views(matrix)
    assert view.header[3] == "To the first"
    assert "the texts of each task are drawn, the tasks stay" in view.caption

    tasks = [
        row(model, task, 50.0 + shift + i) for model, shift in (("a", 0), ("b", 2)) for i, task in enumerate("uvwxy")
    ]
    matrix = matrix_of(tasks, types=["STS"] * 5)
    assert matrix.resampled == "tasks"
    assert matrix.lines[1].against_first == interval(2.0, np.array([2.0, 2.0]))
    assert "the tasks are drawn" in matrix_views(matrix)[0].caption


def test_a_wide_matrix_is_printed_in_parts() -> None:
    rows = [row(model, f"task_of_a_name_{i}", 50.0 + i) for model in "ab" for i in range(12)]
    matrix = matrix_of(rows, types=["STS"] * 12)
    views = matrix_views(matrix, width=80)
    assert len(views) > 1
    assert [view.title for view in views] == [f"Scores, part {i} of {len(views)}" for i in range(1, len(views) + 1)]
    shown = [name.replace("\n", "") for view in views for name in view.header if name.startswith("task")]
    assert shown == [f"task_of_a_name_{i}" for i in range(12)]
    assert ["Mean" in view.header for view in views] == [True] + [False] * (len(views) - 1)
    assert [bool(view.caption) for view in views] == [False] * (len(views) - 1) + [True]
    assert len(matrix_views(matrix)) == 1
    for view in views:
        console = Console(width=80, record=True, file=StringIO())
        console.print(rich_table(view))
        text = console.export_text()
        assert all(piece in text for line in view.rows for cell in line for piece in cell.split())  # none is cut


@pytest.fixture(scope="module", name="floor")
def run_floor(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, TaskRow]]:
    out = tmp_path_factory.mktemp("floor")
    rows = run_tasks([[TfidfEncoder()]], local_tasks(sets), out=out, batch_size=16, console=Console(quiet=True))
    return out, {one.task: one for one in rows}


def test_what_was_judged_and_its_scores_one_by_one(floor: tuple[Path, dict[str, TaskRow]]) -> None:
    """Those of single texts give the score that mteb gives."""
    _, rows = floor
    assert {task: one.judged for task, one in rows.items()} == {
        "intents": 15, "topics": 24, "same": 12, "candidates": 5, "answers": 5, "likeness": 20,
    }  # fmt: skip
    with_samples = {task: one for task, one in rows.items() if one.samples is not None}
    assert set(with_samples) == {"intents", "candidates", "answers", "likeness"}
    for one in with_samples.values():
        assert one.samples is not None
        assert 100 * score_of(one.samples) == pytest.approx(one.score, abs=1e-3)
        assert sum(len(part.values) for part in one.samples) == one.judged


def test_samples_are_kept_with_the_score_and_no_others_are_believed(
    floor: tuple[Path, dict[str, TaskRow]], sets: Path
) -> None:
    out, rows = floor

    def again() -> dict[str, TaskRow]:
        tasks = local_tasks(sets, names=["intents", "likeness"])
        found = run_tasks([[TfidfEncoder()]], tasks, out=out, batch_size=16, console=Console(quiet=True))
        return {one.task: one for one in found}

    kept = again()
    assert all(one.kept for one in kept.values())
    assert {task: one.samples for task, one in kept.items()} == {task: rows[task].samples for task in kept}
    assert kept["likeness"].judged == 20
    (result,) = out.rglob("likeness.json")
    samples_file(result).write_text(json.dumps({"values": [1.0] * 20, "gold": None}))
    kept = again()
    assert kept["likeness"].kept
    assert kept["likeness"].samples is None  # not what the score was made of
    assert kept["intents"].samples is not None


def test_the_command_compares_models_with_the_first(
    tiny: Tiny, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--tasks-from", sets, "--tasks", "intents,likeness", "--out", tmp_path / "out", "--pooling", "mean"]
    assert evaluate(monkeypatch, "tfidf", tiny.target, *common, "--json", "--quiet") == 0
    found = evaluated(capsys)["matrix"]
    assert found["judged"] == {"intents": 15, "likeness": 20}
    assert found["bootstrap"]["resampled"] == "texts"
    floor, decoder = found["models"]
    assert set(decoder["to_first"]) == {"intents", "likeness"}
    assert decoder["mean_to_first"] == pytest.approx(decoder["mean"] - floor["mean"], abs=1e-4)
    assert decoder["mean_to_first_low"] < decoder["mean_to_first"] < decoder["mean_to_first_high"]
    assert json.loads((tmp_path / "out" / "matrix.json").read_text()) == found
    assert "## Scores" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "matrix.csv").read_text().splitlines()[-1].startswith("n,")
    assert evaluate(monkeypatch, "tfidf", tiny.target, *common, "--quiet") == 0  # all is kept
    printed = capsys.readouterr().out
    assert "To the first" in " ".join(printed.split())
    assert "Differences from the first model" not in printed


def test_a_local_set_learns_from_as_many_texts_as_mteb_s_own(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert samples_per_label("tweet_sentiment_extraction") == samples_per_label("amazon_counterfactual_en") == 32
    assert samples_per_label("intents") is samples_per_label("banking77") is None  # none, and the usual number
    folder = tmp_path / "sets" / "classification"
    folder.mkdir(parents=True)
    for name in ("intents", "tweet_sentiment_extraction"):
        (folder / name).symlink_to(sets / "classification" / "intents")
    usual, own = local_tasks(tmp_path / "sets")
    assert (usual.samples_per_label, own.samples_per_label) == (8, 32)  # type: ignore[attr-defined]
    assert evaluate(monkeypatch, "tfidf", "--tasks-from", tmp_path / "sets", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "intents  accuracy  8 texts a label" in printed
    assert "tweet_sentiment_extraction  accuracy  32 texts a label" in printed
