"""Training sets -> batches of texts; a batch follows from (seed, step) alone, so resuming needs no state."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.config.recipes import ROLES, DataSection, TrainSet
from transferkit.data.tables import Columns, Source, check_rows, local_source, read_columns
from transferkit.errors import ConfigError
from transferkit.files.cells import Check

Ids = npt.NDArray[np.int64]
MANY_DUPLICATES = 0.5  # a set that repeats more of its anchors or positives than this is warned about
_CHECKS: dict[str, Check] = {
    "anchor": "text",
    "positive": "text",
    "negative": "text",
    "text": "text",
    "label": "label",
}


@dataclass(frozen=True)
class Batch:
    """Examples of one set; the i-th anchor belongs to the i-th positive and, where there are any, negative.

    The ids are hashes of the texts: equal texts have equal ids, in every process and run. ``labels`` (None
    where the set has none) are numbers inside the set.
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


class _Set:
    """The examples of one training set and the order in which they are drawn."""

    def __init__(self, spec: TrainSet, values: Columns, *, seed: tuple[int, int], skipped_rows: int) -> None:
        self.spec = spec
        self.seed = seed
        self.skipped_rows = skipped_rows
        self.sha256 = _sha256_of_rows(values)
        self.anchors: list[str] = values["text"] if spec.kind == "labelled" else values["anchor"]
        self.positives: list[str] = values["text"] if spec.kind == "labelled" else values["positive"]
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
            positives=[self.positives[i] for i in partners],
            negatives=[self.negatives[i] for i in rows] if self.negatives else [],
            anchor_instruction=self.spec.instruction or "",
            document_instruction=self.document_instruction,
            anchor_ids=self.anchor_ids[rows],
            positive_ids=self.positive_ids[partners],
            negative_ids=self.negative_ids[rows] if self.negatives else self.negative_ids,
            labels=labels,
        )

    @property
    def document_instruction(self) -> str:
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
        for place in np.random.default_rng(seed).permutation(rows if self.members else 2 * rows):
            if place < rows:
                yield self.anchors[place], self.spec.instruction or ""
            else:
                yield self.positives[place - rows], self.document_instruction


class TrainingData:
    """All training sets of a recipe. ``sets[i].batch`` orders one set, ``batch`` mixes them by weight."""

    def __init__(self, sets: list[_Set], *, batch_size: int, seed: int) -> None:
        self.sets = sets
        self.batch_size = batch_size
        self.seed = seed
        weights = np.array([s.spec.weight for s in sets])
        self._shares = np.cumsum(weights / weights.sum())[:-1]
        self._choices: list[tuple[int, int]] = []  # step -> (set, how many earlier steps chose it); grows on demand
        self._counts = [0] * len(sets)

    def batch(self, step: int) -> Batch:
        """The batch of optimizer step ``step``, counted from 0: a function of the seed and the step alone.

        The set is drawn by weight. Inside a set rows come without replacement, epoch after epoch, so a batch
        at the end of an epoch takes its rest from the next one, and a set smaller than a batch repeats rows
        inside it (the loss masks them). In a labelled set the labels come that way, and each gives two
        different texts at random.
        """
        while len(self._choices) <= step:
            draw = np.random.default_rng([self.seed, len(self._choices)]).random()
            chosen = int(np.searchsorted(self._shares, draw, side="right"))
            self._choices.append((chosen, self._counts[chosen]))
            self._counts[chosen] += 1
        chosen, nth = self._choices[step]
        return self.sets[chosen].batch(nth, self.batch_size)

    def sample(self, n: int, seed: int) -> tuple[list[str], list[str]]:
        """Up to ``n`` distinct training texts and their instructions, shared out over the sets by weight.

        Anchors and positives alike. A set that runs out leaves its share to the others; all texts together
        may be fewer than ``n``.
        """
        sources = [s.shuffled_texts([seed, i, 2]) for i, s in enumerate(self.sets)]
        weights = [s.spec.weight for s in self.sets]
        taken = [0] * len(sources)
        running = set(range(len(sources)))
        found: dict[str, str] = {}
        while running and len(found) < n:
            i = min(running, key=lambda i: (taken[i] / weights[i], i))
            text, instruction = next((pair for pair in sources[i] if pair[0] not in found), (None, ""))
            if text is None:
                running.remove(i)
            else:
                found[text] = instruction
                taken[i] += 1
        return list(found), list(found.values())

    @staticmethod
    def _hashed(one: _Set) -> str:
        """Name, kind and share beside the rows: another mixture of the same rows is other data."""
        return f"{one.spec.name!r} {one.spec.kind} {one.spec.weight} {one.sha256}\n"

    def facts(self) -> dict[str, Any]:
        """What was trained on, for the run record.

        ``sets``: name -> rows, skipped_rows, duplicate_anchors and duplicate_positives (share of rows that
        repeat an earlier one), sha256 of the rows; ``sha256`` of all sets; ``warnings``: sentences for users.
        """
        sets = {s.spec.name: s.facts() for s in self.sets}
        warnings = []
        for name, facts in sets.items():
            for side in ("anchors", "positives"):
                share = facts[f"duplicate_{side}"]
                if share > MANY_DUPLICATES:
                    warnings.append(
                        f"data.train {name!r}: {share:.0%} of the {side} repeat an earlier one; "
                        "repeated texts are masked in the loss, so batches hold fewer negatives than examples"
                    )
            if facts["skipped_rows"]:
                warnings.append(f"data.train {name!r}: {facts['skipped_rows']} bad rows were skipped")
        everything = sha256("".join(self._hashed(s) for s in self.sets).encode())
        return {"sets": sets, "sha256": everything.hexdigest(), "warnings": warnings}


