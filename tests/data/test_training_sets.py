import csv
import json
import os
import subprocess
import sys
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from transferkit.config.datasets import DataSection
from transferkit.data.examples import text_ids
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.errors import ConfigError, RunError

PAIRS = [{"anchor": f"question {i}", "positive": f"answer {i}"} for i in range(20)]
LABELLED = [{"text": f"{'abc'[i % 3]} number {i}", "label": "abc"[i % 3]} for i in range(24)]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """The rows in the format of the file's ending; returns the file's name."""
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path.name


def section(*sets: dict[str, Any], on_bad_row: str = "stop") -> DataSection:
    dev = {"name": "dev", "kind": "sts", "path": "dev.csv"}
    return DataSection.model_validate({"train": list(sets), "dev": [dev], "on_bad_row": on_bad_row})


def load(folder: Path, *sets: dict[str, Any], batch_size: int = 4, seed: int = 1, **more: str) -> TrainingData:
    return load_training_data(section(*sets, **more), data_dir=folder, batch_size=batch_size, seed=seed)


def pairs_set(path: str, **more: Any) -> dict[str, Any]:
    return {"name": "questions", "kind": "pairs", "path": path, **more}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "tsv"])
def test_every_file_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    end = " " if suffix == "tsv" else "\n"  # there a row is a line
    rows = [*PAIRS, {"anchor": f'NA, "quoted"{end}and\ttab é', "positive": "null"}]
    data = load(tmp_path, pairs_set(write(tmp_path / f"a[1].{suffix}", rows)))
    (one,) = data.sets
    assert list(zip(one.anchors, one.positives, strict=True)) == [(r["anchor"], r["positive"]) for r in rows]


def test_same_rows_have_the_same_sha256_in_every_format_and_a_changed_cell_another(tmp_path: Path) -> None:
    hashes = {
        load(tmp_path, pairs_set(write(tmp_path / f"a.{suffix}", PAIRS))).facts()["sha256"]
        for suffix in ("parquet", "jsonl", "csv")
    }
    assert len(hashes) == 1
    moved = [{"anchor": r["anchor"] + r["positive"][0], "positive": r["positive"][1:]} for r in PAIRS]
    assert load(tmp_path, pairs_set(write(tmp_path / "b.csv", moved))).facts()["sha256"] not in hashes


def test_a_rewritten_file_with_its_old_time_is_read_anew_and_nothing_is_left_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    file = tmp_path / "a.jsonl"
    write(file, PAIRS)
    before = file.stat()
    load(tmp_path, pairs_set("a.jsonl"))
    write(file, [{**row, "anchor": row["anchor"].replace("question", "QUESTION")} for row in PAIRS])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert load(tmp_path, pairs_set("a.jsonl")).sets[0].anchors[0] == "QUESTION 0"
    assert not cache.exists()


