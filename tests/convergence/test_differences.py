"""Every pairwise difference is decided or open, by one rule; which pairs there are; where they are shown."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.run_builder import make_run, metric
from rich.console import Console
from scipy.stats import bootstrap

from transferkit.convergence import compare
from transferkit.convergence.differences import Difference, compared, difference, differences_view, hangs_on_seeds
from transferkit.convergence.tables import print_table, to_json, to_markdown
from transferkit.errors import ConfigError
from transferkit.runs.folder import Run, read_run


def seeds(
    folder: Path, method: str, scores: Sequence[float], *, others: Sequence[float] | None = None, **more: Any
) -> list[Run]:
    """A run a score; one row each where the method learns nothing, with a readout that scores 3 more where asked."""
    readout, first = more.pop("readout", False), more.pop("first", 17)
    rows = []
    for place, (best, other) in enumerate(zip(scores, others or [50.0] * len(scores), strict=True)):
        points = [metric(0, best, best + 3 if readout else None, other=other)]
        if method in ("lora", "transfer", "prompt-tuning", "qlora"):
            points.append(metric(50, best, best + 3 if readout else None, other=other))
        label = str(more.get("label", method))
        rows.append(
            make_run(folder, f"{label}-{place}".replace(" ", "-"), points, method=method, seed=first + place, **more)
        )
    return rows


def found(runs: list[Run], row: str = "transfer", against: str = "lora", *, elsewhere: bool = False) -> Difference:
    """Of the first rows of two labels."""
    rows = {row.series.label: row for row in reversed(compare(runs).rows)}
    one = difference(rows[row], rows[against], elsewhere=elsewhere)
    assert one is not None
    return one


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        ([71, 72, 73], [68, 69, 70], "decided"),
        ([66, 65, 64], [68, 69, 70], "decided"),
        ([70, 72, 73], [68, 69, 70], "open, above in every seed"),  # 70 is in both ranges
        ([69, 70, 71], [68, 69, 70], "open, above in every seed"),
        ([67, 68, 69], [68, 69, 70], "open, below in every seed"),
        ([71, 69, 69], [68, 69, 70], "open"),  # a seed says nothing
        ([75, 60, 75], [68, 69, 70], "open"),
        ([71, 72], [68, 69, 70], "open, fewer than three seeds"),
        ([71, 72, 73], [60], "open, fewer than three seeds"),
    ],
)
def test_the_rule(tmp_path: Path, mine: list[float], theirs: list[float], verdict: str) -> None:
    one = found([*seeds(tmp_path, "transfer", mine), *seeds(tmp_path, "lora", theirs)])
    assert one.verdict == verdict
    assert one.decided == (verdict == "decided")


def test_the_gap_is_of_medians_and_seeds_are_paired(tmp_path: Path) -> None:
    one = found([*seeds(tmp_path, "transfer", [70, 71, 80]), *seeds(tmp_path, "lora", [69, 60, 75], first=18)])
    assert one.gap == 71 - 69
    assert one.by_seed == {18: 71 - 69, 19: 80 - 60}  # 17 and 20 stand in one of them alone
    assert one.verdict == "open"  # two seeds are too few to say that each is above


def test_other_sets_are_judged_by_their_own_scores(tmp_path: Path) -> None:
    runs = [
        *seeds(tmp_path, "transfer", [71, 72, 73], others=[50, 55, 60]),
        *seeds(tmp_path, "lora", [68, 69, 70], others=[54, 54, 54]),
    ]
    one = found(runs, elsewhere=True)
    assert (one.gap, one.by_seed, one.verdict) == (1, {17: -4, 18: 1, 19: 6}, "open")
    unscored = [*runs, *seeds(tmp_path, "qlora", [1, 2, 3], others=[None, 4, 5])]  # type: ignore[list-item]
    rows = {row.series.label: row for row in compare(unscored).rows}
    assert difference(rows["transfer"], rows["qlora"], elsewhere=True) is None


@pytest.mark.parametrize("method", ["tfidf", "encoder", "frozen"])
def test_what_no_seed_can_change_is_one_number(tmp_path: Path, method: str) -> None:
    mine = seeds(tmp_path, "transfer", [71, 72, 73])
    for score, verdict in ((70.9, "decided"), (71.0, "open"), (72.5, "open"), (73.1, "decided")):
        one = found([*mine, *seeds(tmp_path / str(score), method, [score])], against=method)
        assert one.verdict == verdict
        assert one.by_seed == pytest.approx({17: 71 - score, 18: 72 - score, 19: 73 - score})
    few = found([*mine[:2], *seeds(tmp_path / "few", method, [60])], against=method)
    assert few.verdict == "open, fewer than three seeds"


def test_a_fitted_readout_hangs_on_the_seed_that_draws_its_texts(tmp_path: Path) -> None:
    """And what starts from a source hangs on the source's seed."""
    runs = [
        *seeds(tmp_path, "transfer", [71, 72, 73]),
        *seeds(tmp_path, "frozen", [60], readout=True),
        *seeds(tmp_path, "prompting-llm-alone", [60]),
    ]
    rows = {(row.series.method, row.readout): row for row in compare(runs).rows}
    assert not hangs_on_seeds(rows["frozen", "plain"])
    assert hangs_on_seeds(rows["frozen", "whitened"])
    assert hangs_on_seeds(rows["prompting-llm-alone", "plain"])
    one = difference(rows["transfer", "plain"], rows["frozen", "whitened"])
    assert one is not None
    assert one.verdict == "open, fewer than three seeds"


