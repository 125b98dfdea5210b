"""``evaluate``: every kind of model, what is kept and what is run again, means, tables, wrong input."""

import io
import json
import re
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import mteb
import pytest
import torch
from helpers.evaluate_call import evaluate, evaluated
from helpers.parts import load_reader, prompt_embedder, source_checkpoint
from helpers.set_folders import table, write_sets
from helpers.tiny import Tiny
from mteb.mocks.mock_tasks import MockMultilingualSTSTask
from mteb.results import BenchmarkResults, ModelResult, TaskResult
from rich.console import Console

from transferkit.checkpoints.checkpoint import save
from transferkit.cli.evaluate import evaluate as command
from transferkit.config.poolings import Pooling
from transferkit.config.sections import LoraSection
from transferkit.evaluation.encoder import MtebEncoder
from transferkit.evaluation.models import find_models
from transferkit.evaluation.readings import MAX_LENGTH, parse_reading
from transferkit.evaluation.run import run_tasks
from transferkit.evaluation.tables.rows import TaskRow, means
from transferkit.evaluation.tables.views import throughput, views
from transferkit.evaluation.tables.written import to_csv
from transferkit.evaluation.tasks import local_tasks
from transferkit.files.lock import sole_use
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.lora import LoraEmbedder
from transferkit.methods.prompt_tuning import PromptTuningEmbedder
from transferkit.methods.prompting_alone import PromptingAlone
from transferkit.report.terminal import rich_table

Call = Callable[..., int]
POOLINGS: tuple[Pooling, ...] = ("mean", "last")


@pytest.fixture(scope="module", name="sets")
def make_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("evaluate") / "sets")


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("evaluate") / "source")


