"""Sentences on what was seen: right numbers, and plain words where transfer loses."""

from pathlib import Path
from typing import Any

import pytest
from helpers.run_builder import make_run, metric

from transferkit.convergence.comparison import compare
from transferkit.convergence.findings import findings
from transferkit.runs.folder import Run


def reference(tmp_path: Path) -> Run:
    scores = [(0, 40.0), (50, 74.0), (200, 80.0), (250, 79.0)]
    rows = [metric(step, score, seconds=float(step), other=score - 20) for step, score in scores]
    return make_run(tmp_path, "lora", rows, label="LoRA r 8")


def transfer(tmp_path: Path, *, best: float = 77.0, **more: Any) -> Run:
    rows = [metric(0, 60.0, seconds=4.0), metric(50, best, seconds=8.0, other=51.0)]
    return make_run(tmp_path, "transfer", rows, method="transfer", label="W", trainable=320, **more)


def seeds(tmp_path: Path, method: str, scores: list[float], **more: Any) -> list[Run]:
    """A run a score, of one row."""
    return [
        make_run(tmp_path, f"{method}{seed}", [metric(0, 50.0), metric(50, best)], method=method, seed=seed, **more)
        for seed, best in enumerate(scores)
    ]


def text(runs: list[Run]) -> str:
    return "\n".join(findings(compare(runs)))


def test_a_faster_transfer(tmp_path: Path) -> None:
    found = text([reference(tmp_path), transfer(tmp_path)])
    assert (
        "The reference is LoRA r 8, plain: its best score is 80.0 (one seed), reached after 200 of 250 steps.\n"
        in found
    )
    assert (
        "The transfer row, W, plain, scores 77.0 (one seed), 96.2 % of LoRA's best (open, fewer than three seeds), "
        "after 50 of 50 steps" in found
    )
    assert "It reaches 95 % of LoRA's best (76.0) after 50 steps (8.0 s), but not 98 % (78.4)" in found
    assert (
        "LoRA is there after 200 steps (200 s): transfer needs 4.0 times fewer steps and 25.0 times fewer sec" in found
    )


def test_lora_is_read_in_the_readout_that_is_sooner(tmp_path: Path) -> None:
    rows = [metric(0, 40.0, 50.0), metric(100, 60.0, 77.0), metric(200, 80.0, 78.0)]
    found = text([make_run(tmp_path, "lora", rows), transfer(tmp_path)])
    assert (
        "LoRA, in whichever readout is sooner, is there after 100 steps (102 s): transfer needs 2.0 times few" in found
    )


@pytest.mark.parametrize(
    ("scores", "rising"), [([80.0, 81.0], True), ([79.0, 81.0], True), ([70.0, 78.0, 81.0], False)]
)
def test_a_reference_that_still_rises_is_said_to(tmp_path: Path, scores: list[float], rising: bool) -> None:
    runs = []
    for seed, last in enumerate(scores):
        rows = [metric(0, 40.0), metric(50, 79.0), metric(100, last)]
        runs.append(make_run(tmp_path, f"lora{seed}", rows, seed=seed))
    rest = ", so it might rise further with more steps, and all targets with it."
    assert (f"; at least half of its runs are best at their end{rest}" in text(runs)) == rising
    assert f"; it is best where it ends{rest}" in text(runs[-1:])


def test_a_reference_that_keeps_its_last_step_is_not_called_best_or_rising(tmp_path: Path) -> None:
    rows = [metric(0, 40.0), metric(50, 79.0), metric(100, 70.0)]
    found = text([make_run(tmp_path, "lora", rows, recipe={"eval": {"keep": "last"}})])
    assert "its last score is 70.0 (one seed), reached after 100 of 100 steps.\n" in found


def test_a_slower_transfer_is_called_slower(tmp_path: Path) -> None:
    slow = [metric(0, 30.0, seconds=4.0), metric(100, 73.0, seconds=500.0)]
    found = text([reference(tmp_path), make_run(tmp_path, "t", slow, method="transfer")])
    assert "transfer needs 2.0 times as many steps and 10.0 times as many seconds" in found


def test_a_transfer_that_reaches_nothing(tmp_path: Path) -> None:
    found = text([reference(tmp_path), transfer(tmp_path, best=65.0)])
    assert "It does not reach 90 % of LoRA's best (72.0) in the 50 steps that were run." in found


