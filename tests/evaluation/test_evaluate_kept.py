"""Scores that lie there: kept for the same task alone, and what was begun ends in the numbers of an unbroken run."""

import json
import random
from collections.abc import Callable
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from helpers.evaluate_call import evaluate, evaluated
from helpers.parts import prompt_embedder
from helpers.set_folders import write_sets
from helpers.tiny import Tiny
from mteb.abstasks import AbsTask
from mteb.mocks.mock_tasks import MockAggregatedTask, MockMultilingualClusteringFastTask, MockMultilingualSTSTask
from mteb.results.task_result import TaskResult
from rich.console import Console
from zoo import WORDS

from transferkit.errors import ConfigError
from transferkit.evaluation import notes
from transferkit.evaluation.encoder import MtebEncoder, TextEncoder
from transferkit.evaluation.run import run_tasks
from transferkit.evaluation.tables.rows import TaskRow
from transferkit.evaluation.tasks import local_tasks
from transferkit.evaluation.tfidf import TfidfEncoder

LANGUAGES = ("eng", "fra")


@pytest.fixture(scope="module", name="sets")
def make_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("kept") / "sets")


@pytest.fixture(name="encoded")
def make_encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Task and subset of every call of an encoder."""
    seen: list[tuple[str, str]] = []
    real = MtebEncoder.encode

    def encode(encoder: MtebEncoder, inputs: Any, **options: Any) -> Any:
        seen.append((options["task_metadata"].name, options["hf_subset"]))
        return real(encoder, inputs, **options)

    monkeypatch.setattr(MtebEncoder, "encode", encode)
    return seen


def run(encoder: TextEncoder, task: AbsTask, out: Path) -> TaskRow:
    (row,) = run_tasks([[encoder]], [task], out=out, batch_size=8, console=Console(quiet=True))
    assert row.problem is None
    return row


def interrupted(encoder: TextEncoder, task: AbsTask, out: Path, *, at: Callable[[str, str], bool]) -> None:
    """A run that ends where ``at`` holds of a task's name and a subset."""
    real = MtebEncoder.encode

    def press(one: MtebEncoder, inputs: Any, **options: Any) -> Any:
        if at(options["task_metadata"].name, options["hf_subset"]):
            raise KeyboardInterrupt
        return real(one, inputs, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MtebEncoder, "encode", press)
        with pytest.raises(KeyboardInterrupt):
            run(encoder, task, out)


def sentences(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(WORDS, k=5))} {i}" for i in range(count)]


class Similar(MockMultilingualSTSTask):  # type: ignore[misc]
    """Two languages, one of them with many texts of its own: what TF-IDF counts depends on which are chosen."""

    def load_data(self, **_: Any) -> None:
        self.dataset = {}
        for number, language in enumerate(self.hf_subsets):
            first, second = sentences(number, 20 + 40 * number), sentences(7 + number, 20 + 40 * number)
            score = [random.Random(i).uniform(0, 5) for i in range(len(first))]
            rows = {"sentence1": first, "sentence2": second, "score": score}
            self.dataset[language] = DatasetDict(test=Dataset.from_dict(rows))
        self.data_loaded = True


class Clusters(MockMultilingualClusteringFastTask):  # type: ignore[misc]
    """Two languages, of each of which samples are drawn."""

    max_documents_per_cluster = 15
    max_document_to_embed = None
    max_fraction_of_documents_to_embed = None

    def load_data(self, **_: Any) -> None:
        self.dataset = {}
        for number, language in enumerate(self.hf_subsets):
            rows = {"sentences": sentences(number, 40), "labels": [str(i % 4) for i in range(40)]}
            self.dataset[language] = DatasetDict(test=Dataset.from_dict(rows))
        self.data_loaded = True


def in_languages(*languages: str) -> AbsTask:
    task = Similar()
    task.hf_subsets = list(languages)
    return task


@pytest.mark.slow
def test_a_score_of_other_languages_is_not_served(tmp_path: Path) -> None:
    alone = run(TfidfEncoder(), in_languages("eng"), tmp_path / "alone")
    both = run(TfidfEncoder(), in_languages(*LANGUAGES), tmp_path / "both")
    assert run(TfidfEncoder(), in_languages("eng"), tmp_path / "alone").kept
    for first, second, expected in ((LANGUAGES, ("eng",), alone), (("eng",), LANGUAGES, both)):
        out = tmp_path / "-".join(first)
        run(TfidfEncoder(), in_languages(*first), out)
        found = run(TfidfEncoder(), in_languages(*second), out)
        assert (found.score, found.kept, found.texts) == (expected.score, False, expected.texts)


