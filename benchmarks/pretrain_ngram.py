"""What local counts alone predict: a 5-gram model over the tokens that a small decoder was pretrained on.

    python benchmarks/pretrain_ngram.py benchmarks/pretrain/NAME.yaml --work DIR

Interpolated modified Kneser-Ney (Chen and Goodman 1999, "An empirical study of smoothing techniques for language
modeling", section 5), in bits per byte on the same held-out windows as the decoder. With h a context of k - 1 tokens
and h' the same context without its first token,

    P_k(w | h) = max(a(hw) - D(a(hw)), 0) / A(h) + b(h) P_{k-1}(w | h'),    P_0 = 1 / vocabulary size

- a(g) is how often g occurs where k is the longest length, below it how many different tokens stand before g; an
  occurrence that opens a window has no token before it and counts as one of its own.
- D(1), D(2), D(3 and more) are three discounts a length, from the numbers of k-grams with a(g) = 1, 2, 3, 4.
- A(h) is the sum of a(hw) over w, and b(h) what the discounts took from it, over A(h). A context that was never
  followed by anything takes P_{k-1} as it is.

Windows are as the decoder reads them: no n-gram crosses a border, BOS stands first where the recipe has one, and the
targets are what is predicted. A window that the training repeats is counted once: a second copy tells nothing new about
which tokens follow which, and would turn the n-grams that were seen once, from which the discounts come, into n-grams
seen twice.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pretrain_recipe import PretrainRecipe, training_windows
from pretrain_text import Windows, heldout_windows, inputs_and_targets

from transferkit.config.schema import parse, read_yaml
from transferkit.errors import ConfigError, TransferkitError

_ORDER = 5  # tokens of the longest n-gram
_FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small to give its own


@dataclass(frozen=True)
class NgramTable:
    """The n-grams of one length, numbered in the order of their keys.

    The key of an n-gram is the number of its first n - 1 tokens in the table before, times the vocabulary size, plus
    its last token: one 64-bit integer, however long the n-gram. A single token's number is its id.

    Attributes:
        keys: (n-grams,) int64, ascending.
        shares: (n-grams,) the first term of P_n.
        backoffs: (contexts,) b(h); a context's number is the one it has in the table before.
    """

    keys: np.ndarray
    shares: np.ndarray
    backoffs: np.ndarray


def discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken from an n-gram with a(g) = 0, 1, 2 and 3 or more, shape (4,).

    With t_i the number of n-grams with a(g) = i and Y = t_1 / (t_1 + 2 t_2): D(i) = i - (i + 1) Y t_{i+1} / t_i. Fixed
    values stand in where a t_i is 0 or a discount leaves 0 to i, as with the few single tokens that are rare.

    Args:
        counts: a(g) of all n-grams of one length.
    """
    t = np.bincount(np.minimum(counts, 5), minlength=6).tolist()
    estimated = _FALLBACK
    if all(t[1:5]):
        y = t[1] / (t[1] + 2 * t[2])
        estimated = (1 - 2 * y * t[2] / t[1], 2 - 3 * y * t[3] / t[2], 3 - 4 * y * t[4] / t[3])
    if not all(0 <= value <= count for count, value in enumerate(estimated, start=1)):
        estimated = _FALLBACK
    return np.array([0.0, *estimated])


def _smooth(keys: np.ndarray, counts: np.ndarray, *, contexts: int, vocab_size: int) -> NgramTable:
    """Table of one length from a(g) of its n-grams."""
    taken = discounts(counts)[np.minimum(counts, 3)]
    context = keys // vocab_size
    total = np.bincount(context, weights=counts, minlength=contexts)
    left = np.bincount(context, weights=taken, minlength=contexts)
    backoffs = np.divide(left, total, out=np.ones(contexts), where=total > 0)
    return NgramTable(keys, (counts - taken) / total[context], backoffs)