@pytest.mark.parametrize(
    ("method", "rival", "words"),
    [
        ("prompt-tuning", 70.0, "beats prompt tuning by 7.0 points (best row: rival, plain, 70.0): "
         "the carried skill is worth more than free vectors trained from scratch."),
        ("prompt-tuning", 79.5, "loses to prompt tuning by 2.5 points (best row: rival, plain, 79.5): "
         "the carried skill is worth no more than"),
        ("prompt-tuning", 77.0, "stands level with prompt tuning (best row: rival, plain, 77.0); "
         "the ranges over seeds overlap, so it is open whether the carried skill is worth more than free vectors"),
        ("prompt-tuning", 76.5, "stands 0.5 points above prompt tuning (best row: rival, plain, 76.5); "
         "the ranges over seeds overlap, so it is open whether the carried skill is worth more than free vectors"),
        ("prompt-tuning", 77.5, "stands 0.5 points below prompt tuning (best row: rival, plain, 77.5); the ranges"),
        ("prompting-llm-alone", 70.0, "beats the Prompting LLM alone by 7.0 points"),
        ("prompting-llm-alone", 79.5, "loses to the Prompting LLM alone by 2.5 points "
         "(best row: rival, plain, 79.5; by seed -2.5, -2.5, -2.5): the Prompting LLM would do as well without"),
    ],
)  # fmt: skip
def test_rivals(tmp_path: Path, method: str, rival: float, words: str) -> None:
    mine = seeds(tmp_path, "transfer", [76.0, 77.0, 78.0])
    theirs = seeds(tmp_path, method, [rival - 1, rival, rival + 1], label="rival")
    assert f"Transfer {words}" in text([reference(tmp_path), *mine, *theirs])


@pytest.mark.parametrize(
    ("mine", "theirs", "who"),
    [
        ([77.0], [60.0], "transfer and of prompt tuning"),
        ([76.0, 77.0], [60.0, 61.0, 62.0], "transfer"),
        ([76.0, 77.0, 78.0], [60.0, 61.0], "prompt tuning"),
    ],
)
def test_fewer_than_three_seeds_decide_nothing(
    tmp_path: Path, mine: list[float], theirs: list[float], who: str
) -> None:
    runs = [*seeds(tmp_path, "transfer", mine), *seeds(tmp_path, "prompt-tuning", theirs)]
    found = text([reference(tmp_path), *runs])
    assert (
        f"); there are fewer than three seeds of {who}, so it is open whether the carried skill is worth more than free"
        in found
    )
    assert "Transfer beats" not in found
    assert "Rows with one seed have no range, so what they differ by is open.\n" in f"{found}\n"


def test_an_accuracy_of_one_seed_comes_with_what_its_texts_leave_open(tmp_path: Path) -> None:
    dev = [{"name": "elsewhere", "kind": "sts", "limit": 9}, {"name": "in-domain", "kind": "knn", "limit": 300}]
    data = {"data": {"dev": dev}}
    found = text([make_run(tmp_path, "lora", [metric(0, 40.0), metric(50, 80.0)], recipe=data), transfer(tmp_path)])
    # sqrt(0.8 * 0.2 / 300)
    assert (
        "an accuracy of 80.0 over at most 300 texts has a standard error of at least 2.3 points by the choice" in found
    )
    for other in ({"kind": "clustering", "limit": 300}, {"kind": "knn", "limit": None}):
        recipe = {"data": {"dev": [{"name": "in-domain", **other}]}}
        run = make_run(tmp_path / str(other), "lora", [metric(0, 40.0), metric(50, 80.0)], recipe=recipe)
        assert "standard error" not in text([run, transfer(tmp_path / str(other))])


def test_a_rival_that_trained_longer_is_also_read_at_equal_steps(tmp_path: Path) -> None:
    longer = [metric(0, 50.0), metric(50, 66.0), metric(500, 79.0)]
    rival = make_run(tmp_path, "rival", longer, method="prompt-tuning")
    found = text([reference(tmp_path), transfer(tmp_path), rival])
    assert "stands 2.0 points below prompt tuning" in found
    assert "Up to step 50, which both ran, transfer scores 77.0 and prompt tuning 66.0." in found


def test_the_prompting_llm_of_another_source_is_not_compared(tmp_path: Path) -> None:
    alone = make_run(
        tmp_path,
        "alone",
        [metric(0, 90.0)],
        method="prompting-llm-alone",
        source={"run": "x", "sha256": "7" * 64},
    )
    found = text([reference(tmp_path), transfer(tmp_path), alone])
    assert "No run of the Prompting LLM alone of the same source is among these runs" in found


def test_missing_rivals_and_missing_transfer_are_said(tmp_path: Path) -> None:
    found = text([reference(tmp_path), transfer(tmp_path)])
    assert "No run of prompt tuning is among these runs, so it is open whether transfer beats it." in found
    assert "There is no transfer run" in text([reference(tmp_path / "alone")])


