"""Sets of texts alone: how they are read, what is held out of them, and how a held-out part is scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr

from transferkit.config.datasets import DataSection
from transferkit.data.dev_sets import DevSetData, load_dev_sets
from transferkit.data.examples import text_ids
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.errors import ConfigError, RunError

TEXTS = [f"text number {i}" for i in range(240)]


def section(train: dict[str, Any], dev: dict[str, Any], on_bad_row: str = "stop") -> DataSection:
    both = {"train": [{"name": "u", "kind": "texts", **train}], "dev": [{"name": "u", "kind": "texts", **dev}]}
    return DataSection.model_validate({**both, "on_bad_row": on_bad_row})


def load(folder: Path, batch_size: int = 8, **train: Any) -> TrainingData:
    options = {key: train.pop(key) for key in ("on_bad_row",) if key in train}
    return load_training_data(
        section(train, {"path": "d.txt"}, **options), data_dir=folder, batch_size=batch_size, seed=1
    )


def dev_set(folder: Path, **dev: Any) -> DevSetData:
    (found,) = load_dev_sets(section({"path": "t.txt"}, dev), data_dir=folder)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n\n", encoding="utf-8")
    return tmp_path


def test_a_text_a_line_is_a_table_of_one_column(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes('\ufeffa \u2028 cat\r\n"a", dog\n  one\tmore \n \n'.encode())
    (one,) = load(tmp_path, path="t.txt").sets
    assert one.anchors == ["a \u2028 cat", '"a", dog', "  one\tmore "]
    assert (one.positives, one.negatives) == ([], [])


def test_a_blank_line_between_texts_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nb\n\nc\nd\n")
    with pytest.raises(ConfigError, match=r"t\.txt, row 3, column 'text': expected text, got an empty value; .*skip"):
        load(tmp_path, path="t.txt")
    data = load(tmp_path, path="t.txt", on_bad_row="skip")
    assert (data.sets[0].anchors, data.facts()["sets"]["u"]["skipped_rows"]) == (["a", "b", "c", "d"], 1)


def test_pairs_cannot_be_read_from_lines(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nb\n")
    pairs = {"name": "p", "kind": "pairs", "path": "t.txt"}
    data = DataSection.model_validate({"train": [pairs], "dev": [{"name": "d", "kind": "sts", "path": "d.csv"}]})
    with pytest.raises(ConfigError, match=r"t\.txt: no column 'anchor' \(columns there: text;"):
        load_training_data(data, data_dir=tmp_path, batch_size=2, seed=1)


def test_a_batch_has_texts_and_nothing_beside_them(folder: Path) -> None:
    data = load(folder, path="t.txt", instruction="read")
    seen = [text for step in range(30) for text in data.batch(step).anchors]
    assert sorted(seen) == sorted(TEXTS)  # one epoch
    batch = data.batch(0)
    assert batch.inputs() == (batch.anchors, ["read"] * 8)
    assert batch.anchor_ids.tolist() == text_ids(batch.anchors).tolist()
    assert (batch.positives, len(batch.positive_ids), batch.labels) == ([], 0, None)
    parts = [batch.slice(rank, 2) for rank in range(2)]
    assert parts[0].anchors + parts[1].anchors == batch.anchors
    assert all(len(part.positive_ids) == 0 for part in parts)


def test_a_sample_has_each_text_once(folder: Path) -> None:
    texts, instructions = load(folder, path="t.txt", instruction="read").sample(1000, seed=3)
    assert sorted(texts) == sorted(TEXTS)
    assert set(instructions) == {"read"}
    sample = load(folder, path="t.txt", instruction="read").sample_with_pairs(1000, seed=3)
    assert (sorted(sample.texts), sample.pairs) == (sorted(TEXTS), [])


def test_facts_count_texts_and_warn_of_repeated_ones(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(["a", "b", "c", *["a"] * 7]) + "\n")
    facts = load(tmp_path, path="t.txt").facts()
    assert facts["sets"]["u"]["rows"] == 10
    assert facts["sets"]["u"]["duplicate_anchors"] == pytest.approx(0.7)
    assert facts["sets"]["u"]["duplicate_positives"] == 0.0
    assert facts["warnings"][0].startswith("data.train 'u': 70% of the texts repeat an earlier one")


def test_two_texts_teach_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nb\na\n")
    with pytest.raises(ConfigError, match=r"data\.train 'u': .*expected at least 3 different texts, got 2"):
        load(tmp_path, path="t.txt")
    with pytest.raises(ConfigError, match=r"data\.dev 'u': .*expected at least 3 different texts, got 2"):
        dev_set(tmp_path, path="t.txt")


# What is held out


@pytest.mark.parametrize(("count", "expected"), [(100, 50), (240, 50), (700, 70), (8000, 500)])
def test_parts_are_a_tenth_within_bounds_and_never_overlap(tmp_path: Path, count: int, expected: int) -> None:
    texts = [f"text number {i}" for i in range(count)]
    (tmp_path / "t.txt").write_text("\n".join([*texts, *texts[:30]]) + "\n")
    train = load(tmp_path, path="t.txt", part="train").sets[0].anchors
    dev = dev_set(tmp_path, path="t.txt", part="dev").texts
    assert len(dev) == expected
    assert set(dev).isdisjoint(train)
    assert set(dev) | set(train) == set(texts)


def test_what_is_held_out_follows_from_the_texts_and_not_from_their_order(folder: Path) -> None:
    before = set(dev_set(folder, path="t.txt", part="dev").texts)
    (folder / "t.txt").write_text("\n".join(TEXTS[::-1]) + "\n")
    assert set(dev_set(folder, path="t.txt", part="dev").texts) == before
    more = [f"another {i}" for i in range(20)]
    (folder / "t.txt").write_text("\n".join([*TEXTS, *more]) + "\n")
    kept = set(dev_set(folder, path="t.txt", part="dev").texts) & set(TEXTS)
    assert kept < before  # a text that is new can push one out, and never one in


@pytest.mark.parametrize("part", ["train", "dev"])
def test_too_few_texts_to_hold_any_out_are_one_sentence(tmp_path: Path, part: str) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS[:99]) + "\n")
    words = r"t\.txt: expected at least 100 different texts, 50 of them to be held out, got 99; give more texts$"
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, path="t.txt", part=part) if part == "train" else dev_set(tmp_path, path="t.txt", part=part)


# The score


def test_agreement_is_the_rank_correlation_of_all_cosines(folder: Path) -> None:
    rng = np.random.default_rng(5)
    mine = (rng.normal(size=(12, 4)) * rng.uniform(0.1, 50, size=(12, 1))).astype(np.float32)
    theirs = (mine[:, :3] + rng.normal(size=(12, 3)) * 5).astype(np.float32)
    one = dev_set(folder, path="t.txt", limit=12)
    cosines = [
        [float(x[i] @ x[j]) for i in range(12) for j in range(i)]
        for x in (v.astype(float) / np.linalg.norm(v.astype(float), axis=1, keepdims=True) for v in (mine, theirs))
    ]
    expected = 100 * spearmanr(*cosines).statistic
    assert one.taught(theirs).score(mine) == pytest.approx(expected, abs=1e-3)
    assert one.taught(theirs).score(csr_matrix(mine)) == pytest.approx(expected, abs=1e-3)
    assert one.taught(mine).score(mine) == pytest.approx(100)
    assert one.taught(mine).score(np.ones((12, 4), dtype=np.float32)) == 0.0


def test_a_set_whose_teacher_has_not_read_it_has_no_score(folder: Path) -> None:
    one = dev_set(folder, path="t.txt", limit=12)
    with pytest.raises(RunError, match="no score before its teacher has read the texts"):
        one.score(np.eye(12, dtype=np.float32))


def test_a_dev_set_of_texts_is_limited_and_known_by_them_alone(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(f"text number {i}" for i in range(700)) + "\n")
    assert len(dev_set(tmp_path, path="t.txt").texts) == 500
    assert len(dev_set(tmp_path, path="t.txt", limit=600).texts) == 600
    ways: list[dict[str, Any]] = [{}, {"instruction": "see"}, {"limit": 600}]
    plain, read, longer = (dev_set(tmp_path, path="t.txt", **way).sha256 for way in ways)
    assert plain == read != longer
