"""Instructions of an evaluation: those of a checkpoint's training, the parts of an aggregate, what a dry run shows."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mteb
import pytest
from helpers.evaluate_call import evaluate
from helpers.parts import prompt_embedder, source_checkpoint
from helpers.run_parts import QUIET
from helpers.set_folders import write_sets
from helpers.tiny import Tiny
from mteb.mocks.mock_tasks import MockAggregatedTask, MockSTSTask
from mteb.types import PromptType
from rich.console import Console

from transferkit.checkpoints.checkpoint import load, save
from transferkit.evaluation.encoder import MtebEncoder
from transferkit.evaluation.instructions import for_parts, instruction_keys, parts
from transferkit.evaluation.run import run_tasks
from transferkit.evaluation.tables.rows import TaskRow
from transferkit.evaluation.tasks import local_tasks
from transferkit.files.json import read_json, write_json
from transferkit.files.manifest import NAME, new_folder
from transferkit.methods.base import Embedder
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runs.checkpoint_folder import DESCRIPTION, read_description

Call = Callable[..., int]


@pytest.fixture(scope="module", name="sets")
def make_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Retrieval sets that are called as the tiny project's training sets are."""
    folder = tmp_path_factory.mktemp("instructions")
    written = write_sets(folder / "written")
    for kind, name, new in (("retrieval", "answers", "pairs"), ("reranking", "candidates", "intents")):
        shutil.copytree(written / kind / name, folder / "sets" / kind / new)
    return folder / "sets"


@pytest.fixture(name="call")
def make_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    return partial(evaluate, monkeypatch)


def read_with(encoder: MtebEncoder, sets: Path) -> dict[str, tuple[str, str]]:
    """Task -> instruction of its queries and of its documents."""
    return {
        task.metadata.name: (
            encoder.instruction(task.metadata, PromptType.query),
            encoder.instruction(task.metadata, PromptType.document),
        )
        for task in local_tasks(sets)
    }


def test_a_run_keeps_the_instructions_of_both_sides(tiny: Tiny, sets: Path, tmp_path: Path) -> None:
    data = tiny.mapping("baseline")["data"]
    data["train"][1]["document_instruction"] = "by the water"
    frozen = {"templates": ["{instruction} {text}"], "poolings": ["mean"]}
    recipe = tiny.recipe("baseline", method="frozen", frozen=frozen, data=data)
    run = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, console=QUIET)
    encoder = MtebEncoder(load(run), name="run")
    assert read_with(encoder, sets) == {"pairs": ("see", "by the water"), "intents": ("find the cat", "find the cat")}


def test_a_checkpoint_without_those_of_documents_reads_both_sides_alike(tiny: Tiny, sets: Path, tmp_path: Path) -> None:
    """As those are that were saved before there were any."""
    instructions = {"pairs": "see", "intents": "find the cat"}
    save(prompt_embedder(tiny), tmp_path / "new", instructions=instructions, document_instructions={"pairs": ""})
    assert read_with(MtebEncoder(load(tmp_path / "new"), name="new"), sets)["pairs"] == ("see", "")
    with new_folder(tmp_path / "old") as folder:
        shutil.copytree(tmp_path / "new", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(NAME))
        description = read_json(folder / DESCRIPTION)
        del description["document_instructions"]
        write_json(folder / DESCRIPTION, description)
    found = read_with(MtebEncoder(load(tmp_path / "old"), name="old"), sets)
    assert found == {name: (text, text) for name, text in instructions.items()}


def test_the_bundled_source_is_read_as_it_was_trained(sets: Path, tmp_path: Path, call: Call, capsys: Any) -> None:
    name, text = next(iter(read_description(Path("bundled-toy"))["instructions"].items()))
    shutil.copytree(sets / "retrieval" / "pairs", tmp_path / "sets" / "retrieval" / name)
    assert call("bundled-toy", "--tasks-from", tmp_path / "sets", "--dry-run") == 0
    line = f"  Retrieval  {name}  ndcg_at_10  query: {text!r}  document: {text!r}"
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_keys_that_an_instruction_can_be_given_for(sets: Path) -> None:
    tasks = local_tasks(sets)
    names = ("intents", "pairs", "Reranking", "Retrieval")
    assert sorted(instruction_keys(tasks)) == sorted(f"{name}{end}" for end in ("", "-document") for name in names)
    assert instruction_keys([MockSTSTask()]) == ["MockSTSTask", "STS"]  # no documents
    aggregate = MockAggregatedTask()
    own = [part.metadata.name for part in parts(aggregate)]
    assert own == ["MockRetrievalTask", "MockRerankingTask"]
    names = (aggregate.metadata.name, *own, "Retrieval", "Reranking")
    keys = instruction_keys([aggregate])
    assert sorted(keys) == sorted(f"{name}{end}" for end in ("", "-document") for name in names)


