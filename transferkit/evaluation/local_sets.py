"""A user's own sets: the files that each kind of task needs, read and checked, as mteb holds them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)

from transferkit.config.datasets import ROLES
from transferkit.data.scored_rows import (
    CHECKS,
    check_classes,
    check_labels,
    check_scores,
    read_corpus,
    read_judgements,
    read_queries,
    relevant_only,
    repeated_in_words,
)
from transferkit.data.tables import Columns, Source, TableReader, bad_row
from transferkit.errors import ConfigError
from transferkit.files.manifest import sha256_file
from transferkit.files.tables import SUFFIXES

OPTION = "--tasks-from"
_HIGHEST = 2**31 - 1  # relevance that mteb's scorer takes


class SetFolder:
    """One set: its files by name without ending, and what reads them."""

    def __init__(self, kind: "Kind", path: Path) -> None:
        self.path = path
        self.reader = TableReader(columns=kind.columns, checks=CHECKS, on_bad_row="stop")
        self.files = {name: self._file(name) for name in kind.files}

    def _file(self, name: str) -> Path:
        found = [self.path / f"{name}{suffix}" for suffix in SUFFIXES if (self.path / f"{name}{suffix}").is_file()]
        if len(found) != 1:
            problem = f"no {name}" if not found else f"{len(found)} files called {name}"
            raise ConfigError(
                f"{OPTION}: {self.path}: {problem}; sets in {self.path.parent.name}/ need it once, as {name}.parquet "
                f"or with one of the endings {', '.join(SUFFIXES[1:])}"
            )
        return found[0]

    def source(self, name: str) -> Source:
        """One of the set's files, as messages name it."""
        return Source(OPTION, path=self.files[name], in_recipe=False)

    def read(self, name: str, *roles: str) -> Columns:
        """Checked columns of one of the set's files."""
        return self.reader.read(self.source(name), roles)

    def revision(self) -> str:
        """Hash of all files of the set."""
        digests = [f"{name} {sha256_file(file)}" for name, file in sorted(self.files.items())]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


@dataclass(frozen=True)
class Data:
    """A set as mteb holds it, the attributes of the task that depend on it, and what a user should know of it."""

    dataset: Any
    attributes: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """One kind of task: mteb's name and class for it, the files it needs, their columns, and how they are read."""

    task_type: str
    base: type[AbsTask]
    category: str
    main_score: str
    files: tuple[str, ...]
    columns: dict[str, str]
    read: Callable[[SetFolder], Data]


def _classification(folder: SetFolder) -> Data:
    """A logistic regression is fitted on a few texts a label, ten times; labels become numbers in their order."""
    rows = {split: folder.read(split, "text", "label") for split in ("train", "test")}
    labels = sorted({label for split in rows.values() for label in split["label"]})
    check_classes(folder.source("test"), rows["test"]["label"], folder.source("train"), rows["train"]["label"])
    place = {label: number for number, label in enumerate(labels)}
    splits = {
        split: Dataset.from_dict({"text": one["text"], "label": [place[label] for label in one["label"]]})
        for split, one in rows.items()
    }
    return Data(DatasetDict(splits), {})


def _sts(folder: SetFolder) -> Data:
    rows = folder.read("test", "sentence1", "sentence2", "score")
    check_scores(folder.source("test"), rows["score"])
    limits = {"min_score": min(rows["score"]), "max_score": max(rows["score"])}
    return Data(DatasetDict(test=Dataset.from_dict(rows)), limits)


def _clustering(folder: SetFolder) -> Data:
    """All texts are embedded; each of mteb's ten samples is as large as the set, or mteb's own size if that is less."""
    rows = folder.read("test", "text", "label")
    check_labels(folder.source("test"), rows["label"])
    sample = min(len(rows["text"]), AbsTaskClustering.max_documents_per_cluster)
    dataset = Dataset.from_dict({"sentences": rows["text"], "labels": rows["label"]})
    return Data(DatasetDict(test=dataset), {"max_documents_per_cluster": sample})