def test_columns_map_roles_and_limit_takes_the_first_rows(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv", [{"q": r["anchor"], "a": r["positive"], "other": "x"} for r in PAIRS])
    data = load(tmp_path, pairs_set(name, columns={"anchor": "q", "positive": "a"}, limit=5))
    assert data.sets[0].positives == [f"answer {i}" for i in range(5)]


def test_missing_column_names_file_column_the_others_and_the_closest(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv", [{"anchors": "x", "positive": "y"}])
    with pytest.raises(ConfigError, match="no column 'anchor'; did you mean 'anchors'") as caught:
        load(tmp_path, pairs_set(name))
    for part in (
        "a.csv",
        "data.train 'questions'",
        "columns there: anchors, positive",
        "`columns: {anchor: ...}`",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "expected text, got null"),
        ("", "got an empty value"),
        (" \t ", "only blanks"),
        (7, "expected text, got int 7"),
    ],
)
def test_a_bad_value_is_named_by_row_and_column_and_may_be_skipped(tmp_path: Path, value: Any, words: str) -> None:
    rows = [*PAIRS[:2], {"anchor": "x", "positive": value}, *PAIRS[2:]]
    name = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(ConfigError, match=r"a\.jsonl, row 3, column 'positive': .*" + words) as caught:
        load(tmp_path, pairs_set(name))
    assert "\n" not in str(caught.value)
    facts = load(tmp_path, pairs_set(name), on_bad_row="skip").facts()
    assert facts["sets"]["questions"]["rows"] == len(PAIRS)
    assert facts["sets"]["questions"]["skipped_rows"] == 1
    assert facts["warnings"] == ["data.train 'questions': 1 bad rows were skipped"]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_null_negatives_of_triplets_stop_or_are_skipped(tmp_path: Path, suffix: str) -> None:
    rows = [{**row, "negative": None if i == 1 else f"wrong {i}"} for i, row in enumerate(PAIRS)]
    triplets = {"name": "t", "kind": "triplets", "path": write(tmp_path / f"a.{suffix}", rows)}
    with pytest.raises(ConfigError, match="row 2, column 'negative'"):
        load(tmp_path, triplets)
    batch = load(tmp_path, triplets, on_bad_row="skip").batch(0)
    assert [a.split()[1] for a in batch.anchors] == [n.split()[1] for n in batch.negatives]
    assert (batch.negative_ids == text_ids(batch.negatives)).all()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"anchor,positive\n", "holds no rows"),
        ("a.csv", b"anchor,positive\nx,y\n1,2,3\n", r"row 2: expected 2 fields as in the header, got 3"),
        (
            "a.csv",
            b"anchor,positive\nx,y\n\nz,w\n",
            r"row 2, column 'anchor': expected text, got an empty value",
        ),
        ("a.csv", b"anchor,anchor\nx,y\n", "twice in the header"),
        ("a.csv", b"anchor,positive\nd\xe9,y\n", r"cannot be read as UTF-8 \(.*; save the file as UTF-8$"),
        ("a.jsonl", b'{"anchor": "x"}\n{"anchor":\n', "cannot be read as jsonl"),
        ("a.parquet", b"this is no parquet file", "cannot be read as parquet"),
        ("a.md", b"x", "expected a file ending in .parquet, .jsonl, .json, .csv, .tsv, .txt, got '.md'"),
        ("b.csv", None, "no such file"),
    ],
)
def test_a_broken_file_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path, pairs_set(name))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_sets_that_teach_nothing_are_refused_and_many_duplicates_are_a_warning(tmp_path: Path) -> None:
    same = write(tmp_path / "same.csv", [{"anchor": f"q {i}", "positive": "always this"} for i in range(9)])
    with pytest.raises(ConfigError, match="all 9 positives are the same text"):
        load(tmp_path, pairs_set(same))
    some = write(tmp_path / "some.csv", [{"anchor": f"q {i}", "positive": f"a {i % 4}"} for i in range(16)])
    facts = load(tmp_path, pairs_set(some)).facts()
    assert facts["sets"]["questions"]["duplicate_positives"] == 0.75
    assert facts["sets"]["questions"]["duplicate_anchors"] == 0.0
    assert "75% of the positives repeat" in facts["warnings"][0]


@pytest.mark.parametrize("labels", ["aaaa", "abcd"])
def test_a_labelled_set_needs_two_labels_with_two_texts(tmp_path: Path, labels: str) -> None:
    name = write(tmp_path / "a.csv", [{"text": f"t {i}", "label": label} for i, label in enumerate(labels)])
    with pytest.raises(ConfigError, match="at least two labels with two different texts each"):
        load(tmp_path, {"name": "l", "kind": "labelled", "path": name})


