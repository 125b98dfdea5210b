"""Light noise: words left out, neighbouring words swapped (after EDA, arXiv 1901.11196). No model is needed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from transferkit.augment.candidates import Candidate, Maker, Origin, Source, draw_seed
from transferkit.augment.settings import Setup


class NoiseWay:
    """Light noise of one kind.

    Args:
        kind: ``deletion`` or ``swap``.
        rate: share of the words that it touches, above 0 and below 1.
    """

    def __init__(self, kind: str, *, rate: float) -> None:
        self.name = kind
        self.kind = kind
        self.rate = rate

    def described(self) -> dict[str, Any]:
        """Its rate."""
        return {"rate": self.rate}

    def makers(self, setup: Setup) -> list[Maker]:
        """One."""
        return [Noise(self.kind, rate=self.rate, samples=setup.sampling.samples, seed=setup.seed)]


class Noise:
    """Changes each word with probability ``rate``, at least one; its candidates depend on seed, row and text alone.

    Words are what spaces separate, so a text in a script without spaces has nothing to change. Deletion leaves at
    least one word. A swap exchanges a word with the next one; a word may travel further by several swaps.

    Args:
        kind: ``deletion`` or ``swap``.
        rate: share of the words.
        samples: candidates a text.
        seed: of the run.
    """

    def __init__(self, kind: str, *, rate: float, samples: int, seed: int) -> None:
        self.per_text = samples
        self.origin, self.change = KINDS[kind]
        self.rate = rate
        self.seed = seed

    def __call__(self, sources: Sequence[Source]) -> Iterator[Candidate]:
        """``samples`` candidates of each text, text by text."""
        for source in sources:
            words = source.text.split()
            for nth in range(self.per_text):
                seed = draw_seed(self.seed, self.origin.kind, source.row, nth)
                if len(words) < 2:
                    yield Candidate(source, "", self.origin, seed, "nothing to change")
                    continue
                changed = self.change(words, self.rate, np.random.default_rng(seed))
                yield Candidate(source, " ".join(changed), self.origin, seed)


def delete_words(words: Sequence[str], rate: float, rng: np.random.Generator) -> list[str]:
    """``words`` without each with probability ``rate``; at least one goes and one stays."""
    count = int(np.clip(rng.binomial(len(words), rate), 1, len(words) - 1))
    gone = set(rng.choice(len(words), count, replace=False).tolist())
    return [word for i, word in enumerate(words) if i not in gone]


def swap_words(words: Sequence[str], rate: float, rng: np.random.Generator) -> list[str]:
    """``words`` after each has changed places with the next with probability ``rate``; at least one does."""
    places = len(words) - 1
    count = int(np.clip(rng.binomial(places, rate), 1, places))
    swapped = list(words)
    # Different places, so that no swap undoes another.
    for i in rng.choice(places, count, replace=False).tolist():
        swapped[i], swapped[i + 1] = swapped[i + 1], swapped[i]
    return swapped


KINDS = {"deletion": (Origin("deletion"), delete_words), "swap": (Origin("swap"), swap_words)}