@pytest.fixture(scope="module", name="alone")
def make_alone(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ``baseline --method prompting-llm-alone``."""
    folder = tmp_path_factory.mktemp("evaluate") / "alone"
    save(PromptingAlone(prompt_embedder(tiny).writer, join="side by side"), folder, instructions={})
    return folder


@pytest.fixture(scope="module")
def by_task(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source whose Prompting LLM reads the instruction alone."""
    folder = tmp_path_factory.mktemp("evaluate") / "task"
    save(prompt_embedder(tiny, reads="instruction"), folder, instructions={})
    return folder


@pytest.fixture(name="call")
def make_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Exit code of ``evaluate``, run in this process below an empty folder."""
    monkeypatch.chdir(tmp_path)
    return partial(evaluate, monkeypatch)


@pytest.fixture(name="encoded")
def make_encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Task of every call of an encoder."""
    seen: list[str] = []
    real = MtebEncoder.encode

    def encode(encoder: MtebEncoder, inputs: Any, **options: Any) -> Any:
        seen.append(options["task_metadata"].name)
        return real(encoder, inputs, **options)

    monkeypatch.setattr(MtebEncoder, "encode", encode)
    return seen


def result_files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.json") if path.name[0] != "m"}


def test_every_kind_of_model(
    tiny: Tiny, sets: Path, source: Path, alone: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = LoraEmbedder.on(load_reader(tiny.target, template="{text}"), pooling="mean", lora=LoraSection(), seed=0)
    tuned = PromptTuningEmbedder.on(load_reader(tiny.target), pooling="soft", tokens=3, seed=0)
    saved = {"lora": lora, "tuned": tuned}
    for name, embedder in saved.items():
        save(embedder, tmp_path / name, instructions={})
    models = [source, *(tmp_path / name for name in saved), alone, tiny.target, "tfidf"]
    options = ["--tasks", "topics,likeness", "--out", "scores", "--json", "--quiet"]
    options += ["--prompting-alone", "--pooling", "last", "--template", "plain"]
    assert call(*models, "--tasks-from", sets, *options) == 0
    found = evaluated(capsys)

    names = ["source", "source-prompting-alone", "lora", "tuned", "alone", "target", "tfidf"]
    assert [one["model"] for one in found["means"]] == names
    assert [one["method"] for one in found["means"]][-2] == "frozen, last · plain"
    assert len(found["rows"]) == 7 * 2
    for row in found["rows"]:
        assert row["problem"] is None
        assert -100 <= row["score"] <= 100
        assert row["texts"] > 0
        assert 0 < row["encoder_percent"] <= 100
        stored = tmp_path / "scores" / "results" / f"transferkit__{row['model']}" / row["revision"]
        result = TaskResult.from_disk(stored / f"{row['task']}.json")
        assert 100 * result.get_score() == pytest.approx(row["score"], abs=1e-4)
        assert json.loads((stored / "model_meta.json").read_text())["revision"] == row["revision"]
    read_back = mteb.ResultCache(cache_path=tmp_path / "scores").load_results()
    assert sorted(one.model_name for one in read_back.model_results) == sorted(f"transferkit/{name}" for name in names)
    scores = {tuple(row["score"] for row in found["rows"] if row["model"] == name) for name in names}
    assert len(scores) == len(names)  # the premise: the models differ
    markdown = (tmp_path / "scores" / "table.md").read_text()
    assert "| target: frozen, last · plain | 2 of 2 |" in markdown
    assert len((tmp_path / "scores" / "table.csv").read_text().splitlines()) == 1 + 14


def test_nothing_is_run_again_until_something_changes(
    tiny: Tiny, sets: Path, tmp_path: Path, encoded: list[str]
) -> None:
    folder, out = tmp_path / "sets", tmp_path / "out"
    shutil.copytree(sets, folder)
    embedder = prompt_embedder(tiny)
    rows: list[TaskRow] = []

    def ran(*, batch_size: int = 16, **instructions: str) -> set[str]:
        encoded.clear()
        given = {name.replace("_", "-"): text for name, text in instructions.items()}
        tasks = local_tasks(folder, names=["likeness", "answers"])
        encoder = MtebEncoder(embedder, name="model", instructions=given)
        rows[:] = run_tasks([[encoder]], tasks, out=out, batch_size=batch_size, console=Console(quiet=True))
        assert {row.task for row in rows if not row.kept} == set(encoded)
        return set(encoded)

    assert ran() == {"likeness", "answers"}
    written, first = result_files(out), (out / "table.csv").read_text()
    assert ran(batch_size=2) == set()
    assert throughput(rows) == "nothing was run: no weight, setting, instruction or text has changed"
    assert result_files(out) == written
    assert (out / "table.csv").read_text() == first

    assert ran(likeness="find the cat") == {"likeness"}
    assert ran(likeness="find the cat", answers_document="see") == {"answers"}
    assert ran() == {"likeness", "answers"}  # back to what it was: another instruction is another score
    assert result_files(out).keys() == written.keys()
    assert (out / "table.csv").read_text().splitlines()[0] == first.splitlines()[0]

    (path,) = out.rglob("likeness.json")
    shown = json.loads(path.read_text())
    shown["scores"]["test"][0]["main_score"] = 0.123
    path.write_text(json.dumps(shown))
    assert ran() == {"likeness"}  # an edited score is measured again

    path.write_text(path.read_text()[:200])  # as a kill leaves it
    assert ran() == {"likeness"}
    pairs = [
        {"sentence1": "a cat", "sentence2": f"the {word}", "score": i} for i, word in enumerate(("cat", "car", "no"))
    ]
    table(folder / "sts" / "likeness" / "test.jsonl", pairs)
    assert ran() == {"likeness"}  # mteb alone would keep the score of the old rows
    assert ran() == set()


def test_one_changed_weight_runs_everything_again(
    tiny: Tiny, sets: Path, tmp_path: Path, call: Call, encoded: list[str]
) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny.target, model)
    command = ["model", "--tasks-from", sets, "--tasks", "likeness,same", "--out", "out"]
    assert call(*command) == 0
    assert set(encoded) == {"likeness", "same"}
    before = set((tmp_path / "out" / "results" / "transferkit__model").iterdir())
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("attention.dense.weight"))
    weights[name][1, 2] += 0.01
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    encoded.clear()
    assert call(*command) == 0
    assert set(encoded) == {"likeness", "same"}
    assert len(set((tmp_path / "out" / "results" / "transferkit__model").iterdir()) - before) == 1