def fit(rows: np.ndarray, *, vocab_size: int, order: int = _ORDER) -> list[NgramTable]:
    """Tables of the n-grams of 1 to ``order`` tokens.

    Args:
        rows: (windows, tokens) int64; the first token of a window is a context only.
        vocab_size: Every id below it gets a probability.
        order: 2 at least, and no more than a window has tokens.
    """
    tables = []
    keys, contexts = np.arange(vocab_size), 1  # of the single tokens, whose one context is empty
    numbers = rows  # of the n-gram that begins at each place
    for length in range(2, order + 1):
        longer = numbers[:, :-1] * vocab_size + rows[:, length - 1 :]
        longer_keys, places, inverse, occurrences = np.unique(
            longer, return_index=True, return_inverse=True, return_counts=True
        )
        # a(g) of the shorter ones: every longer n-gram, without its first token, is one different token before g.
        counts = np.bincount(numbers[:, 1:].reshape(-1)[places], minlength=len(keys))
        if length > 2:  # a single token that opens a window was not predicted
            counts += np.bincount(numbers[:, 0], minlength=len(keys))
        tables.append(_smooth(keys, counts, contexts=contexts, vocab_size=vocab_size))
        keys, contexts, numbers = longer_keys, len(keys), inverse.reshape(longer.shape)
    tables.append(_smooth(keys, occurrences, contexts=contexts, vocab_size=vocab_size))
    return tables


def probabilities(tables: list[NgramTable], rows: np.ndarray, *, vocab_size: int) -> np.ndarray:
    """P(token | up to ``order`` - 1 tokens before it in its window), shape (windows, tokens - 1), float64.

    Args:
        tables: What :func:`fit` gave for the same ``vocab_size``.
        rows: (windows, tokens) int64; the first token of a window is not predicted.
        vocab_size: Number of token ids.
    """
    result = np.full(rows.shape, 1 / vocab_size)
    numbers = np.zeros((len(rows), rows.shape[1] + 1), dtype=np.int64)  # of the empty context; -1 is a context not seen
    for length, table in enumerate(tables, start=1):
        contexts = numbers[:, :-1]
        wanted = contexts * vocab_size + rows[:, length - 1 :]  # below 0, and so not found, after a context not seen
        places = np.minimum(np.searchsorted(table.keys, wanted), len(table.keys) - 1)
        numbers = np.where(table.keys[places] == wanted, places, -1)
        shares = np.where(numbers >= 0, table.shares[numbers], 0.0)
        backoffs = np.where(contexts >= 0, table.backoffs[contexts], 1.0)
        result[:, length - 1 :] = shares + backoffs * result[:, length - 1 :]
    return result[:, 1:]


def as_rows(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Inputs and next tokens of windows, each (n, context), as rows (n, context + 1)."""
    return np.concatenate([inputs[:, :1], targets], axis=1)


def ngram_bits_per_byte(training: Windows, heldout: np.ndarray, *, vocab_size: int, byte_count: int) -> float:
    """Bits a byte of held-out text that the 5-gram model of the training windows needs.

    Args:
        training: All windows of a run.
        heldout: Inputs and targets, shape (2, n, context).
        vocab_size: Number of token ids.
        byte_count: UTF-8 bytes of the held-out targets' text.
    """
    starts = np.unique(training.starts)
    read = training.tokens[starts[:, None] + np.arange(training.context + 1)].astype(np.int64)
    tables = fit(as_rows(*inputs_and_targets(read, training.bos_id)), vocab_size=vocab_size)
    predicted = probabilities(tables, as_rows(*heldout), vocab_size=vocab_size)
    return float(-np.log2(predicted).sum()) / byte_count


def main() -> int:
    """Parse the command line, count, print the figure."""
    parser = argparse.ArgumentParser(description="5-gram model over the tokens of a pretraining run, in bits per byte.")
    parser.add_argument("recipe", type=Path, help="YAML file, as in benchmarks/pretrain/")
    parser.add_argument("--work", type=Path, required=True, help="work folder of pretrain.py for the same recipe")
    options = parser.parse_args()
    try:
        recipe = parse(PretrainRecipe, read_yaml(options.recipe), where=str(options.recipe))
        if not (options.work / "index.json").is_file():
            raise ConfigError(f"--work: {options.work} has no index.json; run pretrain.py with this recipe first")
        started = time.perf_counter()
        heldout, byte_count = heldout_windows(options.work, text=recipe.text, everything=True)
        training = training_windows(recipe, options.work)
        bits = ngram_bits_per_byte(training, heldout, vocab_size=recipe.text.vocab_size, byte_count=byte_count)
    except TransferkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{bits:.3f} bits per byte, all of {recipe.text.heldout}, {time.perf_counter() - started:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
