"""Dev sets scored inside the training loop: texts that need a vector, and the score of those vectors."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from transferkit.config.datasets import ROLES, DataSection, DevSet
from transferkit.data.examples import FEWEST_TEXTS, held_out
from transferkit.data.scored_rows import (
    CHECKS,
    check_classes,
    check_labels,
    check_scores,
    read_corpus,
    read_judgements,
    read_queries,
    relevant_only,
)
from transferkit.data.scores import Vectors, agreement, knn_accuracy, ndcg_at_10, spearman, v_measure
from transferkit.data.tables import Columns, Source, TableReader, local_source
from transferkit.errors import ConfigError, RunError

TEXTS = 500  # of kind `texts` where no limit is given: their pairs are as many as half the square
OTHERS_PER_ROW = 5  # under `limit`: so many labelled texts or documents a scored row
Item = TypeVar("Item")


@dataclass(frozen=True)
class DevSetData:
    """A dev set, read. ``texts[i]`` is embedded with ``instructions[i]``; ``score`` takes one vector a text.

    ``counts`` says what was read: ``skipped_rows``, and for retrieval ``queries``, ``documents`` and
    ``dropped_queries`` (those without a relevant document). ``sha256`` covers texts and gold data.
    """

    name: str
    kind: Literal["knn", "sts", "retrieval", "clustering", "texts"]
    select: bool
    texts: list[str]
    instructions: list[str]
    sha256: str
    counts: dict[str, int]
    metric: Callable[[Vectors], float] = field(repr=False)

    def score(self, vectors: Vectors) -> float:
        """The score in percent, higher is better.

        knn: nearest-neighbour accuracy; sts: Spearman's rho; retrieval: nDCG@10; clustering: V-measure; texts:
        Spearman's rho of the pairwise cosines and a teacher's. Those of sts and retrieval are the numbers that
        ``transferkit evaluate`` gives on the same texts under the same instructions; there a classification is a
        logistic regression on a few texts a label, and a clustering the mean over ten samples.

        Args:
            vectors: (texts, d), fp32 array or CSR matrix, of any norm; zero rows are allowed.

        Raises:
            RunError: not one vector a text, or values that are not finite.
        """
        if vectors.shape[0] != len(self.texts):
            raise RunError(f"dev set {self.name!r}: expected {len(self.texts)} vectors, got {vectors.shape[0]}")
        values = vectors if isinstance(vectors, np.ndarray) else vectors.data
        if not np.isfinite(values).all():
            raise RunError(f"dev set {self.name!r}: vectors hold NaN or infinity; lower the learning rate")
        return self.metric(vectors)

    @property
    def before_readout(self) -> bool:
        """Whether a readout is no part of its score: what a teacher teaches ends before it, as the loss does."""
        return self.kind == "texts"

    def taught(self, vectors: npt.NDArray[np.float32]) -> "DevSetData":
        """A set of texts alone that can be scored: with its teacher's vectors (texts, d_t), in their order."""
        return replace(self, metric=partial(agreement, gold=vectors))


def load_dev_sets(section: DataSection, *, data_dir: Path | None, teacher: str | None = None) -> list[DevSetData]:
    """All dev sets of the recipe, in its order. Those of texts alone have no score before :meth:`DevSetData.taught`.

    ``limit: n`` scores a fixed random sample (seed 0) of n rows; knn compares them with a sample of up to 5 n
    labelled texts, retrieval with all documents relevant to them and a sample of up to 5 n others. So a score
    under a limit compares with scores under the same limit only.

    Args:
        section: the recipe's ``data``.
        data_dir: what relative paths start from; None: the current folder.
        teacher: what tells it from another one; a score of texts alone compares under one teacher only.

    Raises:
        ConfigError: a missing file or column, a bad row under ``on_bad_row: stop``, or a useless set.
        RunError: the Hub cannot be reached.
    """
    loaders: dict[str, Callable[[_Reader], DevSetData]] = {
        "knn": _load_knn,
        "sts": _load_sts,
        "retrieval": _load_retrieval,
        "clustering": _load_clustering,
        "texts": partial(_load_texts, teacher=teacher),
    }
    return [loaders[spec.kind](_Reader(spec, data_dir, section.on_bad_row)) for spec in section.dev]


class _Reader(TableReader):
    """Reads the tables of one dev set."""

    def __init__(self, spec: DevSet, data_dir: Path | None, on_bad_row: Literal["stop", "skip"]) -> None:
        super().__init__(columns={**ROLES[spec.kind], **spec.columns}, checks=CHECKS, on_bad_row=on_bad_row)
        self.spec = spec
        self.data_dir = data_dir

    def source(self, path: str | None, *, subset: str | None, split: str) -> Source:
        spec, set_key = self.spec, f"data.dev {self.spec.name!r}"
        if spec.path is not None:
            assert path is not None  # the recipe's validators see to it
            return local_source(set_key, path, self.data_dir)
        return Source(
            set_key, hub_id=spec.hub_id, builtin=spec.builtin, subset=subset, split=split, revision=spec.revision
        )

    def part(self, path: str | None, *, subset: str) -> Source:
        """Queries or corpus of a retrieval set: on the Hub their one split has their name."""
        return self.source(path, subset=subset, split=self.spec.split if self.spec.builtin else subset)

    def finish(
        self,
        texts: list[str],
        instructions: list[str],
        metric: Callable[..., float],
        *,
        gold: dict[str, Any],
        counts: dict[str, int],
    ) -> DevSetData:
        """The dev set; ``gold`` is what ``metric`` takes beside the vectors, by keyword."""
        identity = json.dumps([self.spec.kind, texts, instructions, gold])
        return DevSetData(
            name=self.spec.name,
            kind=self.spec.kind,
            select=self.spec.select,
            texts=texts,
            instructions=instructions,
            sha256=sha256(identity.encode()).hexdigest(),
            counts={"skipped_rows": self.skipped_rows, **counts},
            metric=partial(metric, **gold),
        )


