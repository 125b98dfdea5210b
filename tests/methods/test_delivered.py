"""What `compare` says of a run is what its checkpoint has when it is loaded: every method, every readout."""

from pathlib import Path
from typing import Any

import pytest
from helpers.parts import source_checkpoint
from helpers.run_parts import QUIET
from helpers.tiny import Tiny

from transferkit.checkpoints.checkpoint import load
from transferkit.config.methods import MethodFacts, all_methods
from transferkit.convergence import compare
from transferkit.data.dev_sets import load_dev_sets
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runs.folder import Run, delivered, read_run

SAVED = [facts for facts in all_methods().values() if facts.kind is not None]


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("delivered") / "source", offsets=0.1)


def ran(tiny: Tiny, facts: MethodFacts, source: Path, runs: Path, readout: str) -> Run:
    named = {"method": facts.name} if facts.task == "baseline" else {}
    changes: dict[str, Any] = {"readout": {"kind": readout}, "optim": {"steps": 2}, "eval": {"every": 1}}
    if facts.has_encoder:
        changes["embedding"] = {"backbone": str(tiny.encoder)}
    recipe = tiny.recipe(facts.task, **named, **changes)
    given = Inputs(source=source if facts.needs_source else None, data_dir=tiny.data)
    return read_run(start(recipe, given, runs=runs, console=QUIET))


@pytest.mark.parametrize("readout", ["auto", "none", "center", "whiten", "pairs"])
@pytest.mark.parametrize("facts", SAVED, ids=lambda facts: facts.name)
def test_a_checkpoint_has_the_score_of_its_row(
    tiny: Tiny, source: Path, tmp_path: Path, facts: MethodFacts, readout: str
) -> None:
    run = ran(tiny, facts, source, tmp_path, readout)
    embedder = load(run.folder)
    (chooses, other) = load_dev_sets(tiny.recipe("adapt").data, data_dir=tiny.data)
    assert chooses.is_halved
    inside, outside = (
        dev.reported_score(embedder.encode(dev.texts, instruction=dev.instructions)) for dev in (chooses, other)
    )
    assert run.record["best"]["score"] == pytest.approx(inside, abs=1e-3)
    if facts.task != "train":  # a source is no row
        (row,) = compare([run]).rows
        assert (row.best, row.other) == (pytest.approx(inside, abs=1e-3), pytest.approx(outside, abs=0.1))
        assert row.readout
    if readout not in ("auto", "none"):
        assert embedder.readout.kind == readout
    if readout == "auto":
        kinds = {key: value for key, value in chosen_row(run)["choosing"].items() if key != "readout"}
        # Plain is one of them, and none is better by more than an error of the rows that choose, at least eight.
        assert delivered(chosen_row(run)["choosing"]) >= max(kinds.values()) - 100 / (2 * 8**0.5)


def chosen_row(run: Run) -> dict[str, dict[str, float]]:
    best = run.record["best"]
    return next(row for row in run.metrics if (row["step"], row["variant"]) == (best["step"], best.get("variant")))