def test_differences_to_the_source_are_paired_by_seed(tmp_path: Path) -> None:
    mine = seeds(tmp_path, "transfer", [70.0, 75.0, 80.0])
    theirs = seeds(tmp_path, "prompting-llm-alone", [68.0, 71.0, 77.0], label="alone")
    found = text([reference(tmp_path), *mine[::-1], *theirs])
    assert (
        "stands 4.0 points above the Prompting LLM alone (best row: alone, plain, 71.0; by seed +2.0, +4.0, +3.0); "
        in found
    )
    assert "the ranges over seeds overlap, so it is open" in found


def test_a_transfer_row_of_one_lucky_seed_is_not_the_one_that_is_spoken_of(tmp_path: Path) -> None:
    mine = seeds(tmp_path, "transfer", [70.0, 75.0, 76.0], label="many")
    lucky = make_run(tmp_path, "lucky", [metric(0, 60.0), metric(50, 79.0)], method="transfer", label="lucky")
    found = text([reference(tmp_path), *mine, lucky])
    assert "The best transfer row, many, plain, scores 75.0 (median of 3 seeds, 70.0 to 76.0)" in found


def test_what_a_floor_differs_by_is_called_decided_or_open(tmp_path: Path) -> None:
    mine = seeds(tmp_path, "transfer", [70.0, 75.0, 80.0])
    floors = [
        make_run(tmp_path, "tfidf", [metric(0, 71.0)], method="tfidf", label="TF-IDF"),
        make_run(tmp_path, "frozen", [metric(0, 60.0)], method="frozen", label="frozen"),
        make_run(tmp_path, "encoder", [metric(0, 81.0)], method="encoder", label="MiniLM"),
    ]
    found = text([reference(tmp_path), *mine, *floors])
    assert (
        "Transfer stands 15.0 points above the best frozen backbone (frozen, plain: 60.0; decided), 4.0 points above "
        "TF-IDF (TF-IDF, plain: 71.0; open) and 6.0 points below the ready-made encoder (MiniLM, plain: 81.0; decided)."
    ) in found


def test_seeds_that_need_other_steps_are_shown_one_by_one(tmp_path: Path) -> None:
    curves = [[(0, 78.0), (50, 79.0)], [(0, 60.0), (50, 77.0)], [(0, 60.0), (50, 70.0)]]
    runs = [
        make_run(
            tmp_path,
            f"t{seed}",
            [metric(step, best, seconds=float(step)) for step, best in curve],
            method="transfer",
            seed=seed,
        )
        for seed, curve in enumerate(curves)
    ]
    assert "It reaches 95 % of LoRA's best (76.0) after 50 steps (by seed 0, 50, never; 50.0 s)" in text(
        [reference(tmp_path), *runs]
    )


@pytest.mark.parametrize(("slowest", "doubt"), [(50, ""), (100, ", but the seeds overlap, so it is open")])
def test_a_speed_up_is_called_open_where_seeds_overlap(tmp_path: Path, slowest: int, doubt: str) -> None:
    runs = []
    for seed, reached in enumerate((50, 50, slowest)):
        rows = [metric(step, 40.0 if step < reached else 77.0) for step in (0, 50, 100)]
        runs.append(make_run(tmp_path, f"t{seed}", rows, method="transfer", seed=seed))
        rows = [metric(0, 40.0), metric(100, 76.5), metric(200, 80.0)]
        runs.append(make_run(tmp_path, f"l{seed}", rows, label="LoRA", seed=seed))
    assert f"transfer needs 2.0 times fewer steps and 2.0 times fewer seconds{doubt}." in text(runs)


def test_of_two_that_are_there_at_step_0_none_is_called_sooner(tmp_path: Path) -> None:
    lora = make_run(tmp_path, "lora", [metric(0, 79.0, seconds=1.0), metric(50, 79.0, seconds=9.0)])
    mine = make_run(tmp_path, "t", [metric(0, 79.5, seconds=5.0), metric(50, 79.0, seconds=9.0)], method="transfer")
    found = text([lora, mine])
    assert "It reaches 100 % of LoRA's best (79.0) at step 0 (5.0 s); LoRA is there at step 0 (1.0 s).\n" in found


def test_a_floor_that_is_best_on_the_other_sets_is_named(tmp_path: Path) -> None:
    tfidf = make_run(tmp_path, "tfidf", [metric(0, 70.0, other=64.0)], method="tfidf", label="TF-IDF")
    few = "(open, fewer than three seeds)"
    assert f"scores 60.0 there {few}, and the best row there is TF-IDF, plain with 64.0 {few}." in text(
        [reference(tmp_path), transfer(tmp_path), tfidf]
    )


