"""What vectors cost in quality when they are cut or lose bits, by readout, on two sets of real texts.

    python benchmarks/vector_cost.py bundled FOLDER --data-dir DATA --out vector_cost.json

Each model, a checkpoint or a decoder, reads a labelled set (accuracy of the nearest neighbour) and a retrieval set
(nDCG@10) once. Its readouts are fitted on texts that are not scored: plain, whitened, and from pairs, which are two
texts of a label, or a question and its document. Documents are then kept as `embed --truncate-dim --precision` keeps
them, and asked as `search --vectors` asks: with a question that is cut and loses no bits. One column has no unit norm
after the cut, to see what that is worth.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.open import find_decoder
from transferkit.decoder.device import usable_device
from transferkit.files.vectors.precision import CALIBRATED, Precision, Stored, calibrated, quantize
from transferkit.methods.base import Embedder
from transferkit.readout.choose import USUAL
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Readout
from transferkit.runs.checkpoint_folder import is_checkpoint

WIDTHS = (256, 128, 64, 32)
FORMS: tuple[tuple[int | None, Precision], ...] = (
    *((width, "float32") for width in (None, *WIDTHS)),
    *((None, precision) for precision in ("float16", "int8", "binary")),
    *((128, precision) for precision in ("int8", "binary")),
)
RAW = 64  # numbers a vector, of the column without unit norm


@dataclass(frozen=True)
class Set:
    """Texts to fit readouts on with pairs among them, documents, and questions with what answers each."""

    name: str
    measure: str
    fitted: list[str]
    pairs: list[list[int]]
    documents: list[str]
    questions: list[str]
    right: np.ndarray  # (questions, documents)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables and write all that was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="checkpoints, `bundled`, or folders of decoders")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--labelled", default="classification/banking77", help="folder with train and test")
    parser.add_argument(
        "--retrieval", default="retrieval/squad_v1_dev", help="with corpus, queries, qrels_dev and test"
    )
    parser.add_argument("--texts", type=int, default=400, help="documents, and questions, of each set")
    parser.add_argument("--max-length", type=int, default=64, help="tokens of a text that a decoder reads")
    parser.add_argument("--dtype", default="bfloat16", help="in which a decoder computes")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    sets = [
        labelled(given.data_dir / given.labelled, given.texts),
        retrieval(given.data_dir / given.retrieval, given.texts),
    ]
    rows = [row for model in given.models for one in sets for row in measured(model, one, given)]
    print(table(rows))
    if given.out:
        given.out.write_text(json.dumps({"arguments": vars(given), "rows": rows}, indent=2, default=str) + "\n")


def labelled(folder: Path, texts: int) -> Set:
    """Training texts are documents, and what readouts are fitted on; test texts are questions."""
    train, test = (_shuffled(folder / f"{part}.parquet").head(texts) for part in ("train", "test"))
    pairs = []
    for _, rows in train.groupby("label"):
        places = [train.index.get_loc(i) for i in rows.index]
        pairs += [list(pair) for pair in zip(places[::2], places[1::2], strict=False)]
    right = test["label"].to_numpy()[:, None] == train["label"].to_numpy()[None]
    documents = list(train["text"])
    return Set(folder.name, "nearest neighbour", documents, pairs, documents, list(test["text"]), right)


def retrieval(folder: Path, texts: int) -> Set:
    """Readouts are fitted on the questions of dev and their documents; those of test are scored."""
    corpus, queries = (
        pd.read_parquet(folder / f"{part}.parquet").set_index("_id")["text"] for part in ("corpus", "queries")
    )
    dev, test = (_shuffled(folder / f"qrels_{part}.parquet").head(texts) for part in ("dev", "test"))
    fitted = [text for row in dev.to_dict("records") for text in (queries[row["query-id"]], corpus[row["corpus-id"]])]
    # Those that answer, and others up to the number.
    shown = list(dict.fromkeys([*test["corpus-id"], *corpus.index]))[: max(texts, test["corpus-id"].nunique())]
    asked = list(dict.fromkeys(test["query-id"]))
    right = np.zeros((len(asked), len(shown)), dtype=bool)
    for row in test.to_dict("records"):
        right[asked.index(row["query-id"]), shown.index(row["corpus-id"])] = True
    pairs = [[2 * i, 2 * i + 1] for i in range(len(dev))]
    return Set(folder.name, "nDCG@10", fitted, pairs, list(corpus[shown]), list(queries[asked]), right)


def _shuffled(file: Path) -> pd.DataFrame:
    return pd.read_parquet(file).sample(frac=1, random_state=0).reset_index(drop=True)


def measured(model: str, one: Set, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a readout."""
    embedder = opened(model, given)
    fitted, documents, questions = (
        embedder.pooled(texts, [""] * len(texts), batch_size=given.batch_size)
        for texts in (one.fitted, one.documents, one.questions)
    )
    fitter, found = Fitter(fitted, torch.tensor(one.pairs)), []
    for kind, settings in reversed(USUAL.items()):
        readout = fitter.fit(settings)
        scores = {
            f"{width or 'all'} {precision}".removesuffix(" float32"): scored(
                readout, documents, questions, one, width, precision
            )
            for width, precision in FORMS
            if width is None or width <= documents.shape[1]
        }
        scores[f"{RAW} without unit norm"] = scored(readout, documents, questions, one, RAW, "float32", normalize=False)
        name = Path(model).name
        found.append({"model": name, "set": one.name, "measure": one.measure, "readout": kind, "scores": scores})
    return found


def opened(model: str, given: argparse.Namespace) -> Embedder:
    """A checkpoint, or a decoder that reads ``max_length`` tokens."""
    if is_checkpoint(model):
        return load(model, device=usable_device(None))
    return find_decoder(model).load(device=usable_device(None), dtype=given.dtype, max_length=given.max_length)


def scored(
    readout: Readout,
    documents: Tensor,
    questions: Tensor,
    one: Set,
    width: int | None,
    precision: Precision,
    *,
    normalize: bool = True,
) -> float:
    """Percent, of documents in this form and questions that are cut alone."""
    kept, asked = (readout.finished(x, count=width, normalize=normalize).numpy() for x in (documents, questions))
    ranges = calibrated(kept) if precision in CALIBRATED else None
    stored = Stored(quantize(kept, precision, ranges), precision, kept.shape[1], ranges)
    order = np.argsort(-(asked @ stored.whole().astype(np.float32).T), axis=1, kind="stable")
    hits = np.take_along_axis(one.right, order, axis=1)
    if one.measure == "nearest neighbour":
        return 100 * float(hits[:, 0].mean())
    gains = 1 / np.log2(np.arange(2, 12))
    best = np.array([gains[: min(10, count)].sum() for count in one.right.sum(axis=1)])
    return 100 * float(((hits[:, :10] * gains).sum(axis=1) / best).mean())


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    columns = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    lines = [["model", "set", "readout", *columns], ["---"] * 3 + ["---:"] * len(columns)]
    for row in rows:
        cells = [f"{row['scores'][name]:.1f}" if name in row["scores"] else "" for name in columns]
        lines.append([row["model"], f"{row['set']}, {row['measure']}", row["readout"], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
