"""Dev sets scored inside the training loop: texts that need a vector, and the score of those vectors."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from transferkit.config.datasets import ROLES, DataSection, DevSet
from transferkit.data.dev_set import DevSetData, Part, Places, Rows, halves
from transferkit.data.examples import FEWEST_TEXTS
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
from transferkit.data.scores import Metric, Outcomes, Vectors, clustering, knn, retrieval, sts
from transferkit.data.split import held_out, picked
from transferkit.data.tables import Columns, Source, TableReader, local_source
from transferkit.errors import ConfigError, RunError

TEXTS = 500  # of kind `texts` where no limit is given: their pairs are as many as half the square
OTHERS_PER_ROW = 5  # under `limit`: so many labelled texts or documents a scored row
Item = TypeVar("Item")


def load_dev_sets(section: DataSection, *, data_dir: Path | None) -> list[DevSetData]:
    """All dev sets of the recipe, in its order. Those of texts alone have no score before :meth:`DevSetData.taught`.

    ``limit: n`` scores a fixed random sample (seed 0) of n rows; knn compares them with a sample of up to 5 n
    labelled texts, retrieval with all documents relevant to them and a sample of up to 5 n others. So a score
    under a limit compares with scores under the same limit only.

    Args:
        section: the recipe's ``data``.
        data_dir: what relative paths start from; None: the current folder.

    Raises:
        ConfigError: a missing file or column, a bad row under ``on_bad_row: stop``, or a useless set.
        RunError: the Hub cannot be reached.
    """
    loaders: dict[str, Callable[[_Reader], DevSetData]] = {
        "knn": _load_knn,
        "sts": _load_sts,
        "retrieval": _load_retrieval,
        "clustering": _load_clustering,
        "pairs": _load_pairs,
        "texts": _load_texts,
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
        *,
        rows: Sequence[tuple[str, Any]],
        part: Callable[[Places], Part],
        counts: dict[str, int] | None = None,
    ) -> DevSetData:
        """The dev set.

        Args:
            texts: of all its rows.
            instructions: one a text.
            rows: text and truth of each row that is scored, see :func:`transferkit.data.dev_set.halves`.
            part: some of them -> their texts and metric, with its gold data.
            counts: what was read.
        """
        parts: dict[Rows, Part] = {"all": part(np.arange(len(rows)))}
        found = halves([key for key, _ in rows], [truth for _, truth in rows]) if self.spec.select else None
        if found is not None:
            parts["choosing"], parts["reporting"] = map(part, found)
        gold = parts["all"].metric.gold
        # How texts alone are read is their teacher's to say, who is known once a run begins; the record names both.
        read = None if self.spec.kind == "texts" else instructions
        identity = [self.spec.kind, texts, read, gold, *(["halves"] if found is not None else [])]
        return DevSetData(
            name=self.spec.name,
            kind=self.spec.kind,
            select=self.spec.select,
            texts=texts,
            instructions=instructions,
            sha256=sha256(json.dumps(identity).encode()).hexdigest(),
            counts={"skipped_rows": self.skipped_rows, **(counts or {})},
            parts=parts,
        )


def _load_knn(reader: _Reader) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    queries = reader.read(source, ("text", "label"))
    if spec.part is not None:
        out = held_out(source, queries)
        train_source, train = source, picked(queries, [not one for one in out])
        queries = picked(queries, out)
    else:
        train_source = reader.source(spec.train_path, subset=spec.subset, split=spec.train_split)
        train = reader.read(train_source, ("text", "label"))
    queries = _sampled(queries, spec.limit)
    train = _sampled(train, spec.limit and OTHERS_PER_ROW * spec.limit)
    check_classes(source, queries["label"], train_source, train["label"])
    texts = queries["text"] + train["text"]
    labelled = np.arange(len(queries["text"]), len(texts))

    def part(rows: Places) -> Part:
        labels = [queries["label"][row] for row in rows]
        metric = knn(query_labels=labels, train_labels=train["label"])
        return Part(len(rows), np.concatenate([rows, labelled]), metric)

    instructions = [spec.instruction] * len(texts)
    return reader.finish(texts, instructions, rows=list(zip(queries["text"], queries["label"], strict=True)), part=part)


def _load_sts(reader: _Reader) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    pairs = _sampled(reader.read(source, ("sentence1", "sentence2", "score")), spec.limit)
    check_scores(source, pairs["score"])
    first, second, gold = pairs["sentence1"], pairs["sentence2"], pairs["score"]

    def part(rows: Places) -> Part:
        both = np.concatenate([rows, rows + len(gold)])
        return Part(len(rows), both, sts(gold=[gold[row] for row in rows]))

    keys = ["\0".join(sorted(both)) for both in zip(first, second, strict=True)]  # one way round or the other
    instructions = [spec.instruction] * (2 * len(gold))
    return reader.finish(first + second, instructions, rows=list(zip(keys, gold, strict=True)), part=part)


def _load_clustering(reader: _Reader) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    rows = _sampled(reader.read(source, ("text", "label")), spec.limit)
    check_labels(source, rows["label"])
    texts, labels = rows["text"], rows["label"]

    def part(chosen: Places) -> Part:
        return Part(len(chosen), chosen, clustering(labels=[labels[row] for row in chosen]))

    instructions = [spec.instruction] * len(texts)
    return reader.finish(texts, instructions, rows=list(zip(texts, labels, strict=True)), part=part)


def _load_texts(reader: _Reader) -> DevSetData:
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    rows = reader.read(source, ("text",))
    if spec.part is not None:
        rows = picked(rows, held_out(source, rows))
    texts = _sample(list(dict.fromkeys(rows["text"])), spec.limit or TEXTS)
    if len(texts) < FEWEST_TEXTS:
        raise ConfigError(f"{source}: expected at least {FEWEST_TEXTS} different texts, got {len(texts)}")

    def part(rows: Places) -> Part:
        return Part(len(rows), rows, Metric(_untaught, np.sum, {}))

    instructions = [spec.instruction] * len(texts)
    return reader.finish(texts, instructions, rows=list(zip(texts, texts, strict=True)), part=part)


def _untaught(vectors: Vectors) -> Outcomes:
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
    counts = {
        "queries": len(kept),
        "documents": len(places),
        "repeated_documents": len(places) - len({documents[document] for document in places}),
        "dropped_queries": len(queries) - len(judged),
    }
    texts = [documents[document] for document in places]
    return _finished_retrieval(reader, kept, [queries[query] for query in kept], texts, relevant, counts)


def _load_pairs(reader: _Reader) -> DevSetData:
    """Each different anchor is a query, each different positive a document: those of other rows are wrong for it."""
    spec = reader.spec
    source = reader.source(spec.path, subset=spec.subset, split=spec.split)
    every = reader.read(source, ("anchor", "positive"))
    rows = every if spec.part is None else picked(every, held_out(source, every))
    judged: dict[str, dict[str, float]] = {}
    for anchor, positive in zip(rows["anchor"], rows["positive"], strict=True):
        judged.setdefault(anchor, {})[positive] = 1.0
    kept = _sample(list(judged), spec.limit)
    documents = {positive: positive for positive in every["positive"]}
    corpus = _kept_documents(documents, judged, kept, spec.limit)
    places = {document: place for place, document in enumerate(corpus)}
    relevant = [{places[document]: gain for document, gain in judged[query].items()} for query in kept]
    return _finished_retrieval(reader, kept, kept, corpus, relevant, {"queries": len(kept), "documents": len(corpus)})


def _finished_retrieval(
    reader: _Reader,
    keys: list[str],
    queries: list[str],
    documents: list[str],
    relevant: list[dict[int, float]],
    counts: dict[str, int],
) -> DevSetData:
    """Queries with their ids, documents, and place of a document -> relevance of each query."""
    spec = reader.spec
    document_instruction = spec.instruction if spec.document_instruction is None else spec.document_instruction

    def part(rows: Places) -> Part:
        documents_at = np.arange(len(queries), len(queries) + len(documents))
        metric = retrieval(relevant=[relevant[row] for row in rows])
        return Part(len(rows), np.concatenate([rows, documents_at]), metric)

    return reader.finish(
        queries + documents,
        [spec.instruction] * len(queries) + [document_instruction] * len(documents),
        rows=list(zip(queries, keys, strict=True)),
        part=part,
        counts=counts,
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
