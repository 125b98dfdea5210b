"""A folder with one small set of every kind, as `evaluate --tasks-from` takes it."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from zoo import WORDS

LABELS = ("water", "cat", "car")


def write_sets(folder: Path) -> Path:
    """Write the six kinds; beside them a folder that is none."""
    rng = np.random.default_rng(5)

    def text(label: str = "") -> str:
        words = [str(word) for word in rng.choice(WORDS, size=int(rng.integers(4, 10)))]
        return " ".join([*words, label]).strip()

    def labelled(rows: int) -> list[dict[str, Any]]:
        return [{"text": text(LABELS[i % 3]), "label": i % 3} for i in range(rows)]

    table(folder / "classification" / "intents" / "train.parquet", labelled(36))
    table(folder / "classification" / "intents" / "test.csv", labelled(15))
    table(folder / "classification" / "intents" / "oos_test.parquet", labelled(3))
    table(folder / "clustering" / "topics" / "test.parquet", labelled(24))
    scored = [
        {"sentence1": text(), "sentence2": text(), "score": round(float(rng.uniform(0, 5)), 2)} for _ in range(20)
    ]
    table(folder / "sts" / "likeness" / "test.jsonl", scored)
    pairs = [{"sentence1": text("cat"), "sentence2": text("cat"), "label": i % 2} for i in range(12)]
    table(folder / "pair_classification" / "same" / "test.parquet", pairs)
    for kind, name in (("retrieval", "answers"), ("reranking", "candidates")):
        queries = [{"_id": f"q{i}", "text": text()} for i in range(6)]
        corpus = [{"_id": f"d{i}", "title": text() if i % 2 else "", "text": text()} for i in range(30)]
        judged = [(f"q{i}", f"d{(3 * i + j) % 30}", max(0, 2 - j)) for i in range(5) for j in range(4)]
        table(folder / kind / name / "queries.parquet", queries)
        table(folder / kind / name / "corpus.parquet", corpus)
        qrels = [{"query-id": query, "corpus-id": document, "score": gain} for query, document, gain in judged]
        table(folder / kind / name / "qrels_test.parquet", qrels)
    table(folder / "pairs" / "none" / "train.csv", [{"query": "a", "positive": "b"}])
    return folder


def table(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the file's ending names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    match file.suffix:
        case ".parquet":
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        case ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case _:
            with file.open("w", newline="") as opened:
                writer = csv.DictWriter(opened, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    return file