def test_what_is_given_for_an_aggregate_is_given_for_its_parts() -> None:
    task = MockAggregatedTask()
    name = task.metadata.name
    given = {name: "find", f"{name}-document": "a page", "MockRetrievalTask": "own", "Retrieval": "type"}
    assert for_parts(given, [task]) == given | {
        "MockRerankingTask": "find",
        "MockRetrievalTask-document": "a page",
        "MockRerankingTask-document": "a page",
    }
    assert for_parts({"Retrieval": "type"}, [task]) == {"Retrieval": "type"}


def test_parts_of_an_aggregate_are_read_with_its_instruction_and_end_their_own_scores(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregate = MockAggregatedTask()
    (part, *_) = aggregate.metadata.tasks
    embedder = prompt_embedder(tiny)
    seen: set[str] = set()
    real = Embedder.encode

    def encode(one: Embedder, texts: list[str], **options: Any) -> Any:
        seen.update([options["instruction"]] if texts else [])
        return real(one, texts, **options)

    monkeypatch.setattr(Embedder, "encode", encode)

    def run(task: mteb.AbsTask, text: str) -> TaskRow:
        seen.clear()
        name = task.metadata.name
        given = for_parts({name: text, f"{name}-document": text}, [task])
        encoder = MtebEncoder(embedder, name="model", instructions=given)
        (row,) = run_tasks([[encoder]], [task], out=tmp_path, batch_size=8, console=Console(quiet=True))
        assert row.problem is None
        return row

    run(part, "see")
    assert seen == {"see"}
    run(aggregate, "find the cat")
    assert seen == {"find the cat"}
    assert run(aggregate, "find the cat").kept
    assert not run(part, "see").kept  # mteb put the aggregate's score of this part in the place of its own
    assert seen == {"see"}


@pytest.fixture(scope="module", name="sources")
def make_sources(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints that were trained with different instructions under the same names."""
    folder = tmp_path_factory.mktemp("sources")
    other = {"intents": "find the car", "pairs": "see"}
    save(prompt_embedder(tiny), folder / "other", instructions=other)
    return source_checkpoint(tiny, folder / "source"), folder / "other"


def test_dry_run_shows_what_each_model_reads_where_they_differ(
    tiny: Tiny, sets: Path, sources: tuple[Path, Path], call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*sources, tiny.target, "tfidf", "--tasks-from", sets, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[5:] == [
        "  Reranking  intents  map_at_1000",
        "    source  query: 'find the cat'  document: 'find the cat'",
        "    other  query: 'find the car'  document: 'find the car'",
        "  Retrieval  pairs  ndcg_at_10  query: 'see'  document: 'see'",
    ]
    assert call(tiny.target, "tfidf", "--tasks-from", sets, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[3:] == [
        "  Reranking  intents  map_at_1000",
        "  Retrieval  pairs  ndcg_at_10",
    ]
    reading = ["--template", "{instruction} {text}", "--instruction", "pairs=find"]
    assert call(tiny.target, "--tasks-from", sets, "--tasks", "pairs", *reading, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  Retrieval  pairs  ndcg_at_10  query: 'find'"


@pytest.mark.parametrize("template", ["{text}", "{instruction} {text}"])
def test_a_pooling_that_reads_no_state_reads_no_instruction(
    tiny: Tiny, sets: Path, sources: tuple[Path, Path], template: str, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--tasks-from", sets, "--tasks", "pairs", "--instruction", "pairs=find", "--dry-run"]
    for command in (
        [tiny.target, "--template", template, "--pooling", "static"],
        [sources[0], "--poolings", "static"],
    ):
        assert call(*command, *common) == 2
        said = "error: --instruction: none of the models reads an instruction; leave it out"
        assert capsys.readouterr().err.splitlines()[-1] == said
    assert call(sources[0], "--poolings", "static", "--prompting-alone", *common) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  Retrieval  pairs  ndcg_at_10  query: 'find'  document: 'see'"


def test_dry_run_shows_an_aggregate_as_it_is_run(
    sources: tuple[Path, Path], call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sources[0], "--tasks", "CQADupstackRetrieval", "--dry-run"]
    head = "  Retrieval  CQADupstackRetrieval  ndcg_at_10"
    assert call(*command) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [f"{head}  query: 'Retrieve text based on user query.'"]
    assert call(*command, "--instruction", "CQADupstackRetrieval=find it") == 0
    assert capsys.readouterr().out.splitlines()[2:] == [f"{head}  query: 'find it'"]
    assert call(*command, "--instruction", "CQADupstackAndroidRetrieval=find it") == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert lines[0] == head
    assert len(lines) == 1 + 12
    assert "    source  CQADupstackAndroidRetrieval  query: 'find it'" in lines
