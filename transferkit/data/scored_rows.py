"""Rows of sets that are scored: what their columns must hold, and how the three tables of retrieval fit together."""

from collections import Counter

from transferkit.data.tables import Columns, Source, TableReader, read_columns
from transferkit.errors import ConfigError
from transferkit.files.cells import Check

CHECKS: dict[str, Check] = {  # role -> what its values must be, in sets that are trained on too
    "anchor": "text",
    "positive": "text",
    "negative": "text",
    "text": "text",
    "label": "label",
    "sentence1": "text",
    "sentence2": "text",
    "score": "number",
    "id": "id",
    "query_id": "id",
    "corpus_id": "id",
    "relevance": "number",
}


def read_queries(reader: TableReader, source: Source) -> dict[str, str]:
    """Query id -> text."""
    return _by_id(source, reader.read(source, ("id", "text")))


def read_corpus(reader: TableReader, source: Source) -> dict[str, str]:
    """Document id -> title, line break and text; of a document without the one only the other."""
    columns = {role: reader.columns[role] for role in ("id", "title", "text")}
    values = read_columns(source, columns, optional=frozenset({"title"}))
    rows = reader.check(source, values, {"id": "id", "title": "title", "text": "title"})
    titles = rows.get("title", [""] * len(rows["id"]))
    documents = ["\n".join(part for part in pair if part.strip()) for pair in zip(titles, rows["text"], strict=True)]
    for number, document in enumerate(documents, start=1):
        if not document:
            reader.refuse_row(source, number, role="text", problem="expected a title or a text, got neither")
    found = _by_id(source, {"id": rows["id"], "text": documents})
    return {identity: document for identity, document in found.items() if document}


def read_judgements(
    reader: TableReader, source: Source, queries: dict[str, str], documents: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Query id -> id of each judged document -> relevance."""
    rows = reader.read(source, ("query_id", "corpus_id", "relevance"))
    judged: dict[str, dict[str, float]] = {}
    triples = zip(rows["query_id"], rows["corpus_id"], rows["relevance"], strict=True)
    for number, (query, document, gain) in enumerate(triples, start=1):
        if query not in queries:
            reader.refuse_row(source, number, role="query_id", problem=f"no query has the id {query!r}")
        elif document not in documents:
            reader.refuse_row(source, number, role="corpus_id", problem=f"no document has the id {document!r}")
        else:
            known = judged.setdefault(query, {}).setdefault(document, gain)
            if known != gain:
                problem = f"judged {known:g} before for {query!r} and {document!r}, and {gain:g} here"
                reader.refuse_row(source, number, role="relevance", problem=problem)
    return judged


def relevant_only(source: Source, judged: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The judgements above 0, and the queries that have one.

    Raises:
        ConfigError: there is none.
    """
    kept = {query: {document: gain for document, gain in gains.items() if gain > 0} for query, gains in judged.items()}
    relevant = {query: gains for query, gains in kept.items() if gains}
    if not relevant:
        raise ConfigError(f"{source}: no query has a relevant document")
    return relevant


def repeated_in_words(copies: int, documents: int) -> str:
    """That so many documents stand there twice, and what that means."""
    return (
        f"{copies:,} of {documents:,} documents repeat the text of an earlier one and count apart, as in mteb, so a "
        "query that finds the copy is wrong; keep one of each, or judge them all"
    )


def check_scores(source: Source, scores: list[float]) -> None:
    """Refuse scores that nothing can be correlated with."""
    if len(set(scores)) < 2:
        raise ConfigError(f"{source}: all {len(scores)} scores are equal, so no correlation exists")


def check_labels(source: Source, labels: list[str]) -> None:
    """Refuse labels that tell nothing apart."""
    if (number := len(set(labels))) < 2:
        raise ConfigError(f"{source}: expected at least two labels, got {number}")


def check_classes(source: Source, labels: list[str], train: Source, train_labels: list[str]) -> None:
    """Refuse labels to be found that no labelled text has, or labelled texts that are all alike."""
    if not set(labels) & set(train_labels):
        raise ConfigError(f"{source}: none of its labels occurs in {train.path or train}")
    check_labels(train, train_labels)


def _by_id(source: Source, rows: Columns) -> dict[str, str]:
    found = dict(zip(rows["id"], rows["text"], strict=True))
    if len(found) < len(rows["id"]):
        twice = Counter(rows["id"]).most_common(1)[0][0]
        raise ConfigError(f"{source}: the id {twice!r} stands twice, expected every id once")
    return found
