"""The demo: its rows, that every one runs, and what the search takes afterwards."""

import shutil
from pathlib import Path

import pytest
from parts import source_checkpoint
from run_parts import QUIET
from tiny import Tiny
from typer.testing import CliRunner

from transferkit import demo
from transferkit.checkpoint import checkpoint_folder, given_folder, load
from transferkit.cli.app import app
from transferkit.convergence import compare
from transferkit.demo import adapted_checkpoint, planned_runs, run_demo
from transferkit.errors import ConfigError
from transferkit.recipes import Recipe
from transferkit.resources import BUNDLED, bundled_dir
from transferkit.study import Planned

ROWS = {"transfer", "lora", "qlora", "prompt-tuning", "prompting-llm-alone", "frozen", "tfidf"}


def shortened(planned: list[Planned], tiny: Tiny, source: Path, runs: Path) -> list[Planned]:
    """The demo's runs on tiny decoders, data and steps: the same methods, starts and order."""
    result = []
    for one in planned:
        method = {} if one.recipe.task == "adapt" else {"method": one.recipe.method}
        recipe: Recipe = tiny.recipe(
            one.recipe.task,
            alignment={"offset": one.recipe.alignment.offset},
            optim={"steps": 2, "batch_size": 8},
            seed=one.recipe.seed,
            **method,
        )
        place = source if one.source == BUNDLED else one.source
        result.append(Planned(name=one.name, recipe=recipe, source=place, folder=runs / one.folder.name))
    return result


def test_demo_has_every_row_of_a_comparison_on_a_decoder_that_is_no_source() -> None:
    planned = planned_runs(Path("runs"), train=False)
    assert {one.recipe.method or "transfer" for one in planned} == ROWS
    offsets = {one.recipe.alignment.offset for one in planned if one.recipe.task == "adapt"}
    assert offsets == {"none", "position"}
    assert len({one.target for one in planned if one.target}) == 1
    assert {one.recipe.seed for one in planned} == {17}
    data = [one.recipe.data for one in planned]
    assert all(one == data[0] for one in data)
    assert {one.builtin for one in data[0].train} == {"installed-docs"}


def test_every_row_runs_and_search_takes_the_adapted_decoder(
    tiny: Tiny, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")
    runs = tmp_path / "demo"
    assert adapted_checkpoint(runs) == BUNDLED
    planned = shortened(planned_runs(runs, train=False), tiny, source, runs)
    comparison = compare(run_demo(planned, data_dir=tiny.data, console=QUIET))
    assert {row.series.method for row in comparison.rows} == ROWS
    assert comparison.reference is not None
    assert adapted_checkpoint(runs) == runs / "transfer-s17"
    shutil.rmtree(runs / "transfer-s17")
    assert adapted_checkpoint(runs) == BUNDLED


def test_training_the_source_needs_its_data() -> None:
    result = CliRunner().invoke(app, ["demo", "--train"])
    assert isinstance(result.exception, ConfigError)
    assert "--data-dir" in str(result.exception)


def test_bundled_is_a_name_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert given_folder(BUNDLED) == bundled_dir("source")
    assert checkpoint_folder(BUNDLED) == bundled_dir("source") / "checkpoint"
    assert load("bundled").encode(["a text"], instruction="").shape[0] == 1
    (tmp_path / "bundled").mkdir()
    assert given_folder(BUNDLED) == bundled_dir("source")
    assert given_folder(tmp_path / "bundled") == tmp_path / "bundled"


def test_train_begins_with_the_recipe_of_the_bundled_source() -> None:
    planned = planned_runs(Path("runs"), train=True)
    assert planned[0].is_source
    assert {one.source for one in planned[1:] if one.source} == {planned[0].folder}


def test_demo_study_lies_beside_its_module() -> None:
    assert Path(demo.__file__).with_name("demo.yaml").is_file()
