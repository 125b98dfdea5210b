import csv
import math
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array
from scipy.stats import spearmanr
from sklearn.metrics import ndcg_score
from sklearn.neighbors import KNeighborsClassifier

from transferkit.config.datasets import DataSection
from transferkit.data import scores
from transferkit.data.dev_set import DevSetData
from transferkit.data.dev_sets import load_dev_sets
from transferkit.errors import ConfigError, RunError

RNG = np.random.default_rng(3)
RETRIEVAL = {
    "kind": "retrieval",
    "path": "queries.csv",
    "corpus_path": "corpus.csv",
    "qrels_path": "qrels.csv",
}


@pytest.fixture(params=["one block", "small blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "small blocks":
        monkeypatch.setattr(scores, "BLOCK", 100)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path.name


def load(folder: Path, dev: dict[str, Any], on_bad_row: str = "stop") -> DevSetData:
    train = {"name": "train", "kind": "pairs", "path": "train.csv"}
    section = {"train": [train], "dev": [{"name": "dev", **dev}], "on_bad_row": on_bad_row}
    (data,) = load_dev_sets(DataSection.model_validate(section), data_dir=folder)
    return data


def vectors(rows: int, *, sparse: bool = False, width: int = 12) -> Any:
    """Rows of very different norms."""
    if sparse:
        return csr_matrix(random_array((rows, width), density=0.4, rng=RNG, dtype=np.float32))
    return (RNG.normal(size=(rows, width)) * RNG.uniform(0.1, 50, size=(rows, 1))).astype(np.float32)


def dense(matrix: Any) -> np.ndarray:
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


@pytest.mark.usefixtures("_blocks")
def test_knn_equals_scikit_learn(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "label": str(RNG.integers(4))} for i in range(90)]
    write(tmp_path / "test.csv", rows[:30])
    write(tmp_path / "train.csv", rows[30:])
    data = load(tmp_path, {"kind": "knn", "path": "test.csv", "train_path": "train.csv", "instruction": "sort"})
    assert data.texts == [row["text"] for row in rows]
    assert data.instructions == ["sort"] * 90
    labels = [row["label"] for row in rows]
    x = vectors(90)
    reference = KNeighborsClassifier(1, metric="cosine").fit(x[30:], labels[30:])
    assert data.score(x) == pytest.approx(100 * reference.score(x[:30], labels[:30]))


def test_the_first_of_equally_near_neighbours_decides_and_zero_rows_are_safe() -> None:
    x = np.array([[1, 0], [0, 0], [3, 0], [2, 0]], dtype=np.float32)
    assert scores.knn(query_labels=["b", "b"], train_labels=["b", "a"])(x) == 100.0
    assert scores.knn(query_labels=["b", "b"], train_labels=["b", "a"])(csr_matrix(x)) == 100.0
    assert scores.knn(query_labels=["a", "a"], train_labels=["b", "a"])(x) == 0.0


@pytest.mark.parametrize("sparse", [False, True])
def test_sts_is_spearman_of_the_cosines(tmp_path: Path, sparse: bool) -> None:
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": RNG.uniform(0, 5)} for i in range(40)]
    data = load(tmp_path, {"kind": "sts", "path": write(tmp_path / "sts.csv", rows)})
    assert data.texts == [row[side] for side in ("sentence1", "sentence2") for row in rows]
    x = vectors(80, sparse=sparse)
    a, b = dense(x)[:40].astype(float), dense(x)[40:].astype(float)
    with np.errstate(invalid="ignore"):
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    expected = spearmanr(np.nan_to_num(cosines), [row["score"] for row in rows]).statistic
    assert data.score(x) == pytest.approx(100 * expected, abs=1e-4)
    assert data.score(np.ones((80, 2), dtype=np.float32)) == 0.0


def ndcg_by_hand(x: np.ndarray, relevant: list[dict[int, float]]) -> float:
    total = 0.0
    for query, wanted in enumerate(relevant):
        similarity = [
            sum(a * b for a, b in zip(x[query], document, strict=True)) / math.hypot(*x[query]) / math.hypot(*document)
            for document in x[len(relevant) :].tolist()
        ]
        order = sorted(range(len(similarity)), key=lambda i: -similarity[i])[:10]
        gain = sum(wanted.get(place, 0.0) / math.log2(rank + 2) for rank, place in enumerate(order))
        best = sorted(wanted.values(), reverse=True)[:10]
        total += gain / sum(value / math.log2(rank + 2) for rank, value in enumerate(best))
    return 100 * total / len(relevant)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("documents", [6, 60])
def test_ndcg_equals_a_loop_and_scikit_learn(documents: int) -> None:
    relevant: list[dict[int, float]] = [
        {int(i): float(RNG.integers(1, 4)) for i in RNG.choice(documents, size=size, replace=False)}
        for size in RNG.integers(1, min(documents, 15), size=20)
    ]
    x = vectors(20 + documents)
    gold = np.array([[wanted.get(i, 0.0) for i in range(documents)] for wanted in relevant])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    score = scores.retrieval(relevant=relevant)(x)
    assert score == pytest.approx(ndcg_by_hand(x.astype(float), relevant), abs=1e-9)
    assert score == pytest.approx(100 * ndcg_score(gold, unit[:20] @ unit[20:].T, k=10), abs=1e-9)
    assert scores.retrieval(relevant=relevant)(csr_matrix(x)) == pytest.approx(score, abs=1e-9)


def test_of_equally_similar_documents_the_first_comes_first() -> None:
    x = np.ones((1 + 30, 2), dtype=np.float32)
    assert scores.retrieval(relevant=[{1: 1.0}])(x) == pytest.approx(100 / math.log2(3))
    assert scores.retrieval(relevant=[{10: 1.0}])(x) == 0.0


def entropy(items: list[Any]) -> float:
    return -sum(n / len(items) * math.log(n / len(items)) for n in Counter(items).values())


@pytest.mark.parametrize("sparse", [False, True])
def test_clustering_is_the_v_measure_of_well_separated_groups(tmp_path: Path, sparse: bool) -> None:
    # Three directions; the labels agree with them but for every seventh row. Lengths must not matter.
    groups = [i % 3 for i in range(60)]
    labels = ["abc"[(group + (i % 7 == 0)) % 3] for i, group in enumerate(groups)]
    name = write(tmp_path / "c.csv", [{"text": f"t {i}", "label": label} for i, label in enumerate(labels)])
    data = load(tmp_path, {"kind": "clustering", "path": name})
    x = np.eye(3, dtype=np.float32)[groups] * RNG.uniform(0.01, 100, size=(60, 1)).astype(np.float32)
    shared = entropy(groups) + entropy(labels) - entropy(list(zip(groups, labels, strict=True)))
    expected = 200 * shared / (entropy(groups) + entropy(labels))
    assert data.score(csr_matrix(x) if sparse else x) == pytest.approx(expected, abs=1e-9)
    assert data.score(np.ones((60, 3), dtype=np.float32)) == pytest.approx(0.0, abs=1e-9)


def write_retrieval(folder: Path, queries: int = 6, documents: int = 40) -> None:
    """Query q<i> wants document d<i>, and q0 also d1, twice as much; q5 has no judgement above 0."""
    write(folder / "queries.csv", [{"_id": f"q{i}", "text": f"query {i}"} for i in range(queries)])
    corpus = [{"_id": f"d{i}", "title": f"T{i}" if i % 2 else "", "text": f"doc {i}"} for i in range(documents)]
    write(folder / "corpus.csv", corpus)
    judgements = [(f"q{i}", f"d{i}", int(i != 5)) for i in range(queries)] + [("q0", "d1", 2)]
    rows = [{"query-id": query, "corpus-id": document, "score": gain} for query, document, gain in judgements]
    write(folder / "qrels.csv", rows)


def test_retrieval_reads_three_files_and_drops_queries_without_relevant_documents(tmp_path: Path) -> None:
    write_retrieval(tmp_path)
    data = load(tmp_path, {**RETRIEVAL, "instruction": "find", "document_instruction": ""})
    assert data.texts[:5] == [f"query {i}" for i in range(5)]
    assert data.texts[5:9] == ["doc 0", "T1\ndoc 1", "doc 2", "T3\ndoc 3"]
    assert data.instructions == ["find"] * 5 + [""] * 40
    counts = {"queries": 5, "documents": 40, "repeated_documents": 0, "dropped_queries": 1}
    assert data.counts == {"skipped_rows": 0, **counts}
    wanted: list[dict[int, float]] = [{0: 1.0, 1: 2.0}, {1: 1.0}, {2: 1.0}, {3: 1.0}, {4: 1.0}]
    x = vectors(45)
    assert data.score(x) == pytest.approx(ndcg_by_hand(x.astype(float), wanted))


def test_documents_that_stand_there_twice_are_said(tmp_path: Path) -> None:
    write_retrieval(tmp_path)
    assert not any("repeat" in one for one in load(tmp_path, RETRIEVAL).warnings())
    with (tmp_path / "corpus.csv").open("a") as file:
        file.write("d40,,doc 2\nd41,,doc 2\n")
    said = [one for one in load(tmp_path, RETRIEVAL).warnings() if "repeat" in one]
    assert said == [
        "data.dev 'dev': 2 of 42 documents repeat the text of an earlier one and count apart, as in mteb, so a query "
        "that finds the copy is wrong; keep one of each, or judge them all"
    ]


def test_retrieval_limit_keeps_the_relevant_documents(tmp_path: Path) -> None:
    write_retrieval(tmp_path, queries=30)
    data = load(tmp_path, {**RETRIEVAL, "limit": 3})
    numbers = [int(text.split()[1]) for text in data.texts[:3]]
    kept = {int(text.split()[-1]) for text in data.texts[3:]}
    relevant = set(numbers) | ({1} if 0 in numbers else set())
    assert relevant <= kept
    assert len(kept) == len(relevant) + 15
    assert data.texts == load(tmp_path, {**RETRIEVAL, "limit": 3}).texts


@pytest.mark.parametrize(
    ("file", "row", "words"),
    [
        ("qrels.csv", "q9,d0,1", r"qrels.csv, row 8, column 'query-id': no query has the id 'q9'"),
        ("qrels.csv", "q0,d99,1", r"row 8, column 'corpus-id': no document has the id 'd99'"),
        ("qrels.csv", "q0,d0,0", r"row 8, column 'score': judged 1 before for 'q0' and 'd0', and 0 here"),
        ("qrels.csv", "q0,d0,much", r"row 8, column 'score': expected a number, got str 'much'"),
        (
            "corpus.csv",
            "d90,,",
            r"corpus.csv, row 41, column 'text': expected a title or a text, got neither",
        ),
        ("queries.csv", "q90,", r"queries.csv, row 7, column 'text': expected text, got an empty value"),
    ],
)
def test_bad_retrieval_rows_are_named_or_skipped(tmp_path: Path, file: str, row: str, words: str) -> None:
    write_retrieval(tmp_path)
    before = load(tmp_path, RETRIEVAL)
    with (tmp_path / file).open("a") as handle:
        handle.write(row + "\n")
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, RETRIEVAL)
    after = load(tmp_path, RETRIEVAL, on_bad_row="skip")
    assert (after.texts, after.sha256) == (before.texts, before.sha256)
    assert after.counts["skipped_rows"] == 1


