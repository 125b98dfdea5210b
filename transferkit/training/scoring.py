"""One evaluation: vectors of all dev texts once, scored plain and through a freshly fitted readout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.config.sections import ReadoutSection

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.data.dev_sets import DevSetData
    from transferkit.decoder.text_states import TextStateMemory
    from transferkit.methods.base import Embedder
    from transferkit.readout.readout import Readout

Scores = dict[str, dict[str, float | None]]  # dev set -> {"plain": percent, "readout": percent or None}


@dataclass(frozen=True)
class Evaluation:
    """Scores in percent; ``score`` is the mean over the dev sets that may select."""

    scores: Scores
    score: dict[str, float | None]
    readout_seconds: float | None
    seconds: float
    readout: "Readout | None"  # as it was fitted for these scores

    @property
    def selecting(self) -> float:
        """The number that chooses a step: with the readout where there is one."""
        value = self.score["readout"] if self.score["readout"] is not None else self.score["plain"]
        assert value is not None  # plain scores always exist
        return value

    def row(self) -> dict[str, Any]:
        """Its part of a metrics row."""
        return {"scores": self.scores, "score": self.score, "readout_seconds": self.readout_seconds}


@dataclass(frozen=True)
class Vectors:
    """What one pass of an embedder over all texts gave: pooled vectors, and the seconds that it took."""

    dev: Any  # (n, d), a sparse matrix from TF-IDF
    sample: "Tensor | None"  # (m, d) of the readout's sample; None where none is fitted
    seconds: float  # of the whole pass
    sample_seconds: float  # that whoever wants the readout alone would pay for

    def part(self, of: Callable[["Tensor"], "Tensor"]) -> "Vectors":
        """The vectors that ``of`` takes out of these; each such part is charged the whole pass."""
        return replace(self, dev=of(self.dev), sample=None if self.sample is None else of(self.sample))


class Scorer:
    """Scores an embedder on the dev sets of a recipe.

    Args:
        dev_sets: loaded dev sets; equal texts of several sets are embedded once.
        sample: texts and instructions of the fixed sample that the readout is fitted on.
        readout: its kind and ridge.
        batch_size: texts a forward pass.
        memory: keeps what a frozen decoder has read of the dev texts between evaluations; None: nothing does.
    """

    def __init__(
        self,
        dev_sets: Sequence["DevSetData"],
        *,
        sample: tuple[list[str], list[str]],
        readout: ReadoutSection,
        batch_size: int,
        memory: "TextStateMemory | None" = None,
    ) -> None:
        self.memory = memory
        self.dev_sets = dev_sets
        self.sample = sample
        self.readout = readout
        self.batch_size = batch_size
        self.sample_writing_seconds = 0.0
        pairs = [pair for dev in dev_sets for pair in zip(dev.texts, dev.instructions, strict=True)]
        self.unique = list(dict.fromkeys(pairs))
        place = {pair: i for i, pair in enumerate(self.unique)}
        self.places = [
            np.array([place[pair] for pair in zip(dev.texts, dev.instructions, strict=True)]) for dev in dev_sets
        ]

    def __call__(self, embedder: "Embedder") -> Evaluation:
        """Embed, score, fit the readout to the sample, score again."""
        return self.score(self.read(embedder))

    def read(self, embedder: "Embedder") -> Vectors:
        """Embed the dev texts and the readout's sample."""
        embedder.eval()
        started = perf_counter()
        texts, instructions = [text for text, _ in self.unique], [task for _, task in self.unique]
        dev = embedder.pooled(texts, instructions, batch_size=self.batch_size, memory=self.memory)
        if self.readout.kind == "none" or not embedder.takes_readout:
            return Vectors(dev, None, perf_counter() - started, 0.0)
        sample_started, written = perf_counter(), embedder.writing_seconds
        sample = self._read_sample(embedder)
        ended = perf_counter()
        # Soft tokens of the sample are written at the first evaluation and kept; every step's readout needs them.
        writing = embedder.writing_seconds - written
        self.sample_writing_seconds = writing or self.sample_writing_seconds
        sample_seconds = ended - sample_started - writing + self.sample_writing_seconds
        return Vectors(dev, sample, ended - started, sample_seconds)

    def score(self, vectors: Vectors) -> Evaluation:
        """Score the dev vectors, fit the readout to the sample's, score again."""
        started = perf_counter()
        plain = self._score(vectors.dev)
        readout, fitted, readout_seconds = None, None, None
        if vectors.sample is not None:
            fit_started = perf_counter()
            readout = self._fitted(vectors.sample)
            readout_seconds = vectors.sample_seconds + perf_counter() - fit_started
            finished = self._score(readout(vectors.dev.to(readout.mean.device)))
            pairs = zip(self.dev_sets, plain, finished, strict=True)
            fitted = [before if dev.before_readout else after for dev, before, after in pairs]
        scores: Scores = {
            dev.name: {"plain": plain[i], "readout": None if fitted is None else fitted[i]}
            for i, dev in enumerate(self.dev_sets)
        }
        score = {"plain": self._mean(plain), "readout": None if fitted is None else self._mean(fitted)}
        seconds = vectors.seconds + perf_counter() - started
        return Evaluation(scores, score, readout_seconds, seconds, readout)

    def fit(self, embedder: "Embedder") -> "Readout":
        """The recipe's readout, fitted on the sample as ``embedder`` sees it now."""
        return self._fitted(self._read_sample(embedder))

    def _read_sample(self, embedder: "Embedder") -> "Tensor":
        # Read anew each time: whoever wants the readout of one step pays for this pass, so its seconds are reported.
        sample: Tensor = embedder.pooled(*self.sample, batch_size=self.batch_size).to(embedder.device)
        return sample

    def _fitted(self, sample: "Tensor") -> "Readout":
        from transferkit.readout.readout import Readout

        readout = Readout(self.readout.kind, sample.shape[1]).to(sample.device)
        return readout.fit(sample, ridge=self.readout.ridge)

    def _score(self, vectors: Any) -> list[float]:
        rows = vectors.cpu().numpy() if hasattr(vectors, "cpu") else vectors  # TF-IDF gives a sparse matrix
        return [dev.score(rows[places]) for dev, places in zip(self.dev_sets, self.places, strict=True)]

    def _mean(self, values: list[float]) -> float:
        chosen = [value for dev, value in zip(self.dev_sets, values, strict=True) if dev.select]
        return sum(chosen) / len(chosen)