@pytest.mark.parametrize("numbered", [False, True])
def test_labelled_batches_pair_different_texts_of_one_label(tmp_path: Path, numbered: bool) -> None:
    rows: list[dict[str, Any]] = [*LABELLED, LABELLED[0], {"text": "alone", "label": "d"}]
    if numbered:
        rows = [{**row, "label": "abcd".index(row["label"])} for row in rows]
    data = load(tmp_path, {"name": "l", "kind": "labelled", "path": write(tmp_path / "a.parquet", rows)}, batch_size=6)
    label_of = {row["text"]: row["label"] for row in rows}
    seen = set()
    for step in range(60):
        batch = data.batch(step)
        assert batch.labels is not None
        assert [label_of[a] for a in batch.anchors] == [label_of[p] for p in batch.positives]
        assert all(a != p for a, p in zip(batch.anchors, batch.positives, strict=True))
        assert Counter(batch.labels.tolist()) == {0: 2, 1: 2, 2: 2}  # labels come without replacement
        seen.update(batch.anchors)
    assert seen == set(label_of) - {"alone"}


def test_batch_is_a_pure_function_of_seed_and_step(tmp_path: Path) -> None:
    sets = (
        pairs_set(write(tmp_path / "a.csv", PAIRS), weight=3.0),
        {"name": "l", "kind": "labelled", "path": write(tmp_path / "b.csv", LABELLED)},
    )
    straight = [load(tmp_path, *sets).batch(step) for step in range(30)]
    resumed = load(tmp_path, *sets)
    order = np.random.default_rng(0).permutation(30)
    for step in order:
        batch = resumed.batch(int(step))
        assert (batch.set_name, batch.anchors, batch.positives) == (
            straight[step].set_name,
            straight[step].anchors,
            straight[step].positives,
        )
    other = load(tmp_path, *sets, seed=2)
    assert any(other.batch(step).anchors != straight[step].anchors for step in range(3))


def test_sets_are_drawn_by_weight_and_rows_without_replacement(tmp_path: Path) -> None:
    a = write(tmp_path / "a.csv", PAIRS)
    data = load(tmp_path, pairs_set(a, weight=3.0), pairs_set(a, name="rare"), batch_size=8)
    batches = [data.batch(step) for step in range(2000)]
    share = sum(batch.set_name == "questions" for batch in batches) / 2000
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 2000)
    for name in ("questions", "rare"):
        drawn = [anchor for batch in batches if batch.set_name == name for anchor in batch.anchors]
        epochs = [drawn[start : start + 20] for start in range(0, len(drawn) - 19, 20)]
        assert all(sorted(epoch) == sorted(r["anchor"] for r in PAIRS) for epoch in epochs)
        assert epochs[0] != epochs[1]


def test_a_set_smaller_than_a_batch_wraps_around(tmp_path: Path) -> None:
    batch = load(tmp_path, pairs_set(write(tmp_path / "a.csv", PAIRS[:3])), batch_size=8).batch(0)
    assert sorted(Counter(batch.anchors).values()) == [2, 3, 3]


def test_slices_of_all_processes_make_the_batch(tmp_path: Path) -> None:
    rows = [{**row, "negative": f"wrong {i}"} for i, row in enumerate(PAIRS)]
    triplets = {"name": "t", "kind": "triplets", "path": write(tmp_path / "a.csv", rows)}
    batch = load(tmp_path, triplets, batch_size=6).batch(0)
    parts = [batch.slice(rank, 3) for rank in range(3)]
    assert [text for part in parts for text in part.negatives] == batch.negatives
    assert [text for part in parts for text in part.anchors] == batch.anchors
    assert (np.concatenate([part.positive_ids for part in parts]) == batch.positive_ids).all()
    assert [len(part) for part in parts] == [2, 2, 2]


def test_text_ids_are_stable_63_bit_hashes() -> None:
    ids = text_ids(["hello", "world", "hello"])
    assert ids.dtype == np.int64
    assert ids[0] == ids[2] != ids[1]
    assert (ids >= 0).all()
    assert ids[0] == int.from_bytes(blake2b(b"hello", digest_size=8).digest(), "little") >> 1


