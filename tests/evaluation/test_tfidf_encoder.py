"""TF-IDF as a row of ``evaluate``: scikit-learn's numbers, the dev sets' numbers, every text task of mteb's mocks."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.evaluate_call import evaluate, evaluated
from helpers.set_folders import table, write_sets
from mteb.mocks import ALL_MOCK_TASK_TEST_GRID
from rich.console import Console
from sklearn.feature_extraction.text import TfidfVectorizer

from transferkit.config.datasets import DataSection
from transferkit.data.dev_set import DevSetData
from transferkit.data.dev_sets import load_dev_sets
from transferkit.errors import RunError
from transferkit.evaluation import run as evaluation_run
from transferkit.evaluation import tfidf as mteb_tfidf
from transferkit.evaluation.run import run_tasks
from transferkit.evaluation.tables.rows import TaskRow
from transferkit.evaluation.tasks import local_tasks
from transferkit.evaluation.tfidf import TfidfEncoder
from transferkit.methods.tfidf import Tfidf


@pytest.fixture(scope="module", name="sets")
def make_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("tfidf") / "sets")


def ran(tasks: Any, out: Path) -> dict[str, TaskRow]:
    rows = run_tasks([[TfidfEncoder()]], tasks, out=out, batch_size=16, console=Console(quiet=True))
    return {row.task: row for row in rows}


def dev_set(folder: Path, kind: str, **files: str) -> DevSetData:
    train = {"name": "t", "kind": "pairs", "path": "unused.csv"}
    dev = {"name": "dev", "kind": kind, **files}
    (found,) = load_dev_sets(DataSection.model_validate({"train": [train], "dev": [dev]}), data_dir=folder)
    return found


@pytest.mark.slow  # the decoders' encoder runs the same tasks in the default suite
@pytest.mark.filterwarnings("ignore")
def test_every_text_task_among_mtebs_mocks_passes(tmp_path: Path) -> None:
    tasks = [task for task in ALL_MOCK_TASK_TEST_GRID if task.metadata.modalities == ["text"]]
    rows = ran(tasks, tmp_path)
    assert len(rows) == len({task.metadata.name for task in tasks}) >= 28
    assert {name: row.problem for name, row in rows.items() if row.problem is not None} == {}


def test_scores_are_those_of_the_dev_sets_on_the_same_texts(sets: Path, tmp_path: Path) -> None:
    rows = ran(local_tasks(sets, names=["likeness", "answers"]), tmp_path)
    retrieval = {"path": "queries.parquet", "corpus_path": "corpus.parquet", "qrels_path": "qrels_test.parquet"}
    for name, data in (
        ("likeness", dev_set(sets / "sts" / "likeness", "sts", path="test.jsonl")),
        ("answers", dev_set(sets / "retrieval" / "answers", "retrieval", **retrieval)),
    ):
        expected = data.score(Tfidf(lambda data=data: data.texts).pooled(data.texts, [], batch_size=1))
        assert rows[name].score == pytest.approx(expected, abs=2e-3)  # mteb rounds to five digits
        assert rows[name].texts == len(set(data.texts))
        assert 0 < abs(expected) < 100
    assert rows["likeness"].method == "TF-IDF of the task's words"


@pytest.mark.parametrize("name", ["intents", "topics", "same", "candidates", "answers", "likeness"])
def test_vectors_are_scikit_learns(sets: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fitted on every text that the task embeds, whichever call it comes in."""
    seen: list[tuple[list[str], np.ndarray]] = []
    real = TfidfEncoder._embed

    def embed(encoder: TfidfEncoder, texts: list[str], *rest: Any) -> np.ndarray:
        seen.append((texts, real(encoder, texts, *rest)))
        return seen[-1][1]

    monkeypatch.setattr(TfidfEncoder, "_embed", embed)
    (row,) = ran(local_tasks(sets, names=[name]), tmp_path).values()
    assert row.problem is None
    heard = dict.fromkeys(text for texts, _ in seen for text in texts)
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(heard)
    assert len(seen) == (1 if name == "topics" else 2)
    for texts, vectors in seen:
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, vectorizer.transform(texts).toarray(), atol=1e-6)


def test_kept_until_a_text_changes(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sets"
    shutil.copytree(sets, folder)
    heard: list[str] = []
    real = TfidfEncoder.prepare
    monkeypatch.setattr(
        TfidfEncoder, "prepare", lambda encoder, task: (heard.append(task.metadata.name), real(encoder, task))
    )
    command = ["tfidf", "--tasks-from", folder, "--tasks", "likeness,topics", "--out", tmp_path / "out", "--json"]
    assert evaluate(monkeypatch, *command) == 0
    first = evaluated(capsys)
    assert set(heard) == {"likeness", "topics"}
    heard.clear()
    assert evaluate(monkeypatch, *command) == 0
    assert heard == []
    assert evaluated(capsys) == first
    rows = [{"sentence1": f"a cat {i}", "sentence2": "a cat" if i < 2 else "the car", "score": i} for i in range(4)]
    table(folder / "sts" / "likeness" / "test.jsonl", rows)
    assert evaluate(monkeypatch, *command) == 0
    assert heard == ["likeness"]
    (changed,) = [row for row in evaluated(capsys)["rows"] if row["task"] == "likeness"]
    assert changed["score"] != first["rows"][0]["score"]
    assert changed["revision"] == first["rows"][0]["revision"]  # that of the settings; the texts are the task's


def test_too_many_words_are_said_and_other_tasks_are_run(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mteb_tfidf, "_MOST_BYTES", 4 * 24 * 10)
    rows = ran(local_tasks(sets, names=["topics"]), tmp_path)
    problem = rows["topics"].problem
    assert problem is not None
    assert problem.startswith("MemoryError: 24 texts with ")
    assert "of vectors, more than the" in problem


def test_a_task_is_heard_once(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = local_tasks(sets, names=["likeness"])
    encoder = TfidfEncoder()
    encoder.prepare(task)

    def heard(*_: Any, **__: Any) -> None:
        raise RunError("heard again")

    monkeypatch.setattr(mteb_tfidf.mteb, "evaluate", heard)
    encoder.prepare(task)
    with pytest.raises(RunError, match="heard again"):
        encoder.prepare(local_tasks(sets, names=["likeness"])[0])


def test_what_mteb_makes_of_a_failure_is_a_row_and_an_error_of_ours_ends_the_command(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = local_tasks(sets, names=["likeness"])
    monkeypatch.setattr(TfidfEncoder, "prepare", lambda self, task: None)
    for number, (problems, says) in enumerate(
        (([SimpleNamespace(exception="it broke")], "it broke"), ([], "mteb gave no result"))
    ):
        given = SimpleNamespace(task_results=[], exceptions=problems)
        monkeypatch.setattr(evaluation_run.mteb, "evaluate", lambda *_, given=given, **__: given)
        assert ran(tasks, tmp_path / str(number))["likeness"].problem == says

    def refuse(*_: Any, **__: Any) -> None:
        raise RunError("the disk is full")

    monkeypatch.setattr(evaluation_run.mteb, "evaluate", refuse)
    with pytest.raises(RunError, match="the disk is full"):
        ran(tasks, tmp_path / "refused")