def test_retrieval_on_the_hub_is_three_subsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    repo = tmp_path / "repo"
    repo.mkdir()
    write_retrieval(repo)
    entry = "- config_name: {}\n  data_files:\n  - split: {}\n    path: {}.csv\n"
    parts = [("corpus", "corpus", "corpus"), ("queries", "queries", "queries"), ("default", "test", "qrels")]
    (repo / "README.md").write_text("---\nconfigs:\n" + "".join(entry.format(*part) for part in parts) + "---\n")
    data = load(tmp_path, {"kind": "retrieval", "hub_id": str(repo)})
    assert data.sha256 == load(repo, RETRIEVAL).sha256


def test_limit_is_a_fixed_sample_of_rows_with_five_times_as_many_labelled_ones(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(200)]
    write(tmp_path / "test.csv", rows[:50])
    write(tmp_path / "train.csv", rows[50:])
    dev = {"kind": "knn", "path": "test.csv", "train_path": "train.csv"}
    data = load(tmp_path, {**dev, "limit": 8})
    whole = load(tmp_path, dev)
    assert len(data.texts) == 8 + 40
    assert set(data.texts[:8]) < set(whole.texts[:50])
    assert set(data.texts[8:]) < set(whole.texts[50:])
    assert data.sha256 == load(tmp_path, {**dev, "limit": 8}).sha256 != whole.sha256
    assert load(tmp_path, {**dev, "limit": 150}).texts == whole.texts