def whole(folder: Path) -> list[Run]:
    return [
        *seeds(folder, "transfer", [71, 72, 73], label="W"),
        *seeds(folder, "transfer", [74, 75, 76], label="W, label-free", others=[40, 41, 42]),
        *seeds(folder, "transfer", [99], label="lucky"),
        *seeds(folder, "lora", [68, 69, 70], label="LoRA"),
        *seeds(folder, "lora", [60, 61, 62], label="LoRA at another rate"),
        *seeds(folder, "qlora", [67, 68, 69], label="QLoRA"),
        *seeds(folder, "prompting-llm-alone", [50, 51, 52], label="alone"),
        *seeds(
            folder, "prompting-llm-alone", [90, 91, 92], label="another alone", source={"run": "x", "sha256": "7" * 64}
        ),
        *seeds(folder, "tfidf", [72.5], label="TF-IDF"),
        *seeds(folder, "encoder", [80.0], label="MiniLM"),
    ]


def test_the_best_row_of_each_method_is_held_against_transfer_and_lora(tmp_path: Path) -> None:
    pairs = [(one.series.label, other.series.label) for one, other in compared(compare(whole(tmp_path)))]
    floors = ["QLoRA", "alone", "TF-IDF", "MiniLM"]
    assert pairs == [
        ("W", "W, label-free"),
        ("W", "LoRA"),
        *[("W", floor) for floor in floors],
        ("W, label-free", "LoRA"),
        *[("W, label-free", floor) for floor in floors],
        *[("LoRA", floor) for floor in floors],
    ]


def test_they_stand_in_markdown_and_json_and_not_in_a_terminal(tmp_path: Path) -> None:
    comparison = compare(whole(tmp_path))
    text = to_markdown(comparison)
    assert "| Row | Against | Score | Verdict | By seed | Other sets | Verdict there | By seed there |" in text
    line = "| W, plain | TF-IDF, plain | -0.5 | open | -1.5, -0.5, +0.5 | +0.0 | open | +0.0, +0.0, +0.0 |"
    assert line in text
    (found_line,) = (
        one
        for one in json.loads(to_json(comparison))["differences"]
        if (one["row"], one["against"]) == ("W, label-free, plain", "MiniLM, plain")
    )
    assert found_line == {
        "row": "W, label-free, plain",
        "against": "MiniLM, plain",
        "score": -5,
        "score_verdict": "decided",
        "score_by_seed": {"17": -6, "18": -5, "19": -4},
        "other_sets": -9,
        "other_sets_verdict": "decided",
        "other_sets_by_seed": {"17": -10, "18": -9, "19": -8},
    }
    out = StringIO()
    print_table(comparison, Console(file=out, width=250))
    assert "By seed" not in out.getvalue()


