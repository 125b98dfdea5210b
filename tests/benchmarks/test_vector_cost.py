"""The benchmark of smaller vectors, on a few made-up texts: its figures are those of plain loops."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.small_pretraining import ROOT
from helpers.tiny import Tiny
from zoo import WORDS

sys.path.insert(0, str(ROOT / "benchmarks"))

import vector_cost

from transferkit.readout.readout import Readout


def write_sets(folder: Path) -> None:
    """Six labelled texts a label and part; twelve documents with a question each."""
    texts = [" ".join(np.random.default_rng(i).choice(WORDS, size=5)) for i in range(24)]
    for part, own in (("train", texts[:12]), ("test", texts[12:])):
        (folder / "labelled").mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"text": own, "label": [i % 2 for i in range(12)]})
        table.to_parquet(folder / "labelled" / f"{part}.parquet")
    asks = folder / "asks"
    asks.mkdir()
    ids = [str(i) for i in range(12)]
    pd.DataFrame({"_id": ids, "title": "", "text": texts[:12]}).to_parquet(asks / "corpus.parquet")
    pd.DataFrame({"_id": ids, "text": [text[:12] for text in texts[:12]]}).to_parquet(asks / "queries.parquet")
    for part, own in (("dev", ids[:6]), ("test", ids[6:])):
        rows = pd.DataFrame({"query-id": own, "corpus-id": own, "score": 1})
        rows.to_parquet(asks / f"qrels_{part}.parquet")


def test_every_figure_that_is_printed_is_in_the_file(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sets(tmp_path)
    out = tmp_path / "found.json"
    asked = ["--labelled", "labelled", "--retrieval", "asks", "--dtype", "float32", "--out", str(out)]
    vector_cost.main([str(tiny.target), "--data-dir", str(tmp_path), *asked])
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [(row["set"], row["readout"]) for row in rows] == [
        (name, kind) for name in ("labelled", "asks") for kind in ("none", "whiten", "pairs")
    ]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(rows)
    for line, row in zip(lines[2:], rows, strict=True):
        assert [float(cell) for cell in line.split("|")[4:-1]] == [round(one, 1) for one in row["scores"].values()]
        assert "32 int8" not in row["scores"]
        assert row["scores"]["all float16"] == pytest.approx(row["scores"]["all"], abs=1e-6)


def test_scores_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    documents, questions = (torch.tensor(rng.normal(size=(n, 16)), dtype=torch.float32) for n in (40, 9))
    right = rng.random((9, 40)) < 0.05
    right[:, 0] |= ~right.any(axis=1)
    products = (questions[:, :8] / questions[:, :8].norm(dim=1, keepdim=True)) @ (
        documents[:, :8] / documents[:, :8].norm(dim=1, keepdim=True)
    ).T
    gains, nearest = [], []
    for row, good in zip(products.tolist(), right, strict=True):
        order = sorted(range(40), key=lambda i: -row[i])
        nearest.append(good[order[0]])
        best = sum(1 / np.log2(2 + i) for i in range(min(10, int(good.sum()))))
        gains.append(sum(1 / np.log2(2 + i) for i, place in enumerate(order[:10]) if good[place]) / best)
    for measure, expected in (("nDCG@10", np.mean(gains)), ("nearest neighbour", np.mean(nearest))):
        one = vector_cost.Set("made up", measure, [], [], [], [], right)
        found = vector_cost.scored(Readout.plain(16), documents, questions, one, 8, "float32")
        assert found == pytest.approx(100 * expected)