def load_training_data(section: DataSection, *, data_dir: Path | None, batch_size: int, seed: int) -> TrainingData:
    """All training sets of the recipe, read and checked.

    Args:
        section: the recipe's ``data``.
        data_dir: what relative paths start from; None: the current folder.
        batch_size: examples a step over all processes.
        seed: decides the order of everything.

    Raises:
        ConfigError: a missing file or column, a bad row under ``on_bad_row: stop``, or a set nothing can be
            learned from.
        RunError: the Hub cannot be reached.
    """
    sets = []
    for index, spec in enumerate(section.train):
        source = _source(spec, data_dir)
        columns = {**ROLES[spec.kind], **spec.columns}
        values = read_columns(source, columns, limit=spec.limit)
        values, skipped = check_rows(source, values, checks=_CHECKS, on_bad_row=section.on_bad_row, columns=columns)
        one = _Set(spec, values, seed=(seed, index), skipped_rows=skipped)
        _refuse_useless(source, one)
        sets.append(one)
    return TrainingData(sets, batch_size=batch_size, seed=seed)


def _source(spec: TrainSet, data_dir: Path | None) -> Source:
    set_key = f"data.train {spec.name!r}"
    if spec.path is not None:
        return local_source(set_key, spec.path, data_dir)
    return Source(
        set_key,
        hub_id=spec.hub_id,
        builtin=spec.builtin,
        subset=spec.subset,
        split=spec.split,
        revision=spec.revision,
    )


def _refuse_useless(source: Source, one: _Set) -> None:
    """In-batch negatives need two different examples at least."""
    if one.spec.kind == "labelled":
        if len(one.members) < 2:
            raise ConfigError(
                f"{source}: expected at least two labels with two different texts each, "
                f"got {len(one.members)} (kind 'pairs' needs no labels)"
            )
        return
    for side, ids in (("anchors", one.anchor_ids), ("positives", one.positive_ids)):
        if len(np.unique(ids)) < 2:
            raise ConfigError(f"{source}: all {len(ids)} {side} are the same text, so no row could be a negative")


def _members(labels: list[str], ids: Ids) -> list[npt.NDArray[np.intp]]:
    """Rows with different texts of each label that has two of them, labels in sorted order."""
    codes = np.unique(np.array(labels, dtype=object), return_inverse=True)[1]
    # First row of every different (label, text), rows ascending, then cut by label.
    rows = np.sort(np.unique(np.stack([codes, ids]), axis=1, return_index=True)[1])
    rows = rows[np.argsort(codes[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(codes[rows])) + 1)
    return [group for group in groups if len(group) > 1]


def _share_repeated(ids: Ids) -> float:
    return 1.0 - len(np.unique(ids)) / len(ids)


def _sha256_of_rows(values: Columns) -> str:
    """Over the values with their lengths, so that moving a character to the next field changes it."""
    digest = sha256()
    for row in zip(*(values[role] for role in sorted(values)), strict=True):
        for value in row:
            encoded = value.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()
