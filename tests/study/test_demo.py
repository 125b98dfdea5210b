"""The demo: its rows, that every one runs, the command's report and search, and what a search takes afterwards."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.parts import source_checkpoint
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from typer.testing import CliRunner
from zoo import WORDS

from transferkit.cli.app import app
from transferkit.config.recipe import Recipe
from transferkit.convergence import compare
from transferkit.embed.search import Entry
from transferkit.errors import ConfigError, RunError
from transferkit.files.builtin import BUNDLED
from transferkit.methods.base import Embedder
from transferkit.runs.folder import Run
from transferkit.study import demo
from transferkit.study.demo import QUESTION, RUNS, adapted_checkpoint, planned_runs, run_demo
from transferkit.study.plan import Planned

ROWS = {"transfer", "lora", "qlora", "prompt-tuning", "prompting-llm-alone", "frozen", "tfidf"}
ENTRIES = [Entry(f"package.{i}", text, text) for i, text in enumerate((" ".join(WORDS[:9]), QUESTION, "no", "a key"))]


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


@pytest.fixture(scope="module", name="finished")
def make_finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """Folder and rows of a demo on tiny decoders; the source that it started from is gone."""
    source = source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")
    runs = tmp_path_factory.mktemp("finished") / "demo"
    planned = shortened(planned_runs(runs, train=False), tiny, source, runs)
    rows = run_demo(planned, data_dir=tiny.data, console=QUIET)
    shutil.rmtree(source)
    return runs, rows


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


def test_every_row_runs(finished: tuple[Path, list[Run]]) -> None:
    comparison = compare(finished[1])
    assert {row.series.method for row in comparison.rows} == ROWS
    assert comparison.reference is not None


def test_search_takes_the_adapted_decoder_where_it_is_done(finished: tuple[Path, list[Run]], tmp_path: Path) -> None:
    runs = tmp_path / "demo"
    assert adapted_checkpoint(runs) == BUNDLED
    shutil.copytree(finished[0], runs)
    assert adapted_checkpoint(runs) == runs / "transfer-s17"
    shutil.rmtree(runs / "transfer-s17")
    assert adapted_checkpoint(runs) == BUNDLED


@pytest.fixture(name="read")
def stubbed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A demo whose runs are done and whose docstrings are four texts; every text that is embedded from now on."""
    read: list[str] = []
    encode = Embedder.encode

    def noted(embedder: Embedder, texts: list[str], **options: object) -> np.ndarray:
        read.extend(texts)
        return encode(embedder, texts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Embedder, "encode", noted)
    monkeypatch.setattr("transferkit.study.run.run_all", lambda planned, **_: None)
    monkeypatch.setattr("transferkit.embed.search.docstring_entries", lambda folder: ENTRIES)
    monkeypatch.chdir(tmp_path)
    return read


@pytest.mark.parametrize("runs", [RUNS, Path("else where/demo")])
def test_the_command_ends_with_a_report_and_a_search_that_can_be_repeated(
    runs: Path, finished: tuple[Path, list[Run]], read: list[str], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], runs)
    shown = CliRunner().invoke(app, ["demo", *(["--runs", str(runs)] if runs != RUNS else [])])
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    begin = {line.split()[0] for line in lines if line.strip()}
    assert {row.series.name.split()[0] for row in compare(finished[1]).rows} <= begin
    (report,) = re.findall(r"^report: (.+)$", shown.stdout, re.MULTILINE)
    assert Path(report) == runs / "report" / "report.html"
    assert "<html" in Path(report).read_text(encoding="utf-8")
    hits = [line.split() for line in lines if " package." in line]
    assert hits[0] == ["1.00", "package.1", *QUESTION.split()]
    assert len(hits) == len(ENTRIES)
    assert sorted(read) == sorted([*(entry.text for entry in ENTRIES), QUESTION])

    read.clear()
    (command,) = re.findall(r"^With the adapted decoder: transferkit (.+)$", shown.stdout, re.MULTILINE)
    again = CliRunner().invoke(app, shlex.split(command))
    assert again.exit_code == 0, again.output
    assert f"4 texts, read by {runs / 'transfer-s17'}" in again.stderr
    assert [line.split() for line in again.stdout.splitlines()] == hits
    assert read == [QUESTION]  # the vectors of the texts are kept where the command looks for them
    assert [path.name for path in tmp_path.iterdir()] == [runs.parts[0]]


@pytest.mark.parametrize("runs", [RUNS, Path("elsewhere")])
def test_an_index_that_cannot_be_kept_is_found_before_the_runs(
    runs: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Path("runs/search") if runs == RUNS else runs / "search"
    index.parent.mkdir()
    index.write_text("a file")
    monkeypatch.delattr("transferkit.study.run.run_all")
    result = CliRunner().invoke(app, ["demo", "--runs", str(runs)])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"{index}: cannot write there")
    assert str(result.exception).endswith("choose another with --runs")


def test_what_stops_the_search_names_the_command_that_goes_on(
    finished: tuple[Path, list[Run]], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    shutil.copytree(finished[0], RUNS)
    monkeypatch.setattr("transferkit.files.parts.os.fsync", full)
    result = CliRunner().invoke(app, ["demo"])
    assert isinstance(result.exception, RunError)
    assert str(result.exception).endswith(f'make room and go on with `transferkit search "{QUESTION}"`')


def test_training_the_source_needs_its_data() -> None:
    result = CliRunner().invoke(app, ["demo", "--train"])
    assert isinstance(result.exception, ConfigError)
    assert "--data-dir" in str(result.exception)


def test_train_begins_with_the_recipe_of_the_bundled_source() -> None:
    planned = planned_runs(Path("runs"), train=True)
    assert planned[0].is_source
    assert {one.source for one in planned[1:] if one.source} == {planned[0].folder}


def test_demo_study_lies_beside_its_module() -> None:
    assert Path(demo.__file__).with_name("demo.yaml").is_file()
