"""The 5-gram model against one written with dictionaries, on tiny texts."""

import math
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from helpers.small_pretraining import ROOT, WORDS, recipe_mapping

sys.path.insert(0, str(ROOT / "benchmarks"))

import pretrain_ngram
from pretrain_ngram import discounts, fit, ngram_bits_per_byte, probabilities
from pretrain_recipe import PretrainRecipe, training_windows
from pretrain_text import heldout_windows, prepare

from transferkit.config.schema import parse

VOCAB = 12
BOS = 0
Gram = tuple[int, ...]


class Reference:
    """Modified Kneser-Ney straight from its definition, one probability at a time."""

    def __init__(self, windows: list[list[int]], *, vocab_size: int, order: int) -> None:
        self.vocab_size, self.order = vocab_size, order
        before: dict[Gram, set[object]] = defaultdict(set)
        occurrences: Counter[Gram] = Counter()
        for number, window in enumerate(windows):
            for end in range(1, len(window)):  # the predicted token
                for length in range(1, min(order, end + 1) + 1):
                    start = end - length + 1
                    gram = tuple(window[start : end + 1])
                    occurrences[gram] += 1
                    before[gram].add(window[start - 1] if start else ("border", number))
        self.counts = {gram: n if len(gram) == order else len(before[gram]) for gram, n in occurrences.items()}
        self.followers: dict[Gram, list[int]] = defaultdict(list)
        for gram in self.counts:
            self.followers[gram[:-1]].append(gram[-1])
        self.estimated = [self._estimate(length) for length in range(1, order + 1)]

    def _estimate(self, length: int) -> dict[int, float] | None:
        t = Counter(count for gram, count in self.counts.items() if len(gram) == length)
        if not all(t[count] for count in (1, 2, 3, 4)):
            return None
        y = t[1] / (t[1] + 2 * t[2])
        values = {1: 1 - 2 * y * t[2] / t[1], 2: 2 - 3 * y * t[3] / t[2], 3: 3 - 4 * y * t[4] / t[3]}
        return values if all(0 <= values[count] <= count for count in values) else None

    def discount(self, gram: Gram) -> float:
        values = self.estimated[len(gram) - 1] or {1: 0.5, 2: 1.0, 3: 1.5}
        return values[min(self.counts[gram], 3)]

    def probability(self, context: Gram, token: int) -> float:
        shorter = self.probability(context[1:], token) if context else 1 / self.vocab_size
        grams = [(*context, follower) for follower in self.followers.get(context, [])]
        if not grams:
            return shorter
        total = sum(self.counts[gram] for gram in grams)
        kept = max(self.counts.get((*context, token), 0) - self._taken((*context, token)), 0.0)
        return kept / total + sum(map(self.discount, grams)) / total * shorter

    def _taken(self, gram: Gram) -> float:
        return self.discount(gram) if gram in self.counts else 0.0

    def window(self, tokens: list[int]) -> list[float]:
        """Probabilities of all tokens but the first."""
        places = range(1, len(tokens))
        return [self.probability(tuple(tokens[max(0, p - self.order + 1) : p]), tokens[p]) for p in places]


def text(seed: int, *, windows: int, bos: bool) -> np.ndarray:
    """Windows (windows, 10) in which the next token depends on the one before, and token 11 never occurs."""
    source = np.random.default_rng(seed)
    rows = np.zeros((windows, 10), dtype=np.int64)
    for row in rows:
        row[0] = BOS if bos else source.integers(1, VOCAB - 1)
        for place in range(1, 10):
            row[place] = 1 + (3 * row[place - 1] + source.geometric(0.4)) % (VOCAB - 2)
    return rows


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("windows", [3, 200])
def test_probabilities_match_dictionaries(windows: int, order: int, bos: bool) -> None:
    training, other = text(1, windows=windows, bos=bos), text(2, windows=8, bos=bos)
    other[0, 5] = VOCAB - 1  # a token, and contexts, that were never seen
    reference = Reference(training.tolist(), vocab_size=VOCAB, order=order)
    tables = fit(training, vocab_size=VOCAB, order=order)
    for rows in (training[:4], other):
        expected = [reference.window(row) for row in rows.tolist()]
        np.testing.assert_allclose(probabilities(tables, rows, vocab_size=VOCAB), expected, rtol=1e-12)
    assert windows == 3 or all(reference.estimated[1:])  # the larger text has discounts of its own


