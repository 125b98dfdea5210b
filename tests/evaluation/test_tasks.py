"""Folders as mteb tasks: the same data and, under one protocol, the same numbers as the dev sets; wrong folders."""

import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from helpers.parts import load_reader, prompt_embedder
from helpers.set_folders import table, write_sets
from helpers.tiny import Tiny
from mteb.abstasks import AbsTask
from mteb.get_tasks import TASK_LIST
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from transferkit.config.datasets import DataSection
from transferkit.data.dev_set import DevSetData
from transferkit.data.dev_sets import load_dev_sets
from transferkit.errors import ConfigError
from transferkit.evaluation.dataset_columns import columns_in_blocks
from transferkit.evaluation.encoder import MtebEncoder
from transferkit.evaluation.local_sets import KINDS
from transferkit.evaluation.tasks import local_tasks, other_folders
from transferkit.methods.frozen import FrozenEmbedder

RETRIEVAL = {"path": "queries.parquet", "corpus_path": "corpus.parquet", "qrels_path": "qrels_test.parquet"}


@pytest.fixture(scope="module", name="folder")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module", name="encoder")
def make_encoder(tiny: Tiny) -> MtebEncoder:
    """Reads no instruction, as the dev sets below have none."""
    return MtebEncoder(FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling="mean"), name="tiny")


def task(folder: Path, name: str) -> AbsTask:
    (found,) = local_tasks(folder, names=[name])
    return found


@pytest.mark.filterwarnings("ignore")
def scores(encoder: MtebEncoder, one: AbsTask) -> dict[str, Any]:
    """All scores of the one split, as mteb gives them."""
    quiet = {"batch_size": 8, "show_progress_bar": False}
    (result,) = mteb.evaluate(
        encoder, one, cache=None, encode_kwargs=quiet, show_progress_bar=False, co2_tracker=False
    ).task_results
    (found,) = result.scores["test"]
    return dict(found)


def dev_set(folder: Path, kind: str, **keys: Any) -> DevSetData:
    train = {"name": "t", "kind": "pairs", "path": "unused.csv"}
    dev = {"name": "dev", "kind": kind, **keys}
    (found,) = load_dev_sets(DataSection.model_validate({"train": [train], "dev": [dev]}), data_dir=folder)
    return found


def dev_score(encoder: MtebEncoder, data: DevSetData) -> float:
    return data.score(encoder.embedder.encode(data.texts, instruction=data.instructions)) / 100


def test_every_kind_of_folder_is_a_task_of_mteb(folder: Path) -> None:
    tasks = {one.metadata.name: one for one in local_tasks(folder)}
    assert {name: (one.metadata.type, one.metadata.main_score) for name, one in tasks.items()} == {
        "intents": ("Classification", "accuracy"),
        "topics": ("Clustering", "v_measure"),
        "same": ("PairClassification", "max_ap"),
        "candidates": ("Reranking", "map_at_1000"),
        "answers": ("Retrieval", "ndcg_at_10"),
        "likeness": ("STS", "cosine_spearman"),
    }
    assert {one.metadata.type for one in tasks.values()} == {kind.task_type for kind in KINDS.values()}
    for one in tasks.values():
        assert one.metadata.modalities == ["text"]
        assert len(one.metadata.revision) == 64
    assert other_folders(folder) == ["pairs"]
    for kind in KINDS.values():
        used = Counter(one.metadata.main_score for one in TASK_LIST if one.metadata.type == kind.task_type)
        assert used[kind.main_score] > 4


def test_sts_is_the_number_of_the_dev_set(folder: Path, encoder: MtebEncoder) -> None:
    expected = dev_score(encoder, dev_set(folder / "sts" / "likeness", "sts", path="test.jsonl"))
    assert scores(encoder, task(folder, "likeness"))["main_score"] == pytest.approx(expected, abs=1e-6)
    assert abs(expected) > 1e-3


def test_retrieval_is_the_number_of_the_dev_set(folder: Path, encoder: MtebEncoder) -> None:
    expected = dev_score(encoder, dev_set(folder / "retrieval" / "answers", "retrieval", **RETRIEVAL))
    # mteb rounds to five digits.
    assert scores(encoder, task(folder, "answers"))["main_score"] == pytest.approx(expected, abs=1e-5)
    assert 0 < expected < 1