def test_an_interrupt_keeps_finished_tasks_and_the_same_command_goes_on(
    sets: Path,
    source: Path,
    tmp_path: Path,
    call: Call,
    encoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [source, "--tasks-from", sets, "--tasks", "same,answers,likeness", "--out", "out"]
    counting = MtebEncoder.encode

    def press(encoder: MtebEncoder, inputs: Any, **options: Any) -> Any:
        if options["task_metadata"].name == "answers":
            raise KeyboardInterrupt
        return counting(encoder, inputs, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MtebEncoder, "encode", press)
        assert call(*command) == 130
    error = capsys.readouterr().err
    assert error.endswith("interrupted; 1 of 3 scores in out, the same command goes on\n")  # said once
    assert "Traceback" not in error
    assert "1 of 3" in (tmp_path / "out" / "table.md").read_text()
    encoded.clear()
    assert call(*command) == 0
    assert set(encoded) == {"answers", "likeness"}
    assert "3 of 3" in (tmp_path / "out" / "table.md").read_text()


def test_scores_that_another_process_is_writing_are_left_to_it(
    sets: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    with sole_use(tmp_path / "out" / "results"):
        assert call("tfidf", "--tasks-from", sets, "--tasks", "same", "--out", "out") == 2
    error = capsys.readouterr().err
    assert error.endswith("out/results: another process is writing to it; wait for it, or choose another with --out\n")
    assert call("tfidf", "--tasks-from", sets, "--tasks", "same", "--out", "out") == 0
    assert not list((tmp_path / "out").glob(".*lock"))


def test_an_interrupt_counts_scores_and_no_failures(
    tiny: Tiny,
    sets: Path,
    source: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def press(encoder: MtebEncoder, inputs: Any, **options: Any) -> Any:
        raise {"same": ValueError("no network"), "likeness": KeyboardInterrupt()}[options["task_metadata"].name]

    monkeypatch.setattr(MtebEncoder, "encode", press)
    assert call("tfidf", source, tiny.target, "--tasks-from", sets, "--tasks", "same,likeness", "--out", "out") == 130
    error = capsys.readouterr().err
    assert "same  failed: ValueError: no network" in error
    assert "interrupted; 2 of 6 scores in out, the same command goes on" in error


def test_what_a_resumed_task_took_stays_unknown(
    tiny: Tiny, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One part of it was embedded by an earlier call."""
    embedder = prompt_embedder(tiny)

    def run(folder: str) -> list[TaskRow]:
        console = Console(file=io.StringIO(), width=200, record=True)
        encoder = MtebEncoder(embedder, name="model")
        rows = list(
            run_tasks([[encoder]], [MockMultilingualSTSTask()], out=tmp_path / folder, batch_size=8, console=console)
        )
        said[:] = console.export_text().splitlines()
        return rows

    def press(encoder: MtebEncoder, inputs: Any, **options: Any) -> Any:
        if options["hf_subset"] == "fra":
            raise KeyboardInterrupt
        return counting(encoder, inputs, **options)

    said: list[str] = []
    (whole,) = run("at once")
    calls, counting = len(encoded), MtebEncoder.encode
    with monkeypatch.context() as patch:
        patch.setattr(MtebEncoder, "encode", press)
        with pytest.raises(KeyboardInterrupt):
            run("in two")
    encoded.clear()
    (resumed,) = run("in two")
    assert len(encoded) == calls / 2  # the premise: only the rest was run
    assert resumed.score == pytest.approx(whole.score)
    assert (resumed.seconds, resumed.encoder_seconds, resumed.texts) == (None, None, None)
    assert resumed.texts_per_second is resumed.encoder_percent is None
    assert any("begun by an earlier call" in line for line in said)
    assert throughput([resumed]) == "no task was run from its beginning to its end"
    assert throughput([resumed, whole]) == throughput([whole]) != throughput([resumed])
    (table,) = [view for view in views([resumed], types=["STS"]) if view.header[0] == "Task"]
    assert table.rows[0][3:] == ("", "", "", "")
    (kept,) = run("in two")
    assert kept == replace(resumed, kept=True)
    assert any("begun by an earlier call" in line for line in said)


@pytest.mark.slow
def test_a_set_that_moves_to_another_kind_is_run_again(
    tiny: Tiny, sets: Path, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sets"
    (folder / "retrieval").mkdir(parents=True)
    (folder / "reranking").mkdir()
    shutil.copytree(sets / "retrieval" / "answers", folder / "retrieval" / "answers")
    embedder = prompt_embedder(tiny)

    def run() -> TaskRow:
        encoded.clear()
        encoder = MtebEncoder(embedder, name="model")
        tasks = local_tasks(folder)
        (row,) = run_tasks([[encoder]], tasks, out=tmp_path / "out", batch_size=16, console=Console(quiet=True))
        assert row.kept == (encoded == [])
        return row

    first = run()
    assert run().kept
    (folder / "retrieval" / "answers").rename(folder / "reranking" / "answers")
    moved = run()
    assert not moved.kept
    assert (moved.type, moved.metric) == ("Reranking", "map_at_1000")
    assert moved.score != first.score
    assert run().kept


def test_an_interrupt_under_another_instruction_leaves_no_old_score(
    tiny: Tiny, sets: Path, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = local_tasks(sets, names=["likeness"])
    embedder = prompt_embedder(tiny)

    def run(instruction: str) -> list[TaskRow]:
        encoder = MtebEncoder(embedder, name="model", instructions={"likeness": instruction})
        return list(run_tasks([[encoder]], tasks, out=tmp_path, batch_size=16, console=Console(quiet=True)))

    def press(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    (first,) = run("see")
    with monkeypatch.context() as patch:
        patch.setattr(MtebEncoder, "encode", press)
        with pytest.raises(KeyboardInterrupt):
            run("find the cat")
    encoded.clear()
    (second,) = run("find the cat")
    assert encoded == ["likeness"] * 2
    assert second.score != first.score


def test_a_task_that_fails_is_said_and_the_others_are_run(
    sets: Path, source: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """Offline mteb's own tasks have no data; their error must not stop the rest."""
    command = [source, "--tasks", "STS12,STS13", "--out", "out"]
    assert call(*command) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == (
        "error: 2 of 2 tasks failed (STS12, STS13); the same command tries them again"
    )
    assert "STS12  failed: ConnectionError: Couldn't reach" in captured.err
    assert "no task was run from its beginning to its end" in captured.err
    assert "nothing was run" not in captured.err
    assert "0 of 2" in captured.out
    assert result_files(tmp_path / "out") == {}


def test_what_frozen_backbones_are_loaded_with(tiny: Tiny) -> None:
    def loaded(**options: Any) -> Any:
        none: dict[str, Any] = dict.fromkeys(("templates", "poolings", "precision", "quantize", "max_length", "layers"))
        none |= {"template": [], "pooling": []}
        (model,) = find_models([str(tiny.target)], parse_reading(**none | options), instructions={}, device="cpu")
        ((encoder,),) = model.groups()
        return encoder.embedder.reader  # type: ignore[attr-defined]

    plain = loaded()
    decoder = plain.decoder
    assert (plain.max_length, plain.layers) == (MAX_LENGTH, 1)
    assert (decoder.dtype, decoder.quantization) == (torch.float32, "none")
    asked = loaded(max_length=16, precision="bfloat16", quantize="nf4", layers=2)
    assert (asked.max_length, asked.layers) == (16, 2)
    assert (asked.decoder.dtype, asked.decoder.quantization) == (torch.bfloat16, "nf4")
    option = signature(command).parameters["max_length"].annotation.__metadata__[0]
    assert option.help.endswith(f"default: {MAX_LENGTH}.")


@pytest.mark.slow
def test_order_of_models_does_not_matter(tiny: Tiny, sets: Path, tmp_path: Path) -> None:
    """mteb's random state goes on from task to task; here each encoder meets a fresh one."""
    tasks = local_tasks(sets, names=["topics"])
    found = []
    for order in (POOLINGS, POOLINGS[::-1]):
        encoders = [
            MtebEncoder(FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling=pooling), name=pooling)
            for pooling in order
        ]
        out = tmp_path / order[0]
        rows = run_tasks([[one] for one in encoders], tasks, out=out, batch_size=16, console=Console(quiet=True))
        found.append({(row.model, row.task): row.score for row in rows})
    assert found[0] == found[1]
    assert found[0]["mean", "topics"] != found[0]["last", "topics"]


def test_one_model_is_in_memory_at_a_time(tiny: Tiny, sets: Path, tmp_path: Path) -> None:
    loaded: list[weakref.ref[FrozenEmbedder]] = []

    def groups() -> Iterator[list[MtebEncoder]]:
        for pooling in POOLINGS:
            assert all(one() is None for one in loaded)
            embedder = FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling=pooling)
            loaded.append(weakref.ref(embedder))
            yield [MtebEncoder(embedder, name=pooling)]
            del embedder

    tasks = local_tasks(sets, names=["likeness"])
    assert len(list(run_tasks(groups(), tasks, out=tmp_path, batch_size=16, console=Console(quiet=True)))) == 2
    assert len(loaded) == 2


def test_what_a_frozen_backbone_computes_in_is_said_and_noted(
    tiny: Tiny, sets: Path, source: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tasks-from", sets, "--tasks", "likeness", "--out", "out"]
    for asked in ([], ["--precision", "auto"], ["--precision", "bfloat16"]):
        assert call(source, tiny.target, *options, *asked) == 0
        said = "bfloat16" if "bfloat16" in asked else "float32 (measured: bfloat16 is 0.5x float32 here)"
        assert f"target: precision {said}\n" in capsys.readouterr().err
    notes = {}
    for file in tmp_path.glob("out/results/*/*/metrics.jsonl"):
        notes[file.parts[-3], json.loads(file.read_text(encoding="utf-8"))["precision"]] = file.parent.name
    models = ("transferkit__source", "float32"), ("transferkit__target", "float32"), ("transferkit__target", "bfloat16")
    assert notes.keys() == set(models)  # the second call ran nothing
    assert len(set(notes.values())) == 3


def test_dry_run_names_models_tasks_and_instructions_and_writes_nothing(
    tiny: Tiny, sets: Path, source: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--instruction", "answers=find it", "--instruction", "Retrieval-document=a page", "--dry-run"]
    assert call(source, tiny.target, "--tasks-from", sets, *own) == 0
    lines = capsys.readouterr().out.splitlines()
    precision = "precision float32 (measured: bfloat16 is 0.5x float32 here)"  # a checkpoint has its own
    assert lines[:3] == ["source: transfer", f"target: frozen, mean · plain, {precision}", "6 tasks"]
    assert "  Retrieval  answers  ndcg_at_10  query: 'find it'  document: 'a page'" in lines
    assert (
        "  Classification  intents  accuracy  8 texts a label  query: 'find the cat'" in lines
    )  # of the checkpoint's training set
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_benchmarks(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bundled-toy", "--list", "--benchmark"]
    assert call(*command, "MTEB(eng, v2)") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bundled: ")
    assert lines[1] == "41 tasks"
    assert call(*command, "MTEB(eng, v2)", "--tasks", "STS12,ArguAna") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "2 tasks",
        "  Retrieval  ArguAna  ndcg_at_10  query: 'Given a claim, find documents that refute the claim'",
        "  STS  STS12  cosine_spearman  query: 'Retrieve semantically similar text.'",
    ]
    for wrong, says in (
        (["MTEB(eng,v2)"], "has no 'MTEB(eng,v2)'; did you mean 'MTEB(eng, v2)'?"),
        (["MTEB(eng, v2)", "--tasks", "STS1"], "MTEB(eng, v2) has no task 'STS1'; did you mean 'STS1"),
    ):
        assert call(*command, *wrong) == 2
        assert says in capsys.readouterr().err


def test_in_a_pipe_it_says_how_far_it_is(
    tiny: Tiny, sets: Path, call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.progress.EVERY", 0.0)
    assert call(tiny.target, "--tasks-from", sets, "--tasks", "likeness", "--out", "scores") == 0
    said = capsys.readouterr().err
    assert re.search(r"^target  likeness  (\d+) of \1 texts  .* texts/s", said, flags=re.MULTILINE)


def test_means_are_those_of_mtebs_leaderboard() -> None:
    tasks = mteb.get_tasks(tasks=["STS12", "STS13", "Banking77Classification", "SciFact"])
    values = [0.31, 0.52, 0.77, 0.42]
    results = [
        TaskResult.from_task_results(task, {"test": {"default": {"main_score": value}}}, evaluation_time=1.0)
        for task, value in zip(tasks, values, strict=True)
    ]
    model = ModelResult(model_name="a/b", model_revision="1", task_results=results)
    benchmark = mteb.Benchmark(name="x", tasks=tasks)
    (expected,) = benchmark.get_score(BenchmarkResults(model_results=[model])).values()
    rows = [row(task.metadata.name, task.metadata.type, 100 * value) for task, value in zip(tasks, values, strict=True)]
    types = [task.metadata.type for task in tasks]
    found = means(rows, types=types)
    assert found.over_tasks == pytest.approx(100 * expected["Mean(Task)"])
    assert found.over_types == pytest.approx(100 * expected["Mean(TaskType)"])
    for kind, value in found.by_type.items():
        assert value == pytest.approx(100 * expected[kind])
    assert len(found.by_type) == 3
    for rest, more in (([], []), ([], ["Retrieval"]), ([row("SciFact", "Retrieval", None)], [])):
        missing = means([*rows[:3], *rest], types=types + more)
        assert (missing.over_tasks, missing.over_types, missing.by_type["Retrieval"]) == (None, None, None)
        assert missing.by_type["STS"] == pytest.approx(41.5)
    (first, *_) = rows
    assert first.type == "STS"
    partly = means([first], types=types)  # one of two tasks of its type
    assert partly.by_type == dict.fromkeys(types)
    for several in ([first], [first, replace(first, model="other")]):
        (table,) = [view for view in views(several, types=types) if view.title == "Means of types"]
        assert {cell for line in table.rows for cell in line[2:]} == {""}


def row(task: str, kind: str, score: float | None, **more: Any) -> TaskRow:
    return TaskRow("model", "method", "sha", task, kind, "metric", score, **more)


def test_tables_fit_a_terminal_of_eighty_columns() -> None:
    times = {"seconds": 4000.0, "encoder_seconds": 3000.0, "texts": 60000, "problem": None}
    rows = [row("CQADupstackUnixRetrieval", "Retrieval", 12.3456789, **times)]
    rows.append(row("Banking77Classification", "Classification", None, problem="no network"))
    for view in views(rows, types=[one.type for one in rows], width=80):
        if not view.in_terminal:
            continue
        console = Console(width=80, record=True, quiet=False, file=io.StringIO())
        console.print(rich_table(view))
        text = console.export_text()
        for name in view.header:
            assert name in text
    assert "12.3" in text
    assert "60,000" in text
    assert "75.0 %" in text
    assert "Banking77Classification failed: no network." in " ".join(text.split())
    assert "another pooling" not in str(views([replace(rows[0], texts=0)], types=["Retrieval"]))
    assert "another pooling are not counted" in str(views([replace(rows[0], shared=True)], types=["Retrieval"]))
    record = to_csv(rows).splitlines()
    assert record[1].startswith(
        "model,method,sha,CQADupstackUnixRetrieval,Retrieval,metric,12.345679,4000.0,3000.0,60000"
    )
    assert throughput(rows) == "60,000 texts in 4,000 s: 20 texts/s in the encoder, 75.0 % of the time in it"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("$SOURCE", ("evaluate needs tasks", "--tasks", "--benchmark", "--tasks-from")),
        ("$SOURCE --benchmark x --tasks-from $SETS", ("evaluate needs tasks",)),
        ("$SOURCE --tasks ,", ("evaluate needs tasks",)),
        ("$SOURCE --tasks sts12", ("no task 'sts12'", "did you mean 'STS12'?", "--tasks-from DIR")),
        ("$SOURCE --tasks STS12,STS12", ("a task stands twice",)),
        ("$SOURCE --tasks CIFAR10Clustering", ("'CIFAR10Clustering': is about image", "text alone")),
        ("$SOURCE --tasks-from $SETS --tasks likenes", ("no set 'likenes'; did you mean 'likeness'?",)),
        ("$SOURCE $SOURCE --tasks STS12", ("is given twice",)),
        ("bundled-lama-5m --tasks STS12", ("unknown backbone 'bundled-lama-5m'; did you mean 'bundled-llama-5m'?",)),
        ("./none --tasks STS12", ("./none: no such model folder",)),
        ("$SETS --tasks STS12", ("not a model folder",)),
        ("$SOURCE --tasks STS12 --pooling mean", ("--pooling is for frozen backbones",)),
        ("$MODEL --tasks STS12 --pooling men", ("--pooling men: expected one of", "did you mean 'mean'?")),
        ("$MODEL --tasks STS12 --pooling soft", ("--pooling soft: a frozen backbone has no soft tokens",)),
        (
            "$MODEL --tasks STS12 --template prompteal",
            ("--template: template 'prompteal'", "did you mean 'prompteol'?"),
        ),
        ("$MODEL --tasks STS12 --template '{txt}'", ("--template: ", "unknown placeholder {txt}")),
        ("$MODEL --tasks STS12 --template plain --templates all", ("--template and --templates were both given",)),
        ("$MODEL --tasks STS12 --template plain --template plain", ("--template: 'plain' stands twice",)),
        ("$MODEL --tasks STS12 --pooling max --pooling max", ("--pooling: 'max' stands twice",)),
        ("$MODEL --tasks STS12 --pooling max --pooling soft", ("--pooling soft: a frozen backbone has no soft",)),
        ("$MODEL --tasks STS12 --pooling max --poolings max", ("--pooling and --poolings were both given",)),
        ("$MODEL --tasks STS12 --templates ,", ("--templates ','", "expected all, or names")),
        ("$MODEL --tasks STS12 --templates plain,plain", ("--templates plain,plain: 'plain' stands twice",)),
        (
            "$MODEL --tasks STS12 --templates plain,prompteal",
            ("--templates: template 'prompteal'", "did you mean 'prompteol'?"),
        ),
        ("$MODEL --tasks STS12 --poolings mean,men", ("--poolings men: expected one of", "did you mean 'mean'?")),
        ("$MODEL --tasks STS12 --poolings mean,soft", ("--poolings soft: ", "has no soft tokens", "use last, mean")),
        ("$SOURCE --tasks STS12 --template plain", ("--template is for frozen backbones", "--templates NAME")),
        ("$ALONE --tasks STS12 --poolings all", ("--poolings: ", "alone (prompting LLM alone) can be read in one")),
        ("tfidf --tasks STS12 --templates all", ("--templates needs a decoder or a checkpoint",)),
        ("tfidf tfidf --tasks STS12", ("tfidf: is given twice",)),
        (
            "$SOURCE --tasks STS12 --precision float32",
            ("--precision is for frozen backbones, got none", "as it was trained"),
        ),
        ("$SOURCE tfidf --tasks STS12 --quantize nf4", ("--quantize is for frozen backbones, got none",)),
        ("$SOURCE --tasks STS12 --max-length 512", ("--max-length is for frozen backbones, got none",)),
        ("$MODEL --tasks STS12 --precision float16", ("--precision float16: expected one of auto, float32, bfloat16",)),
        ("$MODEL --tasks STS12 --prompting-alone", ("--prompting-alone needs a checkpoint", "got none")),
        ("$ALONE --tasks STS12 --prompting-alone", ("of `train` or `adapt`, got", "alone (prompting-llm-alone)")),
        ("$SOURCE $TASK --tasks STS12 --prompting-alone", ("--prompting-alone: ", "task: ", "the instruction alone")),
        ("$MODEL --tasks STS12 --backbone x", ("--backbone says where one checkpoint's backbone lies, got 0",)),
        ("$SOURCE --tasks STS12 --instruction see", ("--instruction 'see': expected TASK=TEXT",)),
        ("$SOURCE --tasks STS12 --instruction sts12=x", ("'sts12' is neither a task", "did you mean 'STS12'?")),
        ("$SOURCE --tasks STS12 --instruction STS=x --instruction STS=y", ("'STS' is given twice",)),
        ("$MODEL tfidf --tasks STS12 --instruction STS=x", ("--instruction: none of the models reads an instruction",)),
        ("bundled-qwen3-2m --tasks STS12 --layers 9 --dry-run", ("--layers 9: bundled-qwen3-2m has 3; lower it",)),
        ("$SOURCE --tasks STS12 --layers 2", ("--layers is for frozen backbones, got none",)),
        ("$MODEL --tasks STS12 --dry-run --json", ("--dry-run and --json were both given",)),
        ("$SOURCE --tasks STS12 --device nowhere", ("--device nowhere: not to be had here",)),
        ("$SOURCE --tasks STS12 --out file/x", ("file/x: cannot write", "--out")),
    ],
)
def test_wrong_input_is_one_sentence(
    command: str,
    says: tuple[str, ...],
    tiny: Tiny,
    sets: Path,
    source: Path,
    alone: Path,
    by_task: Path,
    tmp_path: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shlex
    from string import Template

    (tmp_path / "file").write_text("a file")
    names = {"SOURCE": source, "SETS": sets, "MODEL": tiny.target, "ALONE": alone, "TASK": by_task}
    parts = shlex.split(Template(command).substitute(names))
    assert call(*parts) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.splitlines()[-1]
    assert error.startswith("error: ")
    for fragment in says:
        assert fragment in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_mteb_the_command_to_install_it_is_named(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "mteb" else real(name, *rest))
    assert call("bundled-toy", "--tasks", "STS12") == 2
    expected = (
        "error: evaluate needs the package mteb; install it in the folder of transferkit with "
        "`pip install -e '.[mteb]' -c constraints.txt`\n"
    )
    assert capsys.readouterr().err == expected