def test_numbers_and_text_are_the_same_label(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", [{"text": "x", "label": 1}, {"text": "y", "label": 2}])
    (tmp_path / "train.jsonl").write_text('{"text": "u", "label": 1}\n{"text": "v", "label": 2}\n')
    data = load(tmp_path, {"kind": "knn", "path": "test.csv", "train_path": "train.jsonl"})
    assert data.score(np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]) == 100.0


@pytest.mark.parametrize(
    ("kind", "rows", "train_labels", "words"),
    [
        ("sts", [("a", "b", 1), ("c", "d", 1)], "", "all 2 scores are equal"),
        ("clustering", [("a", "x"), ("b", "x")], "", "expected at least two labels, got 1"),
        ("clustering", [("a", "x"), ("", "x")], "", r"row 2, column 'text': expected text, got an empty value"),
        ("knn", [("a", "x"), ("b", "y")], "zz", "none of its labels occurs in"),
        ("knn", [("a", "x"), ("b", "y")], "xx", "train.csv: expected at least two labels, got 1"),
    ],
)
def test_sets_that_cannot_score_are_refused(
    tmp_path: Path, kind: str, rows: list[Any], train_labels: str, words: str
) -> None:
    names = ("sentence1", "sentence2", "score") if kind == "sts" else ("text", "label")
    path = write(tmp_path / "dev.csv", [dict(zip(names, row, strict=True)) for row in rows])
    labelled = [{"text": "t", "label": label} for label in train_labels]
    train = {"train_path": write(tmp_path / "train.csv", labelled)} if kind == "knn" else {}
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path, {"kind": kind, "path": path, **train})
    assert str(caught.value).startswith("data.dev 'dev': ")


def test_wrong_vectors_are_one_sentence_and_the_set_can_be_pickled(tmp_path: Path) -> None:
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": i} for i in range(4)]
    data = load(tmp_path, {"kind": "sts", "path": write(tmp_path / "sts.csv", rows), "select": True})
    x = vectors(8)
    assert pickle.loads(pickle.dumps(data)).score(x) == data.score(x)
    with pytest.raises(RunError, match="dev set 'dev': expected 8 vectors, got 7"):
        data.score(x[:7])
    x[3, 1] = np.nan
    with pytest.raises(RunError, match="dev set 'dev': vectors hold NaN or infinity"):
        data.score(x)


def test_importing_evaluate_imports_neither_torch_nor_datasets_nor_scikit_learn() -> None:
    heavy = "('torch', 'datasets', 'sklearn')"
    code = f"import sys, transferkit.data.dev_sets; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