@pytest.mark.parametrize(
    ("name", "keys", "given"),
    [
        ("likeness", {}, {"likeness": "find the cat"}),
        ("answers", {}, {"answers": "find the cat", "answers-document": "find the cat"}),
        ("answers", {"document_instruction": ""}, {"answers": "find the cat"}),
        ("answers", {"document_instruction": "see"}, {"answers": "find the cat", "Retrieval-document": "see"}),
    ],
)
def test_both_numbers_agree_under_the_same_instructions(
    tiny: Tiny, folder: Path, name: str, keys: dict[str, str], given: dict[str, str]
) -> None:
    """For a method that reads them."""
    files = {"likeness": {"path": "test.jsonl"}, "answers": RETRIEVAL}[name]
    kind = {"likeness": "sts", "answers": "retrieval"}[name]
    embedder = prompt_embedder(tiny, template="{instruction} {text}{soft}", pooling="mean")
    encoder = MtebEncoder(embedder, name="tiny", instructions=given)
    place = folder / kind / name
    expected = dev_score(encoder, dev_set(place, kind, **files, **keys, instruction="find the cat"))
    one = task(folder, name)
    assert scores(encoder, one)["main_score"] == pytest.approx(expected, abs=1e-5)  # mteb rounds to five digits

    plain = dev_score(encoder, dev_set(place, kind, **files))
    assert abs(expected - plain) > 1e-3  # the premise: an instruction matters
    embedder.instructions = {name: "find the cat"}
    embedder.document_instructions = {name: keys.get("document_instruction", "find the cat")}
    assert scores(MtebEncoder(embedder, name="tiny"), one)["main_score"] == pytest.approx(expected, abs=1e-5)