def test_sample_is_distinct_proportional_and_bounded(tmp_path: Path) -> None:
    documents = {"instruction": "find", "document_instruction": ""}
    data = load(
        tmp_path,
        pairs_set(write(tmp_path / "a.csv", PAIRS), weight=3.0, **documents),
        {"name": "l", "kind": "labelled", "path": write(tmp_path / "b.csv", LABELLED), "instruction": "sort"},
    )
    texts, instructions = data.sample(20, seed=5)
    assert len(set(texts)) == 20
    assert instructions.count("sort") == 5
    for text, instruction in zip(texts, instructions, strict=True):
        assert instruction == {"question": "find", "answer": ""}.get(text.split()[0], "sort")
    assert (texts, instructions) == data.sample(20, seed=5)
    assert texts != data.sample(20, seed=6)[0]
    assert sorted(data.sample(1000, seed=5)[0]) == sorted(
        [row[side] for row in PAIRS for side in ("anchor", "positive")] + [row["text"] for row in LABELLED]
    )


def test_an_unreachable_hub_and_an_unknown_id_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    hub = {"name": "h", "kind": "pairs", "hub_id": "nobody/nothing"}

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach it")

    def absent(*_: Any, **__: Any) -> None:
        raise DatasetNotFoundError("long\ntext")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(RunError, match=r"data\.train 'h': Hub dataset 'nobody/nothing' split 'train': the Hub"):
        load(Path(), hub)
    monkeypatch.setattr(datasets, "load_dataset", absent)
    with pytest.raises(ConfigError, match="no such dataset on the Hub, or it is private or gated"):
        load(Path(), hub)


def test_hub_datasets_are_read_by_subset_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    repo = tmp_path / "repo"
    repo.mkdir()
    write(repo / "a.csv", PAIRS)
    (repo / "README.md").write_text(
        "---\nconfigs:\n- config_name: clean\n  data_files:\n  - split: train\n    path: a.csv\n---\n"
    )
    hub = {"name": "h", "kind": "pairs", "hub_id": str(repo), "subset": "clean"}
    assert load(Path(), hub).sets[0].anchors == [row["anchor"] for row in PAIRS]
    with pytest.raises(ConfigError, match="subset 'dirty' split 'train': BuilderConfig 'dirty' not found"):
        load(Path(), {**hub, "subset": "dirty"})
    with pytest.raises(ConfigError, match='Unknown split "tset"'):
        load(Path(), {**hub, "split": "tset"})


def test_importing_data_imports_neither_torch_nor_datasets() -> None:
    code = "import sys, transferkit.data.training_sets; sys.exit(any(m in sys.modules for m in ('torch', 'datasets')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tables_without_a_usable_row_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"a\.json.*: holds no rows"):
        load(tmp_path, {"name": "a", "kind": "pairs", "path": "a.json"})
    write(tmp_path / "b.jsonl", [{"anchor": "x", "positive": None}] * 3)
    with pytest.raises(ConfigError, match=r"none of the 3 rows is usable \(last: column 'positive' is bad\)"):
        load(tmp_path, {"name": "b", "kind": "pairs", "path": "b.jsonl"}, on_bad_row="skip")


def test_a_sample_for_readouts_pairs_no_text_with_itself(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"anchor": "x", "positive": "x"}, {"anchor": "y", "positive": "z"}])
    sample = load(tmp_path, {"name": "a", "kind": "pairs", "path": "a.jsonl"}).sample_with_pairs(10, seed=1)
    assert sorted(sample.texts) == ["y", "z"]
    assert len(sample.pairs) == 1


def test_a_limited_set_of_the_hub_and_a_failure_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    hub = {"name": "h", "kind": "pairs", "hub_id": "org/pairs"}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(PAIRS))
    datasets.disable_progress_bars()  # who has no bars keeps none
    assert load(Path(), {**hub, "limit": 4}).sets[0].anchors == [row["anchor"] for row in PAIRS[:4]]
    assert datasets.are_progress_bars_disabled()
    datasets.enable_progress_bars()

    def broken(*_: Any, **__: Any) -> None:
        raise EOFError("the stream ended\nearly")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(RunError, match=r"cannot be loaded \(the stream ended\)$"):
        load(Path(), hub)