def test_discounts_of_counts_of_counts() -> None:
    counts = np.repeat([1, 2, 3, 4, 7], [8, 4, 2, 1, 5])  # Y = 8 / (8 + 2 x 4) = 1/2
    assert discounts(counts) == pytest.approx([0, 1 - 4 / 8, 2 - 3 / 2 * 2 / 4, 3 - 2 * 1 / 2])
    assert discounts(np.array([1, 1, 2, 3])).tolist() == [0, 0.5, 1, 1.5]  # nothing is counted four times
    assert discounts(np.repeat([1, 2, 3, 4], [8, 1, 1, 9])).tolist() == [0, 0.5, 1, 1.5]  # D(3) below 0


@pytest.mark.parametrize("windows", [3, 200])
def test_probabilities_sum_to_one(windows: int) -> None:
    training = text(3, windows=windows, bos=True)
    tables = fit(training, vocab_size=VOCAB)
    never = VOCAB - 1
    contexts = [
        training[0, :1],  # BOS alone
        training[0, :3],  # shorter than the longest
        training[1, 3:7],  # seen
        training[2, -4:],  # seen as a whole, never followed
        np.array([never, 1, 2, 3]),
        np.array([1, 2, 3, never]),
        np.array([never]),
        np.array([BOS, BOS]),
    ]
    for context in contexts:
        rows = np.array([[*context, token] for token in range(VOCAB)])
        each = probabilities(tables, rows, vocab_size=VOCAB)[:, -1]
        assert each.sum() == pytest.approx(1, abs=1e-12)
        assert each.min() > 0


def test_repeated_text_is_predicted_far_better_than_uniform() -> None:
    period = np.random.default_rng(4).permutation(50)
    rows = np.tile(period, 40)[:1800].reshape(30, 60)
    bits = -np.log2(probabilities(fit(rows[:20], vocab_size=50), rows[20:], vocab_size=50))
    assert bits[:, 1:].mean() < 0.1 * math.log2(50)
    strange = -np.log2(probabilities(fit(rows[:20], vocab_size=50), rows[20:, ::-1], vocab_size=50))
    assert strange.mean() > math.log2(50)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder as ``prepare`` fills it, and its recipe beside it, which trains on every window more than once."""
    source = np.random.default_rng(5)
    for stem in ("one", "two", "three"):
        texts = [" ".join(source.choice(WORDS, size=40)) for _ in range(4)]
        pq.write_table(pa.table({"text": texts}), tmp_path / f"{stem}.parquet")
    mapping = recipe_mapping(steps=30)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(mapping))
    recipe = parse(PretrainRecipe, mapping, where="test")
    prepare(tmp_path, tmp_path / "work", config=recipe.text, seed=recipe.seed)
    return tmp_path / "work"


@pytest.mark.parametrize("bos", ["<s>", None])
def test_bits_per_byte_of_the_windows_of_all_batches(work: Path, bos: str | None) -> None:
    mapping = recipe_mapping(steps=30)
    mapping["text"]["bos"] = bos
    recipe = parse(PretrainRecipe, mapping, where="test")
    training = training_windows(recipe, work)
    read = [
        (int(inputs[0]), *targets.tolist())
        for step in range(30)
        for inputs, targets in zip(*training.batch(step), strict=True)
    ]
    assert len(set(read)) < len(read)
    reference = Reference([list(window) for window in set(read)], vocab_size=300, order=5)
    heldout, byte_count = heldout_windows(work, text=recipe.text, everything=True)
    rows = [[int(inputs[0]), *targets.tolist()] for inputs, targets in zip(*heldout, strict=True)]
    expected = sum(-math.log2(value) for row in rows for value in reference.window(row)) / byte_count
    got = ngram_bits_per_byte(training, heldout, vocab_size=300, byte_count=byte_count)
    assert got == pytest.approx(expected, rel=1e-9)


def test_command_prints_the_figure(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = parse(PretrainRecipe, recipe_mapping(steps=30), where="test")
    heldout, byte_count = heldout_windows(work, text=recipe.text, everything=True)
    training = training_windows(recipe, work)
    bits = ngram_bits_per_byte(training, heldout, vocab_size=300, byte_count=byte_count)
    command = ["pretrain_ngram.py", str(work.parent / "tiny.yaml"), "--work"]
    monkeypatch.setattr(sys, "argv", [*command, str(work)])
    assert pretrain_ngram.main() == 0
    assert capsys.readouterr().out.startswith(f"{bits:.3f} bits per byte, all of three")
    monkeypatch.setattr(sys, "argv", [*command, str(work.parent)])
    assert pretrain_ngram.main() == 2
    assert "has no index.json; run pretrain.py" in capsys.readouterr().err