def test_clustering_is_the_number_of_the_dev_set_when_both_cluster_alike(
    folder: Path, encoder: MtebEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By themselves they do not: mteb takes mini-batches on ten samples, a dev set k-means on all texts."""

    class Everything:
        def choices(self, places: range, *, k: int) -> list[int]:
            assert k == len(places)
            return list(places)

    one = task(folder, "topics")
    one.n_clusters, one.rng_state = 1, Everything()  # type: ignore[attr-defined, assignment]

    def k_means(n_clusters: int, **_: Any) -> KMeans:
        return KMeans(n_clusters, n_init=3, random_state=0)

    monkeypatch.setattr("mteb.abstasks.clustering.MiniBatchKMeans", k_means)
    expected = dev_score(encoder, dev_set(folder / "clustering" / "topics", "clustering", path="test.parquet"))
    assert scores(encoder, one)["main_score"] == pytest.approx(expected, abs=1e-9)
    assert 0 < expected < 1


def test_clustering_embeds_every_text_once_and_samples_as_many(folder: Path, encoder: MtebEncoder) -> None:
    one = task(folder, "topics")
    before = encoder.texts
    found = scores(encoder, one)
    assert encoder.texts - before == 24
    assert len(found["v_measures"]["Level 0"]) == 10
    assert one.max_documents_per_cluster == 24


def test_classification_is_mtebs_protocol_and_not_the_nearest_neighbour(folder: Path, encoder: MtebEncoder) -> None:
    found = scores(encoder, task(folder, "intents"))
    assert len(found["scores_per_experiment"]) == 10
    assert found["main_score"] == pytest.approx(np.mean([one["accuracy"] for one in found["scores_per_experiment"]]))
    data = dev_set(folder / "classification" / "intents", "knn", path="test.csv", train_path="train.parquet")
    vectors = encoder.embedder.encode(data.texts)
    labels = {name: data.parts["all"].metric.gold[f"{name}_labels"] for name in ("query", "train")}
    first = _drawn(labels["train"])
    classifier = LogisticRegression(max_iter=100, random_state=42).fit(
        vectors[15:][first], np.array(labels["train"])[first]
    )
    by_hand = classifier.score(vectors[:15], labels["query"])
    assert found["scores_per_experiment"][0]["accuracy"] == pytest.approx(by_hand)


def _drawn(labels: list[str]) -> list[int]:
    """mteb's first draw: eight of each label, in the order of a shuffle with its seed."""
    places = list(range(len(labels)))
    np.random.RandomState(42).shuffle(places)
    kept: list[int] = []
    for place in places:
        if sum(labels[other] == labels[place] for other in kept) < 8:
            kept.append(place)
    return kept


def test_pair_classification_is_average_precision_of_the_cosines(folder: Path, encoder: MtebEncoder) -> None:
    one = task(folder, "same")
    found = scores(encoder, one)
    one.load_data()
    rows = one.dataset["test"]  # type: ignore[index]
    first, second = (encoder.embedder.encode(list(rows[name])) for name in ("sentence1", "sentence2"))
    expected = average_precision_score(list(rows["labels"]), (first * second).sum(axis=1))
    assert found["cosine_ap"] == pytest.approx(expected)
    assert found["main_score"] == found["max_ap"] >= found["cosine_ap"]


def test_reranking_ranks_the_judged_documents_alone(folder: Path, encoder: MtebEncoder) -> None:
    one = task(folder, "candidates")
    found = scores(encoder, one)
    one.load_data()
    split = one.dataset["default"]["test"]  # type: ignore[index]
    texts = dict(zip(split["corpus"]["id"], split["corpus"]["text"], strict=True))
    assert any("\n" in text for text in texts.values())  # a title stands above its text
    precisions = []
    for query, text in zip(split["queries"]["id"], split["queries"]["text"], strict=True):
        candidates = split["top_ranked"][query]
        assert len(candidates) == 4
        cosines = encoder.embedder.encode([texts[one] for one in candidates]) @ encoder.embedder.encode([text])[0]
        hits = [candidates[i] in split["relevant_docs"][query] for i in np.argsort(-cosines)]
        precisions.append(np.mean([np.mean(hits[: i + 1]) for i in range(4) if hits[i]]))
    assert len(precisions) == 5  # the sixth query has no judgement
    assert found["main_score"] == pytest.approx(np.mean(precisions), abs=1e-5)


def test_columns_are_read_in_blocks_and_give_the_same_values() -> None:
    from datasets import Column, Dataset

    data = Dataset.from_dict({"label": list(range(2500)), "nested": [{"x": i} for i in range(2500)]})
    before = (Column.__getitem__, Column.__iter__)
    with columns_in_blocks():
        column = data.select(range(1, 2400))["label"]
        assert list(column) == list(range(1, 2400))
        assert [column[i] for i in (0, 5, -1, *range(50))] == [1, 6, 2399, *range(1, 51)]
        assert column[3:6] == [4, 5, 6]
        assert column[[7, 2]] == [8, 3]
        assert np.asarray(column).tolist() == list(range(1, 2400))
        assert list(data["nested"]["x"]) == list(range(2500))
        assert data["nested"]["x"][17] == 17
        with pytest.raises(IndexError):
            column[2399]
    assert (Column.__getitem__, Column.__iter__) == before


def test_names_choose_and_files_beside_the_set_change_nothing(folder: Path) -> None:
    assert [one.metadata.name for one in local_tasks(folder, names=["likeness", "intents"])] == ["intents", "likeness"]
    before = task(folder, "intents").metadata.revision
    assert task(folder, "intents").metadata.revision == before
    table(folder / "classification" / "intents" / "validation.csv", [{"text": "a", "label": 1}])
    assert task(folder, "intents").metadata.revision == before
    with pytest.raises(ConfigError, match=r"no set 'liknes'; did you mean 'likeness'\? \(sets: intents, topics"):
        local_tasks(folder, names=["liknes"])


def test_documents_that_stand_there_twice_are_said(tmp_path: Path) -> None:
    folder, said = write_sets(tmp_path / "sets"), list[str]()
    local_tasks(folder, warn=said.append)
    assert said == []
    edit("retrieval/answers/corpus.parquet", lambda rows: [*rows, {**rows[0], "_id": "copy"}])(folder)
    local_tasks(folder, warn=said.append)
    assert len(said) == 1
    assert "answers/corpus.parquet: 1 of " in said[0]
    assert "documents repeat the text of an earlier one and count apart" in said[0]


def test_hidden_folders_are_no_sets(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "sts", tmp_path / "sets" / "sts")
    there = [one.metadata.name for one in local_tasks(tmp_path / "sets")]
    (tmp_path / "sets" / "sts" / ".cache").mkdir()
    assert [one.metadata.name for one in local_tasks(tmp_path / "sets")] == there


def test_every_byte_that_is_read_is_in_the_revision(tmp_path: Path) -> None:
    seen = set()
    folder = write_sets(tmp_path / "sets")
    for name in ("", "queries", "corpus", "qrels_test"):
        if name:
            file = folder / "retrieval" / "answers" / f"{name}.parquet"
            from pyarrow import parquet

            rows = parquet.read_table(file).to_pylist()
            table(file, [{**rows[0], list(rows[0])[-1]: 1 if name == "qrels_test" else "another"}, *rows[1:]])
        seen.add(task(folder, "answers").metadata.revision)
    assert len(seen) == 4


def edit(name: str, change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    """Change the rows of a file of the written sets."""

    def apply(folder: Path) -> None:
        from pyarrow import parquet

        file = folder / name
        rows = parquet.read_table(file).to_pylist()
        table(file, change(rows) or rows)

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


put = partial(dict.__setitem__)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            remove("classification/intents/train.parquet"),
            r"classification/intents: no train; sets in classification/ need",
        ),
        (remove("retrieval/answers/corpus.parquet"), r"retrieval/answers: no corpus; .* corpus.parquet"),
        (
            lambda folder: table(folder / "clustering/topics/test.csv", [{"text": "a", "label": 1}]),
            r"clustering/topics: 2 files called test",
        ),
        (
            lambda folder: table(folder / "sts/topics/test.csv", [{"sentence1": "a", "sentence2": "b", "score": 1}]),
            "clustering/topics and .*sts/topics have the same name; rename one",
        ),
        (
            edit("clustering/topics/test.parquet", lambda rows: [{"text": row["text"], "lable": 1} for row in rows]),
            r"topics/test.parquet: no column 'label'; did you mean 'lable'\? \(columns there: text, lable\)$",
        ),
        (
            edit("clustering/topics/test.parquet", lambda rows: put(rows[2], "text", " ")),
            r"test.parquet, row 3, column 'text': expected text, got only blanks \(' '\); correct or remove the row$",
        ),
        (
            edit("clustering/topics/test.parquet", lambda rows: [{**row, "label": 1} for row in rows]),
            "topics/test.parquet: expected at least two labels, got 1",
        ),
        (
            edit("classification/intents/train.parquet", lambda rows: [{**row, "label": 1} for row in rows]),
            "intents/train.parquet: expected at least two labels, got 1",
        ),
        (
            edit("classification/intents/train.parquet", lambda rows: [{**r, "label": f"x{r['label']}"} for r in rows]),
            r"intents/test.csv: none of its labels occurs in .*intents/train.parquet$",
        ),
        (
            lambda folder: table(
                folder / "sts/likeness/test.jsonl", [{"sentence1": "a", "sentence2": "b", "score": 1}] * 3
            ),
            "test.jsonl: all 3 scores are equal, so no correlation exists",
        ),
        (
            edit("pair_classification/same/test.parquet", lambda rows: put(rows[4], "label", 2)),
            r"same/test.parquet, row 5, column 'label': expected 1 \(the two belong together\) or 0, got '2'",
        ),
        (
            edit("pair_classification/same/test.parquet", lambda rows: [{**row, "label": 0} for row in rows]),
            "all labels are 0; expected both 0 and 1",
        ),
        (
            edit("retrieval/answers/qrels_test.parquet", lambda rows: put(rows[0], "corpus-id", "d99")),
            "qrels_test.parquet, row 1, column 'corpus-id': no document has the id 'd99'; correct or remove the row$",
        ),
        (
            edit("reranking/candidates/qrels_test.parquet", lambda rows: [{**row, "score": 0} for row in rows]),
            "candidates/qrels_test.parquet: no query has a relevant document",
        ),
        (
            edit("retrieval/answers/qrels_test.parquet", lambda rows: [{**row, "score": 0.5} for row in rows]),
            "query 'q0', document 'd0': expected a whole number of at most 2147483647 as relevance, got 0.5",
        ),
        (
            edit("retrieval/answers/qrels_test.parquet", lambda rows: [{**row, "score": 2**31} for row in rows]),
            r"expected a whole number of at most 2147483647 as relevance, got 2147483648\.0",
        ),
        (
            lambda folder: (folder / "sts/likeness/test.jsonl").write_text("{"),
            "likeness/test.jsonl: cannot be read as jsonl",
        ),
    ],
)
def test_wrong_folders_are_one_sentence(tmp_path: Path, spoil: Callable[[Path], Any], says: str) -> None:
    folder = write_sets(tmp_path / "sets")
    spoil(folder)
    with pytest.raises(ConfigError, match=says) as caught:
        local_tasks(folder)
    assert str(caught.value).startswith("--tasks-from: ")
    assert "\n" not in str(caught.value)
    assert "recipe" not in str(caught.value)


def test_a_folder_without_sets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none: no such folder"):
        local_tasks(tmp_path / "none")
    table(tmp_path / "data" / "clasification" / "x" / "test.csv", [{"text": "a", "label": 1}])
    with pytest.raises(ConfigError, match=r"holds no sets; .* got clasification; did you mean 'classification'\?"):
        local_tasks(tmp_path / "data")
    with pytest.raises(ConfigError, match="is a file, expected a folder"):
        local_tasks(tmp_path / "data" / "clasification" / "x" / "test.csv")
