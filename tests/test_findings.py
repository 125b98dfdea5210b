"""Sentences on what was seen: right numbers, and plain words where transfer loses."""

from pathlib import Path
from typing import Any

import pytest
from run_builder import make_run, metric

from transferkit.convergence.comparison import compare
from transferkit.convergence.findings import findings
from transferkit.runs import Run


def reference(tmp_path: Path) -> Run:
    rows = [metric(0, 40.0, seconds=0.0), metric(50, 74.0, seconds=50.0), metric(200, 80.0, seconds=200.0)]
    return make_run(tmp_path, "lora", rows, label="LoRA r 8")


def transfer(tmp_path: Path, *, best: float = 77.0, **more: Any) -> Run:
    rows = [metric(0, 60.0, seconds=4.0), metric(50, best, seconds=8.0)]
    return make_run(tmp_path, "transfer", rows, method="transfer", label="W", trainable=320, **more)


def text(runs: list[Run]) -> str:
    return "\n".join(findings(compare(runs)))


def test_a_faster_transfer(tmp_path: Path) -> None:
    found = text([reference(tmp_path), transfer(tmp_path)])
    assert "The reference is LoRA r 8, plain: its best score is 80.0 (one seed), reached after 200 steps." in found
    assert "The transfer row, W, plain, scores 77.0 (one seed), 96.2 % of LoRA's best, after 50 of 50 steps" in found
    assert "It reaches 95 % of LoRA's best (76.0) after 50 steps (8.0 s), but not 98 % (78.4)" in found
    assert (
        "LoRA is there after 200 steps (200 s): transfer needs 4.0 times fewer steps and 25.0 times fewer sec" in found
    )


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
        ("prompt-tuning", 70.0, "beats prompt tuning by 7.0 points (best row: rival, plain, 70.0): the"),
        ("prompt-tuning", 79.5, "loses to prompt tuning by 2.5 points (best row: rival, plain, 79.5): "
         "the carried skill is worth no more than"),
        ("prompt-tuning", 77.0, "is level with prompt tuning (best row: rival, plain, 77.0): "
         "the carried skill is worth no"),
        ("prompting-llm-alone", 70.0, "beats the Prompting LLM alone by 7.0 points"),
        ("prompting-llm-alone", 78.0, "loses to the Prompting LLM alone by 1.0 points "
         "(best row: rival, plain, 78.0): the Prompting LLM would do as well without the backbone"),
    ],
)  # fmt: skip
def test_rivals(tmp_path: Path, method: str, rival: float, words: str) -> None:
    other = make_run(tmp_path, "rival", [metric(0, 50.0), metric(50, rival)], method=method, label="rival")
    assert f"Transfer {words}" in text([reference(tmp_path), transfer(tmp_path), other])


def test_a_rival_that_trained_longer_is_also_read_at_equal_steps(tmp_path: Path) -> None:
    longer = [metric(0, 50.0), metric(50, 66.0), metric(500, 79.0)]
    rival = make_run(tmp_path, "rival", longer, method="prompt-tuning")
    found = text([reference(tmp_path), transfer(tmp_path), rival])
    assert "loses to prompt tuning by 2.0 points" in found
    assert "Up to step 50, which both ran, transfer scores 77.0 and prompt tuning 66.0." in found


def test_overlapping_ranges_are_said(tmp_path: Path) -> None:
    runs = [reference(tmp_path)]
    for seed, (mine, theirs) in enumerate([(70.0, 69.0), (75.0, 74.0), (76.0, 75.5)]):
        for method, best in (("transfer", mine), ("prompt-tuning", theirs)):
            rows = [metric(0, 50.0), metric(50, best)]
            runs.append(make_run(tmp_path, f"{method}{seed}", rows, method=method, seed=seed))
    assert "free vectors trained from scratch, though the ranges over seeds overlap." in text(runs)


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


def test_floors_and_sets_that_choose_nothing(tmp_path: Path) -> None:
    tfidf = make_run(tmp_path, "tfidf", [metric(0, 78.0)], method="tfidf", label="TF-IDF")
    found = text([reference(tmp_path), transfer(tmp_path), tfidf])
    assert "Transfer stands 1.0 points below TF-IDF (TF-IDF, plain: 78.0)." in found
    assert "On the dev sets that choose nothing (elsewhere) it scores 50.0; LoRA's reference row scores 50.0" in found
