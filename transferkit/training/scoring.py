"""One evaluation: vectors of all dev texts once, scored plain and through readouts that were fitted just now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.config.sections import ReadoutSection
from transferkit.data.training_sets import TextSample
from transferkit.runs.folder import delivered

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.data.dev_set import DevSetData
    from transferkit.data.scores import Outcomes
    from transferkit.decoder.text_states import TextStateMemory
    from transferkit.methods.base import Embedder
    from transferkit.readout.choose import Choice
    from transferkit.readout.fit import Fitter
    from transferkit.readout.readout import Readout, Settings

# Readout -> percent: "plain", the kinds that were tried, and "readout", what a checkpoint is delivered with; None
# where none is fitted.
Scores = dict[str, float | None]
SOME = 64  # vectors that show how far training moved them


@dataclass(frozen=True)
class Evidence:
    """What a difference of two evaluations is judged by, as it was delivered.

    Attributes:
        outcomes: of each set that may select, what its reported rows came to.
        vectors: (64, d), pooled, of the first dev texts.
    """

    outcomes: "list[Outcomes]"
    vectors: "Tensor"


@dataclass(frozen=True)
class Evaluation:
    """Scores in percent. Those that choose and those that are reported come from different rows.

    Attributes:
        scores: dev set -> reported scores.
        score: their mean over the dev sets that may select.
        choosing: the same mean, over the rows that choose.
        readout_seconds: what the delivered readout costs; None where none is fitted.
        seconds: of the evaluation.
        readout: that is delivered, as it was fitted for these scores.
        outcomes: of each set that may select, what its reported rows came to.
        evidence: what they were made of; None for sparse vectors, of which nothing learns.
    """

    scores: dict[str, Scores]
    score: Scores
    choosing: Scores
    readout_seconds: float | None
    seconds: float
    readout: "Readout | None"
    outcomes: "list[Outcomes]"
    evidence: Evidence | None = None

    @property
    def choosing_score(self) -> float:
        """The number that chooses a step: of the readout that is delivered, where there is one."""
        return delivered(self.choosing)

    def row(self) -> dict[str, Any]:
        """Its part of a metrics row."""
        return {
            "scores": self.scores,
            "score": self.score,
            "choosing": self.choosing,
            "readout": None if self.readout is None else self.readout.settings.as_facts(),
            "readout_seconds": self.readout_seconds,
        }


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
        sample: the fixed sample that readouts are fitted on.
        readout: what the recipe says of it.
        batch_size: texts a forward pass.
        memory: keeps what a frozen decoder has read of the dev texts between evaluations; None: nothing does.
    """

    def __init__(
        self,
        dev_sets: Sequence["DevSetData"],
        *,
        sample: TextSample,
        readout: ReadoutSection,
        batch_size: int,
        memory: "TextStateMemory | None" = None,
    ) -> None:
        self.memory = memory
        self.dev_sets = dev_sets
        self.sample = sample
        self.readout = readout
        self.batch_size = batch_size
        self.sample_reading_seconds = 0.0
        self.sample_writing_seconds = 0.0
        pairs = [pair for dev in dev_sets for pair in zip(dev.texts, dev.instructions, strict=True)]
        self.unique = list(dict.fromkeys(pairs))
        place = {pair: i for i, pair in enumerate(self.unique)}
        self.places = [
            np.array([place[pair] for pair in zip(dev.texts, dev.instructions, strict=True)]) for dev in dev_sets
        ]
        self._selecting = [i for i, dev in enumerate(dev_sets) if dev.select]
        self._judges = [dev_sets[i].choosing_rows() for i in self._selecting]

    def __call__(self, embedder: "Embedder") -> Evaluation:
        """Embed, fit and choose the readout, score."""
        return self.score(self.read(embedder))

    def read(self, embedder: "Embedder") -> Vectors:
        """Embed the dev texts and the readout's sample.

        Raises:
            NotFiniteError: a vector holds NaN or infinity.
        """
        embedder.eval()
        started = perf_counter()
        texts, instructions = [text for text, _ in self.unique], [task for _, task in self.unique]
        dev = embedder.pooled(texts, instructions, batch_size=self.batch_size, memory=self.memory)
        _check_finite(dev)
        if self.readout.kind == "none" or not embedder.takes_readout:
            return Vectors(dev, None, perf_counter() - started, 0.0)
        sample_started, written = perf_counter(), embedder.writing_seconds
        sample = self._read_sample(embedder, memory=self.memory)
        ended = perf_counter()
        # Soft tokens of the sample are written at the first evaluation and kept; every step's readout needs them.
        writing = embedder.writing_seconds - written
        self.sample_writing_seconds = writing or self.sample_writing_seconds
        reading = ended - sample_started - writing
        if self.memory is not None and self.memory.used_bytes:  # what was kept is cheap now, not for who has none of it
            reading = self.sample_reading_seconds = max(reading, self.sample_reading_seconds)
        sample_seconds = reading + self.sample_writing_seconds
        return Vectors(dev, sample, ended - started, sample_seconds)

    def score(self, vectors: Vectors) -> Evaluation:
        """Fit readouts to the sample's vectors, choose one by the rows that choose, score by the others."""
        started = perf_counter()
        if vectors.sample is None:
            return self._without_readout(vectors, started)
        choice = self._choice(vectors)
        readout_seconds = vectors.sample_seconds + perf_counter() - started
        outcomes = {kind: self._outcomes(vectors.dev, found.readout) for kind, found in choice.best.items()}
        by_kind = {kind: self._reported(one) for kind, one in outcomes.items()}
        finished = by_kind[choice.delivered]
        scores: dict[str, Scores] = {}
        for i, dev in enumerate(self.dev_sets):
            found = {_name(kind): values[i] for kind, values in by_kind.items()}
            scores[dev.name] = {"plain": found["plain"], "readout": finished[i], **found}
        chosen = {_name(kind): found.score for kind, found in choice.best.items()}
        return Evaluation(
            scores=scores,
            score={key: self._mean([one[key] for one in scores.values()]) for key in next(iter(scores.values()))},
            choosing={"plain": chosen["plain"], "readout": choice.chosen.score, **chosen},
            readout_seconds=readout_seconds,
            seconds=vectors.seconds + perf_counter() - started,
            readout=choice.chosen.readout,
            outcomes=[outcomes[choice.delivered][i] for i in self._selecting],
            evidence=self._evidence(vectors, outcomes[choice.delivered]),
        )

    def _evidence(self, vectors: Vectors, outcomes: "list[Outcomes]") -> Evidence | None:
        """Of vectors that came to ``outcomes`` as they are delivered."""
        if not hasattr(vectors.dev, "cpu"):  # TF-IDF gives a sparse matrix
            return None
        return Evidence([outcomes[i] for i in self._selecting], vectors.dev[:SOME].cpu().clone())

    def those_that_select(self) -> "Scorer":
        """A scorer of the sets that may select alone, which keeps no states."""
        sets = [self.dev_sets[i] for i in self._selecting]
        return Scorer(sets, sample=self.sample, readout=self.readout, batch_size=self.batch_size)

    def through(self, embedder: "Embedder", settings: "Settings | None") -> "list[Outcomes]":
        """Outcomes of another embedder, whose vectors pass a readout of ``settings`` that is fitted to them."""
        vectors = self.read(embedder)
        fitted = None if settings is None or vectors.sample is None else self._fitter(vectors.sample).fit(settings)
        return self._outcomes(vectors.dev, fitted)

    def _without_readout(self, vectors: Vectors, started: float) -> Evaluation:
        outcomes = self._outcomes(vectors.dev, None)
        plain = self._reported(outcomes)
        return Evaluation(
            scores={dev.name: {"plain": plain[i], "readout": None} for i, dev in enumerate(self.dev_sets)},
            score={"plain": self._mean(plain), "readout": None},
            choosing={"plain": self._choosing_score(vectors.dev[self._choosing_places]), "readout": None},
            readout_seconds=None,
            seconds=vectors.seconds + perf_counter() - started,
            readout=None,
            outcomes=[outcomes[i] for i in self._selecting],
            evidence=self._evidence(vectors, outcomes),
        )

    def fit(self, embedder: "Embedder", settings: "Settings") -> "Readout":
        """The readout of ``settings``, fitted on the sample as ``embedder`` sees it now."""
        return self._fitter(self._read_sample(embedder)).fit(settings)

    def _choice(self, vectors: Vectors) -> "Choice":
        from transferkit.readout.choose import choose

        assert vectors.sample is not None  # the caller asked
        rows = vectors.dev[self._choosing_places].to(vectors.sample.device)
        scored = sum(dev.reported_rows for dev in self._judges)
        return choose(self.readout, self._fitter(vectors.sample), rows, self._choosing_score, rows=scored)

    def _fitter(self, sample: "Tensor") -> "Fitter":
        import torch

        from transferkit.readout.fit import Fitter

        return Fitter(sample, torch.tensor(self.sample.pairs, dtype=torch.long).view(-1, 2))

    def _read_sample(self, embedder: "Embedder", *, memory: "TextStateMemory | None" = None) -> "Tensor":
        texts, instructions = self.sample.texts, self.sample.instructions
        sample: Tensor = embedder.pooled(texts, instructions, batch_size=self.batch_size, memory=memory)
        _check_finite(sample)
        return sample.to(embedder.device)

    @property
    def _choosing_places(self) -> Any:
        """Places among the unique texts of those that choose, set after set."""
        return np.concatenate([self.places[i][self.dev_sets[i].choosing_places] for i in self._selecting])

    def _choosing_score(self, finished: Any) -> float:
        """Mean score of the sets that choose, of finished vectors at :attr:`_choosing_places`."""
        rows = finished.cpu().numpy() if hasattr(finished, "cpu") else finished
        start, found = 0, []
        for dev in self._judges:
            found.append(dev.score(rows[start : start + len(dev.texts)]))
            start += len(dev.texts)
        return sum(found) / len(found)

    def _outcomes(self, vectors: Any, readout: "Readout | None") -> "list[Outcomes]":
        """Of each set, what its reported rows came to."""
        return [
            dev.reported_outcomes(_read_out(vectors, places, readout))
            for dev, places in zip(self.dev_sets, self.places, strict=True)
        ]

    def _reported(self, outcomes: "list[Outcomes]") -> list[float]:
        return [dev.reporting.summary(one) for dev, one in zip(self.dev_sets, outcomes, strict=True)]

    def _mean(self, values: Sequence[float | None]) -> float:
        chosen = [value for i in self._selecting if (value := values[i]) is not None]
        return sum(chosen) / len(chosen)


def _name(kind: str) -> str:
    return "plain" if kind == "none" else kind


def _check_finite(vectors: Any) -> None:
    from transferkit.methods.encoding import check_finite

    if hasattr(vectors, "numpy"):  # TF-IDF gives a sparse matrix
        check_finite(vectors.numpy(), what="dev text")


def _read_out(vectors: Any, places: Any, readout: "Readout | None") -> Any:
    """The rows at ``places``, finished."""
    if not hasattr(vectors, "cpu"):  # TF-IDF gives a sparse matrix
        return vectors[places]
    rows = vectors[places]
    return (rows if readout is None else readout(rows.to(readout.mean.device))).cpu().numpy()