def test_a_table_without_transfer_and_lora_has_no_differences(tmp_path: Path) -> None:
    comparison = compare(seeds(tmp_path, "tfidf", [70]))
    assert compared(comparison) == []
    assert "## Differences" not in to_markdown(comparison)
    assert json.loads(to_json(comparison))["differences"] == []


def test_one_number_is_held_against_every_seed_from_either_side(tmp_path: Path) -> None:
    runs = [*seeds(tmp_path, "transfer", [71, 72, 73]), *seeds(tmp_path, "tfidf", [70])]
    one = found(runs, row="tfidf", against="transfer")
    assert one.by_seed == pytest.approx({17: -1, 18: -2, 19: -3})


def test_a_row_that_no_other_set_scored_has_an_empty_cell_there(tmp_path: Path) -> None:
    runs = [
        *seeds(tmp_path, "transfer", [71, 72, 73]),
        *seeds(tmp_path, "lora", [68, 69, 70]),
        make_run(tmp_path, "tfidf", [metric(0, 60.0, other=None)], method="tfidf"),
    ]
    view = differences_view(compare(runs))
    assert view is not None
    rows = {(row[0], row[1]): row for row in view.rows}
    (unscored,) = [row for names, row in rows.items() if names == ("transfer, plain", "tfidf, plain")]
    assert unscored[2:4] == ("+12.0", "decided")
    assert unscored[5:] == ("", "", "")


def with_outcomes(runs: list[Run], hits: Sequence[np.ndarray], *, name: str = "in-domain") -> list[Run]:
    """The runs, with what each dev row came to."""
    for run, values in zip(runs, hits, strict=True):
        sets = [{"name": name, "values": values.astype(float).tolist(), "gold": None}]
        (run.folder / "outcomes.json").write_text(json.dumps({"sets": sets}))
    return [read_run(run.folder) for run in runs]


def test_the_choice_of_the_rows_gives_an_interval(tmp_path: Path) -> None:
    """Checked against scipy: the same rows for both, the mean over the seeds that both have."""
    random = np.random.default_rng(0)
    mine, theirs = (random.random((3, 300)) < share for share in (0.8, 0.7))
    runs = with_outcomes(seeds(tmp_path, "transfer", [100 * one.mean() for one in mine]), mine)
    runs += with_outcomes(seeds(tmp_path, "lora", [100 * one.mean() for one in theirs]), theirs)
    between = found(runs)
    gaps = 100 * (mine.astype(float) - theirs).mean(axis=0)
    expected = bootstrap((gaps,), np.mean, method="percentile", random_state=1).confidence_interval
    assert between.interval is not None
    assert between.interval.difference == pytest.approx(gaps.mean())
    assert (between.interval.low, between.interval.high) == pytest.approx((expected.low, expected.high), abs=0.6)
    assert between.interval.decided
    comparison = compare(runs)
    text = to_markdown(comparison)
    assert "| By rows |" in text
    assert f"| +{between.interval.low:.1f} to +{between.interval.high:.1f} |" in text
    assert "paired bootstrap draws of the dev sets' rows" in text
    flat = json.loads(to_json(comparison))["differences"][0]
    assert flat["score_low"] == pytest.approx(between.interval.low, abs=1e-5)
    assert found(runs, elsewhere=True).interval is None


def test_runs_that_keep_no_outcomes_have_no_interval(tmp_path: Path) -> None:
    hits = [np.arange(20) % 2 == 0] * 3
    old = seeds(tmp_path, "lora", [50, 50, 50])
    runs = with_outcomes(seeds(tmp_path, "transfer", [50, 50, 50]), hits)
    assert found(runs + old).interval is None
    assert "By rows" not in to_markdown(compare(runs + old))
    other = with_outcomes(old, hits, name="another set")
    assert found(runs + other).interval is None
    (other[0].folder / "outcomes.json").write_text('{"sets": [{"name": "in-domain"}]}')
    with pytest.raises(ConfigError, match=r"outcomes\.json: .*values"):
        found(runs + [read_run(run.folder) for run in other])
