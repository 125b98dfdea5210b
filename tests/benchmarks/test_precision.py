"""The benchmark of precision, on tiny decoders: every figure that it prints is in its file."""

import json
import sys
from pathlib import Path

import pytest
from helpers.small_pretraining import ROOT
from helpers.tiny import Tiny

sys.path.insert(0, str(ROOT / "benchmarks"))

import precision

from transferkit.data.dev_sets import load_dev_sets

KINDS = ("plain", "readout", "whiten", "pairs")


def test_steps_and_scores(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("train", "baseline"):
        tiny.write(tmp_path, task)
    out = tmp_path / "found.json"
    precision.main(
        [
            *("--target", str(tiny.target), "--data-dir", str(tiny.data), "--prompting", str(tiny.prompting)),
            *("--train", str(tmp_path / "train.yaml"), "--baseline", str(tmp_path / "baseline.yaml")),
            *("--batch-size", "6", "--steps", "3", "--score-after", "2", "--out", str(out)),
        ]
    )
    found, printed = json.loads(out.read_text(encoding="utf-8")), capsys.readouterr().out
    assert f"bfloat16 is {found['products']:.2f}x float32" in printed
    for method in ("lora", "source"):
        assert {one: len(pairs) for one, pairs in found["steps"][method].items()} == {"float32": 3, "bfloat16": 3}
        for row in precision.step_rows(method, found["steps"][method]):
            assert f"{row.ratio:.2f}x" in printed
            assert row.float32 > 0
        scores = {one["set"]: one for one in found["scores"][method]}
        assert scores.keys() == {f"{name}, {kind}" for name in ("intents", "sts") for kind in KINDS}
        share = scores["intents, plain"]["float32"] / 100
        reported = load_dev_sets(tiny.recipe("adapt").data, data_dir=tiny.data)[0].reported_rows
        expected = 100 * (share * (1 - share) / reported) ** 0.5
        assert scores["intents, plain"]["standard_error"] == pytest.approx(expected)
    assert len(printed.splitlines()) == 1 + 2 * (3 + 2 * len(KINDS))


def test_ratios_are_medians_of_pairs() -> None:
    pairs = {"float32": [(8.0, 4.0), (6.0, 3.0), (9.0, 2.0)], "bfloat16": [(2.0, 2.0), (3.0, 1.0), (3.0, 1.0)]}
    clock, cpu, together = precision.step_rows("lora", pairs)
    assert clock[2:] == (8.0, 3.0, 3.0)
    assert cpu[2:] == (3.0, 1.0, 2.0)
    assert together[2:] == (23.0, 8.0, 23 / 8)
