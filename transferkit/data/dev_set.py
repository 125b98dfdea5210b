"""A dev set in memory, and its two halves: one chooses, the other reports, so that what is reported chose nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from transferkit.data.scored_rows import repeated_in_words
from transferkit.data.scores import Metric, Outcomes, Vectors, agreement
from transferkit.errors import RunError

Places: TypeAlias = npt.NDArray[np.intp]
Rows = Literal["all", "choosing", "reporting"]
FEWEST = 8  # rows in a half: fewer choose by luck
_SALT = b"transferkit half"


@dataclass(frozen=True)
class Part:
    """Some of a set's scored rows, and how many: ``metric`` of one vector for each text at ``places``."""

    rows: int
    places: Places
    metric: Metric = field(repr=False)


@dataclass(frozen=True)
class DevSetData:
    """A dev set, read. ``texts[i]`` is embedded with ``instructions[i]``; ``score`` takes one vector a text.

    ``parts`` holds all scored rows, and where the set may choose its two halves (:func:`halves`).
    ``counts`` says what was read: ``skipped_rows``, and for retrieval ``queries``, ``documents``,
    ``repeated_documents`` and ``dropped_queries`` (those without a relevant document). ``sha256`` covers texts, gold
    data and halves, and instructions but those of texts alone.
    """

    name: str
    kind: Literal["knn", "sts", "retrieval", "pairs", "clustering", "texts"]
    select: bool
    texts: list[str]
    instructions: list[str]
    sha256: str
    counts: dict[str, int]
    parts: dict[Rows, Part] = field(repr=False)

    @property
    def is_halved(self) -> bool:
        """Whether one half chooses and the other reports; else all rows report, and choose where the set may."""
        return "choosing" in self.parts

    @property
    def _choosing(self) -> Part:
        return self.parts["choosing" if self.is_halved else "all"]

    @property
    def _reporting(self) -> Part:
        return self.parts["reporting" if self.is_halved else "all"]

    @property
    def reported_rows(self) -> int:
        """How many are reported."""
        return self._reporting.rows

    @property
    def choosing_places(self) -> Places:
        """Places of the texts that the rows which choose need."""
        return self._choosing.places

    def choosing_rows(self) -> "DevSetData":
        """The rows that choose, with their texts alone, as a set of their own."""
        part = self._choosing
        texts, instructions = ([values[int(i)] for i in part.places] for values in (self.texts, self.instructions))
        everything = replace(part, places=np.arange(len(part.places)))
        return replace(self, texts=texts, instructions=instructions, parts={"all": everything})

    def warnings(self) -> list[str]:
        """That what is reported was chosen too, and that documents stand there twice."""
        found = []
        if self.select and not self.is_halved:
            found.append(
                f"data.dev {self.name!r}: its rows are too few or too much alike for two halves, so what is reported "
                "is what chose, which flatters; give it more rows"
            )
        if copies := self.counts.get("repeated_documents"):
            found.append(f"data.dev {self.name!r}: {repeated_in_words(copies, self.counts['documents'])}")
        return found

    def reported_score(self, vectors: Vectors) -> float:
        """Of the rows that chose nothing; of all where there are no halves."""
        return self.score(vectors, "reporting" if self.is_halved else "all")

    def score(self, vectors: Vectors, rows: Rows = "all") -> float:
        """The score in percent, higher is better.

        knn: nearest-neighbour accuracy; sts: Spearman's rho; retrieval: nDCG@10; clustering: V-measure; texts:
        Spearman's rho of the pairwise cosines and a teacher's. Those of sts and retrieval are the numbers that
        ``transferkit evaluate`` gives on the same texts under the same instructions; there a classification is a
        logistic regression on a few texts a label, and a clustering the mean over ten samples.

        Args:
            vectors: (texts, d), fp32 array or CSR matrix, of any norm; zero rows are allowed.
            rows: which of the scored rows.

        Raises:
            RunError: not one vector a text, or values that are not finite.
        """
        return self.parts[rows].metric.summary(self._outcomes(vectors, rows))

    def reported_outcomes(self, vectors: Vectors) -> Outcomes:
        """What each reported row came to; :attr:`reporting` makes their score of it."""
        return self._outcomes(vectors, "reporting" if self.is_halved else "all")

    @property
    def reporting(self) -> Metric:
        """The metric of the rows that are reported."""
        return self._reporting.metric

    def _outcomes(self, vectors: Vectors, rows: Rows) -> Outcomes:
        if vectors.shape[0] != len(self.texts):
            raise RunError(f"dev set {self.name!r}: expected {len(self.texts)} vectors, got {vectors.shape[0]}")
        part = self.parts[rows]
        found = vectors if rows == "all" else vectors[part.places]
        values = found if isinstance(found, np.ndarray) else found.data
        if not np.isfinite(values).all():
            raise RunError(f"dev set {self.name!r}: vectors hold NaN or infinity; lower the learning rate")
        return part.metric.outcomes(found)

    def taught(self, vectors: npt.NDArray[np.float32]) -> "DevSetData":
        """A set of texts alone that can be scored: with its teacher's vectors (texts, d_t), in their order."""
        parts = {name: replace(part, metric=agreement(gold=vectors[part.places])) for name, part in self.parts.items()}
        return replace(self, parts=parts)


def halves(keys: Sequence[str], truths: Sequence[Any]) -> tuple[Places, Places] | None:
    """Rows that choose and rows that report; None where a half would be of no use.

    A row's half follows from its key alone, so no sample, limit or order ever moves it to the other one.

    Args:
        keys: one text a row.
        truths: what each row is scored by; a half whose rows all have the same can tell nothing apart.
    """
    first = np.array([chooses(key) for key in keys], dtype=bool)
    found = np.flatnonzero(first), np.flatnonzero(~first)
    useful = all(len(rows) >= FEWEST and len({truths[int(row)] for row in rows}) > 1 for rows in found)
    return found if useful else None


def chooses(key: str) -> bool:
    """Whether the row of this text is one that chooses; else it reports."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=1, key=_SALT).digest()[0] % 2 == 0
