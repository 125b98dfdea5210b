"""What an old index is worth to a new embedder: nearest neighbours and similarities through the map of `bridge`.

    python benchmarks/bridge_worth.py OLD NEW --data-dir DATA --sizes 5000,20000,100000 --out bridge.json

OLD and NEW are checkpoints or run folders. Of each labelled set OLD reads the training texts, which are the index, and
the test texts are asked: by OLD itself, by NEW through the map, and by NEW with an index of its own. The score is how
often the nearest text has the right label. Of stsbenchmark one sentence is read by OLD and the other is asked; the
score is Spearman's correlation. The map is fitted once on so many texts of the training pairs of DATA, and once on the
set's own index, which is what one has without any other text. Vectors are kept in --index, so it goes on where it was
stopped.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from scipy.stats import spearmanr

from transferkit.bridges.fit import Sides, carried, fit
from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.spaces import Map
from transferkit.embed.once import kept_vectors
from transferkit.files.vectors.precision import Vectors
from transferkit.methods.base import Embedder

LABELLED = ("clinc150", "banking77", "hwu64")
STS = "stsbenchmark"
ASKED = 2000  # test texts of a set, drawn once
LONGEST = 400  # characters of a text that the map is fitted on: decoders read so many tokens at most


@dataclass(frozen=True)
class Row:
    """A set with a map: scores in percent, and what the map keeps of OLD's ten nearest on its own held-out texts."""

    set: str
    fitted_on: str
    texts: int
    old: float
    bridged: float
    new: float
    kept: float


@dataclass(frozen=True)
class Readers:
    """Both embedders, texts -> vectors."""

    old: Callable[[Sequence[str]], Vectors]
    new: Callable[[Sequence[str]], Vectors]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("old", "new"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--sizes", default="5000,20000,100000")
    parser.add_argument("--index", type=Path, default=Path("runs/bridge-worth"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    sizes = [int(size) for size in given.sizes.split(",")]
    readers = Readers(*(_reader(one, given.index, given.batch_size) for one in (given.old, given.new)))
    maps: list[tuple[str, int, Map, float]] = []
    pool = _pool(given.data_dir, max(sizes))
    for size in sizes:
        # Block by block, so that what a smaller size has read is not read again.
        old, new = (
            np.concatenate([read(block) for block in _blocks(pool[:size])]) for read in (readers.old, readers.new)
        )
        maps.append(_map("training pairs", old, new))
    rows: list[Row] = []
    for name in (*LABELLED, STS):
        for row in _of_set(name, given.data_dir, readers, maps):
            rows.append(row)
            print(
                " | ".join(f"{value:.1f}" if isinstance(value, float) else str(value) for value in asdict(row).values())
            )
    if given.out is not None:
        given.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _of_set(name: str, data: Path, readers: Readers, general: list[tuple[str, int, Map, float]]) -> list[Row]:
    if name == STS:
        table = pd.read_parquet(data / "sts" / name / "test.parquet")
        index, asked, judge = list(table["sentence1"]), list(table["sentence2"]), _correlation(table["score"])
    else:
        train, test = (
            pd.read_parquet(data / "classification" / name / f"{part}.parquet") for part in ("train", "test")
        )
        test = test.sample(min(ASKED, len(test)), random_state=0)
        index, asked = list(train["text"]), list(test["text"])
        judge = _nearest(np.array(train["label"]), np.array(test["label"]))
    of_index = readers.old(index), readers.new(index)
    of_asked = readers.old(asked), readers.new(asked)
    alone = judge(of_index[0], of_asked[0]), judge(of_index[1], of_asked[1])
    distinct = sorted({text: place for place, text in enumerate(index)}.values())
    own = _map("its own index", *(np.asarray(one[distinct]) for one in of_index))
    return [
        Row(name, on, texts, alone[0], judge(of_index[0], carried(one, of_asked[1])), alone[1], kept)
        for on, texts, one, kept in (*general, own)
    ]


def _map(on: str, old: Vectors, new: Vectors) -> tuple[str, int, Map, float]:
    found = fit(Sides({"document": old}, {"document": new}, {"document": ""}, readout="none"))
    return on, found.texts, found.map, found.kept.nearest


def _nearest(train: Any, test: Any) -> Callable[[Vectors, Vectors], float]:
    def score(index: Vectors, asked: Vectors) -> float:
        nearest = np.concatenate([(asked[i : i + 256] @ index.T).argmax(1) for i in range(0, len(asked), 256)])
        return 100 * float((train[nearest] == test).mean())

    return score


def _correlation(gold: Any) -> Callable[[Vectors, Vectors], float]:
    return lambda index, asked: 100 * float(spearmanr((index * asked).sum(1), gold).statistic)


def _reader(checkpoint: Path, folder: Path, batch_size: int) -> Callable[[Sequence[str]], Vectors]:
    embedder: Embedder = load(checkpoint)
    console = Console(stderr=True)
    return lambda texts: kept_vectors(
        embedder,
        checkpoint,
        texts,
        instruction=embedder.usual_instruction("document"),
        folder=folder,
        batch_size=batch_size,
        console=console,
    )


def _pool(data: Path, most: int) -> list[str]:
    """Texts of all training pairs, both sides, in a fixed random order."""
    found: dict[str, None] = {}
    for file in sorted((data / "pairs").glob("*/train.parquet")):
        table = pd.read_parquet(file)
        for column in ("query", "positive"):
            if column in table:
                found.update(dict.fromkeys(text for text in table[column] if 0 < len(text.strip()) <= LONGEST))
    texts = list(found)
    if len(texts) < most:
        raise SystemExit(
            f"{data / 'pairs'}: holds {len(texts):,} short texts, expected at least {most:,}; ask for fewer"
        )
    return random.Random(0).sample(texts, most)


def _blocks(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[i : i + 5000] for i in range(0, len(texts), 5000)]


if __name__ == "__main__":
    main()
