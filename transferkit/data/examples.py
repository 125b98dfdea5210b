"""The examples of one training set, and the batches that are drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.config.datasets import TrainSet
from transferkit.data.tables import Columns

Ids = npt.NDArray[np.int64]
FEWEST_TEXTS = 3  # that can teach by similarity: of two, nothing is more similar than something else


@dataclass(frozen=True)
class Batch:
    """Examples of one set; the i-th anchor belongs to the i-th positive and, where there are any, negative.

    A set of texts alone has neither. The ids are hashes of the texts: equal texts have equal ids, in every process and
    run. ``labels`` (None where the set has none) are numbers inside the set.
    """

    set_name: str
    anchors: list[str]
    positives: list[str]
    negatives: list[str]
    anchor_instruction: str
    document_instruction: str
    anchor_ids: Ids
    positive_ids: Ids
    negative_ids: Ids
    labels: Ids | None = None

    def __len__(self) -> int:
        return len(self.anchors)

    def inputs(self) -> tuple[list[str], list[str]]:
        """All texts, anchors then positives then negatives, and the instruction of each."""
        texts = self.anchors + self.positives + self.negatives
        documents = len(texts) - len(self)
        return texts, [self.anchor_instruction] * len(self) + [self.document_instruction] * documents

    def slice(self, rank: int, world: int) -> "Batch":
        """The contiguous share of process ``rank`` out of ``world`` processes, a divisor of the batch."""
        share = len(self) // world
        part = slice(rank * share, (rank + 1) * share)
        return Batch(
            set_name=self.set_name,
            anchors=self.anchors[part],
            positives=self.positives[part],
            negatives=self.negatives[part],
            anchor_instruction=self.anchor_instruction,
            document_instruction=self.document_instruction,
            anchor_ids=self.anchor_ids[part],
            positive_ids=self.positive_ids[part],
            negative_ids=self.negative_ids[part],
            labels=None if self.labels is None else self.labels[part],
        )


def text_ids(texts: list[str]) -> Ids:
    """63-bit hashes (n,) of the texts, the same in every process and run."""
    digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return (np.frombuffer(digests, dtype="<u8") >> np.uint64(1)).astype(np.int64)


class ExampleSet:
    """The examples of one training set and the order in which they are drawn.

    Args:
        spec: the recipe's entry.
        values: role -> one checked value a row.
        seed: (of the run, number of the set): decides the order.
        skipped_rows: bad ones that are not in ``values``.

    Attributes:
        anchors: one a row; in a labelled set its texts, which are the positives too; of texts alone there are no
            positives.
        members: rows with different texts of each label that has two of them; empty where the set has no labels.
        sha256: of all rows.
    """

    def __init__(self, spec: TrainSet, values: Columns, *, seed: tuple[int, int], skipped_rows: int) -> None:
        self.spec = spec
        self.seed = seed
        self.skipped_rows = skipped_rows
        self.sha256 = _sha256_of_rows(values)
        self.anchors: list[str] = values["anchor"] if "anchor" in values else values["text"]
        self.positives: list[str] = self.anchors if spec.kind == "labelled" else values.get("positive", [])
        self.negatives: list[str] = values.get("negative", [])
        self.anchor_ids = text_ids(self.anchors)
        self.positive_ids = self.anchor_ids if spec.kind == "labelled" else text_ids(self.positives)
        self.negative_ids = text_ids(self.negatives)
        self.members = _members(values["label"], self.anchor_ids) if spec.kind == "labelled" else []
        self._order: tuple[int, npt.NDArray[np.intp]] = (-1, np.empty(0, dtype=np.intp))

    def batch(self, nth: int, batch_size: int) -> Batch:
        """The ``nth`` batch of this set, counted from 0."""
        labels = None
        if self.members:
            labels = self._places(nth * batch_size, batch_size, among=len(self.members)).astype(np.int64)
            rows, partners = self._partners(labels, nth)
        else:
            rows = partners = self._places(nth * batch_size, batch_size, among=len(self.anchors))
        return Batch(
            set_name=self.spec.name,
            anchors=[self.anchors[i] for i in rows],
            positives=[self.positives[i] for i in partners] if self.positives else [],
            negatives=[self.negatives[i] for i in rows] if self.negatives else [],
            anchor_instruction=self.spec.instruction or "",
            document_instruction=self.document_instruction,
            anchor_ids=self.anchor_ids[rows],
            positive_ids=self.positive_ids[partners] if self.positives else self.positive_ids,
            negative_ids=self.negative_ids[rows] if self.negatives else self.negative_ids,
            labels=labels,
        )

    @property
    def document_instruction(self) -> str:
        """Of positives and negatives: the anchors' where the recipe names none."""
        own = self.spec.document_instruction
        return (self.spec.instruction or "") if own is None else own

    def _places(self, start: int, count: int, *, among: int) -> npt.NDArray[np.intp]:
        """``count`` entries from ``start`` on of an endless row of permutations of ``range(among)``."""
        parts = []
        while count > 0:
            epoch, offset = divmod(start, among)
            if self._order[0] != epoch:
                self._order = (epoch, np.random.default_rng([*self.seed, epoch]).permutation(among))
            parts.append(self._order[1][offset : offset + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)

    def _partners(self, labels: Ids, nth: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """A random row of each label, and another one whose text differs."""
        rng = np.random.default_rng([*self.seed, nth, 1])
        sizes = np.array([len(self.members[label]) for label in labels])
        first = rng.integers(sizes)
        second = (first + 1 + rng.integers(sizes - 1)) % sizes
        rows = np.array([self.members[label][place] for label, place in zip(labels, first, strict=True)])
        return rows, np.array([self.members[label][place] for label, place in zip(labels, second, strict=True)])

    def facts(self) -> dict[str, Any]:
        """For the run record, see :meth:`transferkit.data.training_sets.TrainingData.facts`."""
        return {
            "rows": len(self.anchors),
            "skipped_rows": self.skipped_rows,
            "duplicate_anchors": _share_repeated(self.anchor_ids),
            "duplicate_positives": _share_repeated(self.positive_ids),
            "sha256": self.sha256,
        }

    def shuffled_texts(self, seed: list[int]) -> Iterator[tuple[str, str]]:
        """Each text of both sides with its instruction, in random order; repeated texts come repeatedly."""
        rows = len(self.anchors)
        two_sided = bool(self.positives) and not self.members
        for place in np.random.default_rng(seed).permutation(2 * rows if two_sided else rows):
            if place < rows:
                yield self.anchors[place], self.spec.instruction or ""
            else:
                yield self.positives[place - rows], self.document_instruction

    def shuffled_pairs(self, seed: list[int]) -> Iterator[list[tuple[str, str]]]:
        """Each pair of different texts with its instructions, in random order; of texts alone each by itself.

        In a labelled set each text is in one pair at most, with another one of its label.
        """
        rng = np.random.default_rng(seed)
        task, documents = self.spec.instruction or "", self.document_instruction
        if not self.positives:
            yield from ([(self.anchors[place], task)] for place in rng.permutation(len(self.anchors)))
            return
        if self.members:
            mixed = [rng.permutation(group) for group in self.members]
            rows = np.array([both for group in mixed for both in zip(group[::2], group[1::2], strict=False)])
        else:
            rows = np.stack([np.arange(len(self.anchors))] * 2, axis=1)
        for first, second in rows[rng.permutation(len(rows))]:
            if self.anchor_ids[first] != self.positive_ids[second]:
                yield [(self.anchors[first], task), (self.positives[second], documents)]


def _members(labels: list[str], ids: Ids) -> list[npt.NDArray[np.intp]]:
    """Rows with different texts of each label that has two of them, labels in sorted order."""
    codes = np.unique(np.array(labels, dtype=object), return_inverse=True)[1]
    # First row of every different (label, text), rows ascending, then cut by label.
    rows = np.sort(np.unique(np.stack([codes, ids]), axis=1, return_index=True)[1])
    rows = rows[np.argsort(codes[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(codes[rows])) + 1)
    return [group for group in groups if len(group) > 1]


def _share_repeated(ids: Ids) -> float:
    return 1.0 - len(np.unique(ids)) / len(ids) if len(ids) else 0.0


def _sha256_of_rows(values: Columns) -> str:
    """Over the values with their lengths, so that moving a character to the next field changes it."""
    digest = sha256()
    for row in zip(*(values[role] for role in sorted(values)), strict=True):
        for value in row:
            encoded = value.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()