def test_a_clustering_that_was_interrupted_gives_the_score_of_an_unbroken_run(
    tiny: Tiny, tmp_path: Path, encoded: list[tuple[str, str]]
) -> None:
    """Its languages draw their samples from one random state, one after the other."""
    encoder = MtebEncoder(prompt_embedder(tiny), name="model")
    whole = run(encoder, Clusters(), tmp_path / "at once")
    interrupted(encoder, Clusters(), tmp_path / "in two", at=lambda _, language: language == "fra")
    assert list((tmp_path / "in two").rglob("Mock*.json"))  # the premise: the first language's score was there
    encoded.clear()
    resumed = run(encoder, Clusters(), tmp_path / "in two")
    assert resumed.score == whole.score
    assert resumed.texts == whole.texts
    assert {language for _, language in encoded} == set(LANGUAGES)


def test_parts_of_an_aggregate_are_kept_one_by_one(
    tiny: Tiny, tmp_path: Path, encoded: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = MtebEncoder(prompt_embedder(tiny), name="model")
    task = MockAggregatedTask()
    first, second = (part.metadata.name for part in task.metadata.tasks)
    whole = run(encoder, task, tmp_path / "at once")
    assert {name for name, _ in encoded} == {first, second}
    assert whole.texts
    assert whole.encoder_seconds
    interrupted(encoder, task, tmp_path / "in two", at=lambda name, _: name == second)
    encoded.clear()
    resumed = run(encoder, task, tmp_path / "in two")
    assert {name for name, _ in encoded} == {second}
    assert (resumed.score, resumed.texts, resumed.kept) == (whole.score, whole.texts, False)
    assert run(encoder, task, tmp_path / "in two").kept

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no network")

    monkeypatch.setattr(MtebEncoder, "encode", broken)
    (failed,) = run_tasks([[encoder]], [task], out=tmp_path / "new", batch_size=8, console=Console(quiet=True))
    assert failed.problem == f"{first}: ValueError: no network"


def test_a_score_of_another_version_is_measured_again(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = local_tasks(sets, names=["likeness"])
    run(TfidfEncoder(), task, tmp_path)
    assert run(TfidfEncoder(), task, tmp_path).kept
    for package in ("mteb", "scikit-learn", "transformers", "transferkit"):
        with monkeypatch.context() as patch:
            if package == "transferkit":
                patch.setattr(notes, "__version__", "99")
            else:
                patch.setattr(notes, "version", lambda name, other=package: "99" if name == other else version(name))
            # That of the package before is another one too, and what is measured now is kept.
            assert not run(TfidfEncoder(), task, tmp_path).kept, package
            assert run(TfidfEncoder(), task, tmp_path).kept, package
    assert not run(TfidfEncoder(), task, tmp_path).kept


def test_a_result_file_of_another_shape_is_measured_again(sets: Path, tmp_path: Path) -> None:
    (task,) = local_tasks(sets, names=["likeness"])
    before = run(TfidfEncoder(), task, tmp_path)
    (file,) = tmp_path.rglob("likeness.json")
    for content in ("{}", "[]", '{"task_name": 3}', ""):
        file.write_text(content)
        after = run(TfidfEncoder(), task, tmp_path)
        assert (after.score, after.kept) == (before.score, False), content


def test_a_set_that_would_overwrite_what_mteb_keeps_is_refused(sets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sts" / "model_meta"
    folder.parent.mkdir()
    folder.symlink_to(sets / "sts" / "likeness")
    with pytest.raises(ConfigError, match=r"sts/model_meta: mteb keeps model_meta\.json.*rename the folder"):
        local_tasks(tmp_path)


@pytest.mark.slow
def test_readings_that_were_scored_are_kept_in_whatever_order_they_are_listed(
    tiny: Tiny, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Token embeddings beside the states make wider vectors, with a readout of their own width."""
    command = [tiny.target, "--tasks-from", sets, "--tasks", "likeness", "--out", tmp_path, "--json", "--quiet"]
    revisions = []
    for poolings in ("mean", "mean+static", "mean+static,mean", "mean,mean+static"):
        assert evaluate(monkeypatch, *command, "--poolings", poolings) == 0
        revisions += [(row["pooling"], row["revision"]) for row in evaluated(capsys)["rows"]]
    assert len(set(revisions)) == 2


def test_one_model_under_two_names_is_one_row(
    tiny: Tiny, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "here" / tiny.target.name
    other.parent.mkdir()
    other.symlink_to(tiny.target)
    command = [tiny.target, other, "--tasks-from", sets, "--tasks", "likeness", "--out", tmp_path / "out", "--json"]
    assert evaluate(monkeypatch, *command) == 0
    captured = capsys.readouterr()
    assert "target: frozen, mean · plain  was given before, under another name" in captured.err
    assert captured.out.count('"task": "likeness"') == 1
    assert '"over_tasks": null' not in captured.out


def test_an_instruction_may_hold_a_line_separator(
    tiny: Tiny, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [tiny.target, "--tasks-from", sets, "--tasks", "likeness", "--out", tmp_path, "--json", "--quiet"]
    command += ["--template", "{instruction} {text}", "--instruction", "STS=find\u2028it"]
    for _ in range(2):
        assert evaluate(monkeypatch, *command) == 0
        assert evaluated(capsys)["rows"][0]["problem"] is None


def test_a_score_that_was_edited_is_measured_again(sets: Path, tmp_path: Path) -> None:
    """Written by hand: another score in mteb's file, and notes that say something else, or nothing."""
    (task,) = local_tasks(sets, names=["likeness"])
    first = run(TfidfEncoder(), task, tmp_path)
    (result,), (notes,) = tmp_path.glob("results/*/*/likeness.json"), tmp_path.glob("results/*/*/metrics.jsonl")
    assert run(TfidfEncoder(), task, tmp_path).kept
    whole, said = result.read_text(), notes.read_text()
    for value in (0.99, "0.99", None):
        content = json.loads(whole)
        content["scores"]["test"][0] |= {"main_score": value, "cosine_spearman": value}
        result.write_text(json.dumps(content))
        told = Console(record=True, file=StringIO(), width=500)
        (row,) = run_tasks([[TfidfEncoder()]], [task], out=tmp_path, batch_size=8, console=told)
        assert (row.kept, row.score) == (False, first.score)
        assert "likeness.json: differs from what was written there, so the task is run again" in told.export_text()
    for change in ({"done": None}, {"seconds": "x"}, {"task": ["likeness"]}, {"sha256": "0"}, {"task": None}):
        notes.write_text(json.dumps(json.loads(said) | change) + "\n")
        row = run(TfidfEncoder(), task, tmp_path)
        assert (row.kept, row.score) == (False, first.score)
    older = {key: value for key, value in json.loads(said).items() if key not in ("sha256", "result_sha256", "texts")}
    notes.write_text(json.dumps(older) + "\n")  # of an earlier version, which sealed nothing
    result.write_text(whole)
    assert run(TfidfEncoder(), task, tmp_path).kept


def test_a_disk_that_is_full_when_mteb_writes_ends_it(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The task before is kept, and no other one is computed in vain."""
    command = ("tfidf", "--tasks-from", sets, "--tasks", "likeness,topics,intents", "--out", tmp_path, "--quiet")
    real, written = TaskResult.to_disk, list[Path]()

    def full_at_the_second(result: TaskResult, path: Path) -> None:
        written.append(path)
        if path != written[0]:
            path.write_text('{"half', encoding="utf-8")
            raise OSError(28, "No space left on device", str(path))
        real(result, path)

    with monkeypatch.context() as patch:
        patch.setattr(TaskResult, "to_disk", full_at_the_second)
        assert evaluate(patch, *command) == 1
    says = f"error: {written[-1]}: could not be written (No space left on device); the tasks before are kept, mend that"
    assert capsys.readouterr().err == f"{says} and run it again\n"
    assert len(set(written)) == 2
    before = written[0].stat().st_mtime_ns
    assert evaluate(monkeypatch, *command) == 0
    assert written[0].stat().st_mtime_ns == before
