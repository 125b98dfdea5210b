"""The verdict of a training run: its word, its figures and their errors."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.parts import source_checkpoint
from helpers.run_parts import Stopped
from helpers.tiny import Tiny
from rich.console import Console

from transferkit.data import scores
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import resume, start
from transferkit.runner.verdict import _word
from transferkit.runs.folder import read_run
from transferkit.training.signals import Interrupted

RNG = np.random.default_rng(3)
SETTINGS = {"readout": {"kind": "center", "sample": 8}, "eval": {"every": 2}}


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")


def run(tiny: Tiny, runs: Path, kind: str, source: Path | None = None, **changes: Any) -> tuple[dict[str, Any], str]:
    recipe = tiny.recipe(kind, **{**SETTINGS, "optim": {"steps": 2, "batch_size": 4}, **changes})
    console = Console(file=StringIO(), width=400)
    folder = start(recipe, Inputs(source=source, data_dir=tiny.data), runs=runs, console=console)
    found = read_run(folder).record["verdict"]
    last = [line for line in console.file.getvalue().splitlines() if line.strip()][-1]  # type: ignore[attr-defined]
    return found, last


@pytest.mark.parametrize(
    ("kind", "changes", "names"),
    [
        ("train", {}, ["its start", "the frozen decoder", "the Prompting LLM alone", "TF-IDF"]),
        ("adapt", {}, ["its start", "the frozen decoder", "the Prompting LLM alone", "TF-IDF"]),
        ("baseline", {"method": "prompt-tuning"}, ["its start", "the frozen decoder", "TF-IDF"]),
        ("baseline", {"method": "lora"}, ["its start, the frozen decoder", "TF-IDF"]),
    ],
)
def test_every_run_that_trains_ends_with_it(
    tiny: Tiny, source: Path, tmp_path: Path, kind: str, changes: dict[str, Any], names: list[str]
) -> None:
    found, line = run(tiny, tmp_path, kind, source if kind == "adapt" else None, **changes)
    assert [one["name"] for one in found["against"]] == names
    assert found["word"] in line
    assert f"dev {found['score']:.1f}" in line
    for one in found["against"]:
        assert found["score"] == pytest.approx(one["score"] + one["difference"])
        assert f"{one['difference']:+.1f} (± {one['error']:.1f}) to {one['name']}" in line
    assert found["weights_moved"] >= 0


def test_a_rival_is_what_its_own_run_reports(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    found, _ = run(tiny, tmp_path, "adapt", source, embedding={"pooling": "last"})
    rivals = {one["name"]: one["score"] for one in found["against"]}
    fixed = {"readout": {"kind": "center", "sample": 8}}
    recipe = tiny.recipe("baseline", method="frozen", frozen={"templates": ["{text}"], "poolings": ["last"]}, **fixed)
    folder = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, console=Console(quiet=True))
    assert read_run(folder).record["best"]["score"] == pytest.approx(rivals["the frozen decoder"])


def test_a_learning_rate_of_nothing_has_no_effect(tiny: Tiny, tmp_path: Path) -> None:
    optim = {"steps": 2, "batch_size": 4, "lr": 1e-12}
    found, line = run(tiny, tmp_path, "baseline", method="lora", eval={"every": 2, "keep": "last"}, optim=optim)
    assert found["word"] == "NO EFFECT"
    assert "NO EFFECT" in line
    assert found["vectors_turned"] < 1e-5


def test_a_resumed_run_comes_to_the_same(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe("adapt", **SETTINGS, optim={"steps": 4, "batch_size": 4})
    whole = start(recipe, Inputs(source=source, data_dir=tiny.data), runs=tmp_path / "a", console=Console(quiet=True))
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(recipe, Inputs(source=source, data_dir=tiny.data), runs=tmp_path / "b", console=Console(quiet=True))
    (part,) = (tmp_path / "b").iterdir()
    resume(part, console=Console(quiet=True))
    assert read_run(part).record["verdict"] == read_run(whole).record["verdict"]


def against(*rivals: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"difference": difference, "error": error} for difference, error in rivals]


@pytest.mark.parametrize(
    ("turned", "rivals", "word"),
    [
        (0.2, [(5.0, 1.0), (2.1, 1.0)], "GAIN"),
        (0.2, [(5.0, 1.0), (1.9, 1.0)], "MARGINAL"),
        (0.2, [(-1.9, 1.0), (0.0, 1.0)], "MARGINAL"),
        (0.2, [(5.0, 1.0), (-2.1, 1.0)], "REGRESSION"),
        (0.0, [(0.0, 0.0)], "NO EFFECT"),
        (0.2, [(0.0, 0.0)], "MARGINAL"),
    ],
)
def test_word(turned: float, rivals: list[tuple[float, float]], word: str) -> None:
    assert _word(turned, against(*rivals)) == word


def test_the_error_of_a_difference_is_that_of_paired_rows() -> None:
    mine, theirs = (RNG.random(400) < share for share in (0.8, 0.6))
    metric = scores.Metric(np.asarray, lambda outcomes: 100 * float(np.mean(outcomes)), {})
    found = scores.difference_error(metric, *(one.astype(float)[:, None] for one in (mine, theirs)))
    expected = 100 * np.std(mine.astype(float) - theirs) / 20
    assert found == pytest.approx(expected, rel=0.15)
    assert scores.difference_error(metric, mine[:, None], mine[:, None]) == 0.0