def _pair_classification(folder: SetFolder) -> Data:
    rows = folder.read("test", "sentence1", "sentence2", "label")
    for number, label in enumerate(rows["label"], start=1):
        if label not in ("0", "1"):
            problem = f"expected 1 (the two belong together) or 0, got {label!r}"
            raise bad_row(folder.source("test"), number, column=folder.reader.columns["label"], problem=problem)
    if len(set(rows["label"])) < 2:
        raise ConfigError(f"{folder.source('test')}: all labels are {rows['label'][0]}; expected both 0 and 1")
    pairs = {"sentence1": rows["sentence1"], "sentence2": rows["sentence2"], "labels": list(map(int, rows["label"]))}
    return Data(DatasetDict(test=Dataset.from_dict(pairs)), {})


def _retrieval(folder: SetFolder) -> Data:
    return _search(folder, reranking=False)


def _reranking(folder: SetFolder) -> Data:
    """The candidates of a query are the documents that the judgements name for it; those with 0 are the wrong ones."""
    return _search(folder, reranking=True)


def _search(folder: SetFolder, *, reranking: bool) -> Data:
    reader = folder.reader
    queries = read_queries(reader, folder.source("queries"))
    documents = read_corpus(reader, folder.source("corpus"))
    qrels = folder.source("qrels_test")
    judged = read_judgements(reader, qrels, queries, documents)
    relevant = relevant_only(qrels, judged)
    for query, gains in relevant.items():
        for document, gain in gains.items():
            if not gain.is_integer() or gain > _HIGHEST:
                raise ConfigError(
                    f"{qrels}: query {query!r}, document {document!r}: expected a whole number of at most {_HIGHEST} "
                    f"as relevance, got {gain}"
                )
    split = {
        # Title and text are one text, as in the dev sets of a training run.
        "corpus": Dataset.from_dict({"id": list(documents), "text": list(documents.values())}),
        "queries": Dataset.from_dict({"id": list(relevant), "text": [queries[query] for query in relevant]}),
        "relevant_docs": {query: {key: int(gain) for key, gain in gains.items()} for query, gains in relevant.items()},
        "top_ranked": {query: list(judged[query]) for query in relevant} if reranking else None,
    }
    copies = 0 if reranking else len(documents) - len(set(documents.values()))
    said = (f"{folder.source('corpus')}: {repeated_in_words(copies, len(documents))}",) if copies else ()
    return Data({"default": {"test": split}}, {}, said)


_SEARCH_FILES = ("corpus", "queries", "qrels_test")
KINDS = {  # name of the folder that the sets of a kind lie in
    "classification": Kind(
        task_type="Classification",
        base=AbsTaskClassification,
        category="t2c",
        main_score="accuracy",
        files=("train", "test"),
        columns=ROLES["knn"],
        read=_classification,
    ),
    "clustering": Kind(
        task_type="Clustering",
        base=AbsTaskClustering,
        category="t2c",
        main_score="v_measure",
        files=("test",),
        columns=ROLES["clustering"],
        read=_clustering,
    ),
    "pair_classification": Kind(
        task_type="PairClassification",
        base=AbsTaskPairClassification,
        category="t2t",
        main_score="max_ap",
        files=("test",),
        columns={"sentence1": "sentence1", "sentence2": "sentence2", "label": "label"},
        read=_pair_classification,
    ),
    "reranking": Kind(
        task_type="Reranking",
        base=AbsTaskRetrieval,
        category="t2t",
        main_score="map_at_1000",
        files=_SEARCH_FILES,
        columns=ROLES["retrieval"],
        read=_reranking,
    ),
    "retrieval": Kind(
        task_type="Retrieval",
        base=AbsTaskRetrieval,
        category="t2t",
        main_score="ndcg_at_10",
        files=_SEARCH_FILES,
        columns=ROLES["retrieval"],
        read=_retrieval,
    ),
    "sts": Kind(
        task_type="STS",
        base=AbsTaskSTS,
        category="t2t",
        main_score="cosine_spearman",
        files=("test",),
        columns=ROLES["sts"],
        read=_sts,
    ),
}
