"""One file to learn from and to be scored by: what is held out of it, and that no text stands on both sides."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferkit.config.datasets import DataSection
from transferkit.data.dev_set import DevSetData
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.split import same
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.errors import ConfigError

LABELS = ("billing", "login", "refund", "other")
TICKETS = [(f"ticket {i} about {LABELS[i % 4]}", LABELS[i % 4]) for i in range(400)]
PAIRS = [(f"question {i}", f"answer {i}") for i in range(300)]


def write(file: Path, names: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([names, *rows])
    return file


def split(file: Path, kind: str, dev_kind: str, **both: Any) -> tuple[TrainingData, DevSetData]:
    one = {"name": "mine", "path": str(file), **both}
    section = DataSection.model_validate(
        {"train": [{**one, "kind": kind, "part": "train"}], "dev": [{**one, "kind": dev_kind, "part": "dev"}]}
    )
    (dev,) = load_dev_sets(section, data_dir=None)
    return load_training_data(section, data_dir=None, batch_size=8, seed=1), dev


def tickets(tmp_path: Path, rows: list[tuple[str, ...]]) -> tuple[TrainingData, DevSetData]:
    return split(write(tmp_path / "t.csv", ("text", "label"), rows), "labelled", "knn")


def scored(dev: DevSetData) -> list[str]:
    return dev.texts[: dev.parts["all"].rows]


def test_every_label_gives_three_in_ten_and_both_halves_have_all_of_them(tmp_path: Path) -> None:
    data, dev = tickets(tmp_path, TICKETS)
    labels = dict(TICKETS)
    assert Counter(labels[text] for text in scored(dev)) == dict.fromkeys(LABELS, 30)
    assert sorted([*data.sets[0].anchors, *scored(dev)]) == sorted(text for text, _ in TICKETS)
    assert dev.texts[120:] == data.sets[0].anchors  # the nearest neighbours are those that it learns from
    for half in ("choosing", "reporting"):
        part = dev.parts[half]  # type: ignore[index]
        found = Counter(labels[dev.texts[int(place)]] for place in part.places[: part.rows])
        assert found == dict.fromkeys(LABELS, 15)


def test_the_order_of_the_rows_decides_nothing(tmp_path: Path) -> None:
    before = tickets(tmp_path, TICKETS)[1]
    mixed = [TICKETS[int(i)] for i in np.random.default_rng(2).permutation(400)]
    assert set(scored(tickets(tmp_path, mixed)[1])) == set(scored(before))


def test_equal_texts_stay_together_whatever_their_case_and_blanks(tmp_path: Path) -> None:
    copies = [(f" {text.upper()} ", label) for text, label in TICKETS] + [TICKETS[0], (TICKETS[1][0], "other")]
    data, dev = tickets(tmp_path, TICKETS + copies)
    learned = {same(text) for text in data.sets[0].anchors}
    assert len(learned) == 280
    assert not learned & {same(text) for text in scored(dev)}


def test_a_label_of_two_texts_is_learned_and_not_scored(tmp_path: Path) -> None:
    rare = [("one rare ticket", "rare"), ("another rare ticket", "rare"), ("a lone ticket", "lone")]
    data, dev = tickets(tmp_path, TICKETS + rare)
    assert {text for text, _ in rare} <= set(data.sets[0].anchors)
    assert len(scored(dev)) == 120


def test_the_limit_of_training_moves_no_row_to_the_other_side(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", ("text", "label"), TICKETS)
    section = DataSection.model_validate(
        {
            "train": [{"name": "mine", "kind": "labelled", "path": str(file), "part": "train", "limit": 50}],
            "dev": [{"name": "mine", "kind": "knn", "path": str(file), "part": "dev"}],
        }
    )
    data = load_training_data(section, data_dir=None, batch_size=8, seed=1)
    assert len(data.sets[0].anchors) == 50
    assert not set(data.sets[0].anchors) & set(scored(load_dev_sets(section, data_dir=None)[0]))


def test_pairs_are_scored_by_finding_the_partner_among_all(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", ("anchor", "positive"), PAIRS)
    data, dev = split(file, "pairs", "pairs")
    assert dev.counts == {"skipped_rows": 0, "queries": 90, "documents": 300}
    assert not set(data.sets[0].anchors) & set(dev.texts[:90])
    place = {text: i for i, text in enumerate(dev.texts)}
    vectors = np.zeros((390, 300), np.float32)
    for i, (question, answer) in enumerate(PAIRS):
        for text in (question, answer):
            if text in place:
                vectors[place[text], i] = 1.0
    assert dev.score(vectors) == pytest.approx(100.0)
    vectors[:90] = np.roll(vectors[:90], 1, axis=0)
    assert dev.score(vectors) < 5


def test_pairs_that_share_a_text_over_others_stay_together(tmp_path: Path) -> None:
    chained = [(f"Q{i // 2}", f"A{(i + 1) // 2}") for i in range(8)]  # one hangs on the next
    file = write(tmp_path / "p.csv", ("anchor", "positive"), PAIRS + chained)
    data, dev = split(file, "pairs", "pairs")
    learned = set(data.sets[0].anchors)
    both = {f"Q{i}" for i in range(4)}
    assert both <= learned or not both & learned
    assert len(dev.parts) == 3


def test_pairs_in_two_files_need_no_part(tmp_path: Path) -> None:
    """An anchor that stands twice has two right answers."""
    file = write(tmp_path / "p.csv", ("anchor", "positive"), [*PAIRS[:20], ("question 0", "answer 0 again")])
    section = {"name": "p", "kind": "pairs", "path": str(file)}
    found = DataSection.model_validate({"train": [section], "dev": [section]})
    (dev,) = load_dev_sets(found, data_dir=None)
    assert (dev.counts["queries"], dev.counts["documents"]) == (20, 21)
    assert dev.parts["all"].metric.gold["relevant"][0] == {0: 1.0, 20: 1.0}


@pytest.mark.parametrize(
    ("names", "rows", "kinds", "words"),
    [
        (("text", "label"), TICKETS[:30], ("labelled", "knn"), "only 8 of 30 rows could be held out .* at least 16"),
        (
            ("label", "text"),
            TICKETS[:30],
            ("labelled", "knn"),
            "expected several texts a label, got . different texts with .. labels; are the two columns the other way",
        ),
        (
            ("anchor", "positive"),
            [(f"q{i}", "the same answer") for i in range(100)],
            ("pairs", "pairs"),
            "only 0 of 100 rows .*; give more pairs that share no text with others",
        ),
    ],
)
def test_too_few_rows_are_one_sentence(
    tmp_path: Path, names: tuple[str, str], rows: list[tuple[str, ...]], kinds: tuple[str, str], words: str
) -> None:
    file = write(tmp_path / "t.csv", names, rows)
    with pytest.raises(ConfigError, match=rf"t\.csv: {words}"):
        split(file, *kinds)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "sts"}, "part: only sets of kind 'knn', 'pairs', 'texts' have parts, this is 'sts'"),
        ({"train_path": "u.csv"}, "train_path: not allowed with part: dev, the rest of the same file is compared with"),
    ],
)
def test_what_has_no_parts_is_refused(changes: dict[str, str], words: str) -> None:
    dev = {"name": "mine", "kind": "knn", "path": "t.csv", "part": "dev", **changes}
    train = {"name": "mine", "kind": "labelled", "path": "t.csv", "part": "train"}
    with pytest.raises(ValueError, match=words):
        DataSection.model_validate({"train": [train], "dev": [dev]})
