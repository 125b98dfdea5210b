"""One half of a dev set chooses, the other reports: fixed by the text alone, apart, and both of use."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from transferkit.config.datasets import DataSection
from transferkit.data.dev_set import FEWEST, DevSetData, halves
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.scores import knn

RNG = np.random.default_rng(11)


def texts(n: int) -> list[str]:
    return [f"text number {i}" for i in range(n)]


def loaded(folder: Path, **dev: object) -> DevSetData:
    train = {"name": "train", "kind": "pairs", "path": "train.csv"}
    section = DataSection.model_validate({"train": [train], "dev": [{"name": "dev", "select": True, **dev}]})
    (data,) = load_dev_sets(section, data_dir=folder)
    return data


def classes(folder: Path, rows: int) -> DevSetData:
    for name, n in (("test", rows), ("train", 12)):
        lines = [f"{name} {text},{i % 3}" for i, text in enumerate(texts(n))]
        (folder / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return loaded(folder, kind="knn", path="test.csv", train_path="train.csv")


def test_halves_share_no_row_and_miss_none() -> None:
    found = halves(texts(400), range(400))
    assert found is not None
    assert sorted([*found[0], *found[1]]) == list(range(400))
    assert 150 < len(found[0]) < 250


def test_a_row_stays_in_its_half_whatever_stands_beside_it() -> None:
    """A text that chose under one limit is never reported under another."""
    few, many = halves(texts(60), range(60)), halves(texts(400)[::-1], range(400))
    assert few is not None
    assert many is not None
    assert set(few[0]) <= {399 - i for i in many[0]}


@pytest.mark.parametrize(("count", "truths"), [(2 * FEWEST - 1, None), (400, "all alike")])
def test_no_halves_where_one_could_tell_nothing(count: int, truths: str | None) -> None:
    assert halves(texts(count), [truths or i for i in range(count)]) is None


def choosing_score(data: DevSetData, x: np.ndarray) -> float:
    """As an evaluation takes it: of the rows that choose, as a set of their own."""
    return data.choosing_rows().score(x[data.choosing_places])


def test_each_half_is_scored_by_its_own_rows(tmp_path: Path) -> None:
    data = classes(tmp_path, 90)
    x = RNG.normal(size=(len(data.texts), 5)).astype(np.float32)
    found = halves(data.texts[:90], [str(i % 3) for i in range(90)])
    assert found is not None
    train = [str(i % 3) for i in range(12)]
    for rows, score in zip(found, (choosing_score(data, x), data.reported_score(x)), strict=True):
        labels = [str(i % 3) for i in rows]
        expected = knn(query_labels=labels, train_labels=train)(np.concatenate([x[rows], x[90:]]))
        assert score == pytest.approx(expected)
    assert data.reported_rows == len(found[1])


def test_halves_of_sts_keep_sentences_together(tmp_path: Path) -> None:
    gold = RNG.uniform(0, 5, size=60)
    lines = [f"a {i},b {i},{value}" for i, value in enumerate(gold)]
    (tmp_path / "sts.csv").write_text("sentence1,sentence2,score\n" + "\n".join(lines) + "\n")
    data = loaded(tmp_path, kind="sts", path="sts.csv")
    x = RNG.normal(size=(120, 6)).astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = halves([f"a {i}\0b {i}" for i in range(60)], gold)
    assert found is not None
    for rows, score in zip(found, (choosing_score(data, x), data.reported_score(x)), strict=True):
        cosines = (unit[rows] * unit[60 + rows]).sum(1)
        assert score == pytest.approx(100 * spearmanr(cosines, gold[rows]).statistic, abs=1e-4)


def test_a_pair_of_sts_is_in_one_half_whichever_way_round_it_stands(tmp_path: Path) -> None:
    pairs = [(f"a {i}", f"b {i}") for i in range(60)]
    pairs += [(second, first) for first, second in pairs]
    lines = [f"{first},{second},{i % 7}" for i, (first, second) in enumerate(pairs)]
    (tmp_path / "sts.csv").write_text("sentence1,sentence2,score\n" + "\n".join(lines) + "\n")
    data = loaded(tmp_path, kind="sts", path="sts.csv")
    chosen, reported = (
        {frozenset(pairs[int(i)]) for i in data.parts[half].places if i < len(pairs)}
        for half in ("choosing", "reporting")
    )
    assert not chosen & reported
    assert len(chosen) + len(reported) == 60


def test_the_rows_that_choose_are_a_set_of_their_own(tmp_path: Path) -> None:
    data = classes(tmp_path, 90)
    x = RNG.normal(size=(len(data.texts), 5)).astype(np.float32)
    alone = data.choosing_rows()
    assert len(alone.texts) < len(data.texts)
    place = {text: i for i, text in enumerate(data.texts)}
    own = x[[place[text] for text in alone.texts]]
    assert alone.score(own) == pytest.approx(data.score(x, "choosing"))
    assert choosing_score(alone, own) == pytest.approx(data.score(x, "choosing"))


def test_a_set_without_halves_says_so_and_does_both(tmp_path: Path) -> None:
    data = classes(tmp_path, 9)
    x = RNG.normal(size=(len(data.texts), 5)).astype(np.float32)
    assert choosing_score(data, x) == data.reported_score(x) == data.score(x)
    (warning,) = data.warnings()
    assert "data.dev 'dev'" in warning
    assert classes(tmp_path, 90).warnings() == []


def test_a_set_that_may_not_choose_is_reported_whole(tmp_path: Path) -> None:
    classes(tmp_path, 90)
    dev = {"kind": "knn", "path": "test.csv", "train_path": "train.csv"}
    train = {"name": "train", "kind": "pairs", "path": "train.csv"}
    both = [{"name": "chooses", **dev}, {"name": "reports", "select": False, **dev}]
    chooses, reports = load_dev_sets(DataSection.model_validate({"train": [train], "dev": both}), data_dir=tmp_path)
    assert (chooses.is_halved, reports.is_halved, reports.reported_rows) == (True, False, 90)
    assert reports.warnings() == []
    assert chooses.sha256 != reports.sha256  # scores of other rows cannot be compared