def test_seconds_of_a_machine_that_changes_its_pace_are_not_compared(tmp_path: Path) -> None:
    runs = [
        make_run(
            tmp_path,
            f"t{seed}",
            [metric(0, 60.0), metric(50, 77.0, seconds=took)],
            method="transfer",
            seed=seed,
            label="W",
        )
        for seed, took in enumerate((10.0, 14.0))
    ]
    comparison = compare([reference(tmp_path), *runs])
    found = "\n".join(findings(comparison))
    assert "It reaches 95 % of LoRA's best (76.0) after 50 steps, but" in found
    assert (
        "LoRA is there after 200 steps: transfer needs 4.0 times fewer steps, by fewer than three seeds, so it" in found
    )
    said = "A step took longer in one seed than in another, so compare steps rather than seconds: W (1.4 times)."
    assert said in comparison.notes


def test_seconds_of_runs_of_different_days_are_not_compared(tmp_path: Path) -> None:
    later = transfer(tmp_path, created_at="2026-01-05T03:04:05+00:00")
    comparison = compare([reference(tmp_path), later])
    assert "LoRA is there after 200 steps: transfer needs 4.0 times fewer steps, by" in "\n".join(findings(comparison))
    assert any(note.startswith("Runs began up to 3 days apart") for note in comparison.notes)
    (row,) = (row for row in comparison.rows if row.series.method == "transfer")
    reached = [crossing for crossing in row.crossings if crossing.cost["seconds"].value is not None]
    assert [crossing.speedup["seconds"].value for crossing in reached] == [None] * len(reached) != []


def test_floors_and_sets_that_choose_nothing(tmp_path: Path) -> None:
    tfidf = make_run(tmp_path, "tfidf", [metric(0, 78.0)], method="tfidf", label="TF-IDF")
    found = text([reference(tmp_path), transfer(tmp_path), tfidf])
    assert "Transfer stands 1.0 points below TF-IDF (TF-IDF, plain: 78.0; open, fewer than three seeds)." in found
    assert "On the dev sets that choose nothing (elsewhere) it scores 51.0; LoRA's reference row scores 60.0" in found


def test_a_score_that_lora_reaches_in_half_of_its_seeds_alone_is_said_to_be_none_of_its(tmp_path: Path) -> None:
    """The median over two seeds, 80, is reached by one of them: no median of steps."""
    runs = [
        make_run(tmp_path, f"l{seed}", [metric(0, 40.0), metric(100, best)], seed=seed)
        for seed, best in ((1, 70.0), (2, 90.0))
    ]
    found = text([*runs, transfer(tmp_path, best=85.0)])
    assert "It reaches 100 % of LoRA's best (80.0) after 50 steps" in found
    assert "LoRA's median over seeds does not reach that score." in found


@pytest.mark.parametrize(
    ("best", "floor", "said"),
    [
        (
            81.0,
            70.0,
            "In short: transfer stands 1.0 points above LoRA (open, fewer than three seeds), with 320 trained numbers "
            "for 1,000; it is above all that learns nothing here, by 11.0 points (open, fewer than three seeds).",
        ),
        (
            77.0,
            None,
            "In short: transfer stands 3.0 points below LoRA (open, fewer than three seeds), with 320 trained numbers "
            "for 1,000; no row that learns nothing is among these runs.",
        ),
        (
            77.0,
            78.0,
            "In short: not shown to be worth it. tfidf, plain learns nothing on this decoder and scores 78.0, transfer "
            "77.0 (open, fewer than three seeds).",
        ),
    ],
)
def test_a_verdict_stands_on_top(best: float, floor: float | None, said: str, tmp_path: Path) -> None:
    runs = [reference(tmp_path), transfer(tmp_path, best=best)]
    if floor is not None:
        runs.append(make_run(tmp_path, "tfidf", [metric(0, floor)], method="tfidf"))
    assert findings(compare(runs))[0] == said


def test_without_lora_the_verdict_is_against_what_learns_nothing(tmp_path: Path) -> None:
    assert findings(compare([transfer(tmp_path)]))[0] == (
        "In short: transfer scores 77.0; no row that learns nothing is among these runs."
    )


def test_a_source_is_spread_over_its_targets(tmp_path: Path) -> None:
    source = {"run": "train-source", "sha256": "5" * 64, "train_seconds": 600.0}
    assert (
        "Its source was trained once, in 600 s by its own record: spread over 1, 3 and 10 targets 600 s, 200 s, 60.0 s "
        "each, beside the 8.0 s of adapting here; LoRA took 250 s here, so from 3 targets on transfer takes less."
    ) in text([reference(tmp_path), transfer(tmp_path, source=source)])
    assert "Its source was trained once" not in text([transfer(tmp_path / "old")])  # its record does not say
    slow = [metric(0, 60.0, seconds=4.0), metric(50, 77.0, seconds=300.0)]
    run = make_run(tmp_path, "slow", slow, method="transfer", source=source)
    assert "LoRA took 250 s here, so transfer never takes less." in text([reference(tmp_path / "again"), run])