def _load_knn(reader: _Reader) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    queries = _sampled(reader.read(source, ("text", "label")), spec.limit)
    train_source = reader.source(spec.train_path, subset=spec.subset, split=spec.train_split)
    train = reader.read(train_source, ("text", "label"))
    train = _sampled(train, spec.limit and OTHERS_PER_ROW * spec.limit)
    check_classes(source, queries["label"], train_source, train["label"])
    texts = queries["text"] + train["text"]
    return reader.finish(
        texts,
        [spec.instruction] * len(texts),
        knn_accuracy,
        gold={"query_labels": queries["label"], "train_labels": train["label"]},
        counts={},
    )


def _load_sts(reader: _Reader) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    pairs = _sampled(reader.read(source, ("sentence1", "sentence2", "score")), spec.limit)
    check_scores(source, pairs["score"])
    texts = pairs["sentence1"] + pairs["sentence2"]
    instructions = [spec.instruction] * len(texts)
    return reader.finish(texts, instructions, spearman, gold={"gold": pairs["score"]}, counts={})


def _load_clustering(reader: _Reader) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    rows = _sampled(reader.read(source, ("text", "label")), spec.limit)
    check_labels(source, rows["label"])
    instructions = [spec.instruction] * len(rows["text"])
    return reader.finish(rows["text"], instructions, v_measure, gold={"labels": rows["label"]}, counts={})


def _load_texts(reader: _Reader, *, teacher: str | None) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    texts = list(dict.fromkeys(reader.read(source, ("text",))["text"]))
    if spec.part is not None:
        try:
            out = held_out(texts)
        except ValueError as problem:
            raise ConfigError(f"{source}: {problem}; give more texts") from None
        texts = [text for text in texts if text in out]
    texts = _sample(texts, spec.limit or TEXTS)
    if len(texts) < FEWEST_TEXTS:
        raise ConfigError(f"{source}: expected at least {FEWEST_TEXTS} different texts, got {len(texts)}")
    return reader.finish(texts, [spec.instruction] * len(texts), _untaught, gold={"teacher": teacher}, counts={})


def _untaught(vectors: Vectors, *, teacher: str | None) -> float:
    raise RunError("a dev set of kind 'texts' has no score before its teacher has read the texts")


def _load_retrieval(reader: _Reader) -> DevSetData:
    """Without files: subsets ``corpus``, ``queries`` and ``default``, or the one named, with the judgements."""
    spec = reader.spec
    queries = read_queries(reader, reader.part(spec.path, subset="queries"))
    documents = read_corpus(reader, reader.part(spec.corpus_path, subset="corpus"))
    qrels = reader.source(spec.qrels_path, subset=spec.subset or "default", split=spec.split)
    judged = relevant_only(qrels, read_judgements(reader, qrels, queries, documents))
    kept = _sample(sorted(judged), spec.limit)  # by id, so that the order of the judgements does not matter
    corpus = _kept_documents(documents, judged, kept, spec.limit)
    places = {document: place for place, document in enumerate(corpus)}
    relevant = [{places[document]: gain for document, gain in judged[query].items()} for query in kept]
    document_instruction = spec.instruction if spec.document_instruction is None else spec.document_instruction
    return reader.finish(
        [queries[query] for query in kept] + [documents[document] for document in places],
        [spec.instruction] * len(kept) + [document_instruction] * len(places),
        ndcg_at_10,
        gold={"relevant": relevant},
        counts={
            "queries": len(kept),
            "documents": len(places),
            "dropped_queries": len(queries) - len(judged),
        },
    )


def _kept_documents(
    documents: dict[str, str], judged: dict[str, dict[str, float]], kept: list[str], limit: int | None
) -> list[str]:
    if limit is None:
        return list(documents)
    relevant = {document for query in kept for document in judged[query]}
    others = [document for document in documents if document not in relevant]
    wanted = relevant | set(_sample(others, OTHERS_PER_ROW * limit))
    return [document for document in documents if document in wanted]


def _sampled(rows: Columns, limit: int | None) -> Columns:
    places = _sample(range(len(next(iter(rows.values())))), limit)
    return {role: [values[place] for place in places] for role, values in rows.items()}


def _sample(items: Sequence[Item], limit: int | None) -> list[Item]:
    """A fixed random sample in the order of ``items``; None: all of them."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[place] for place in np.sort(np.random.default_rng(0).permutation(len(items))[:limit])]
