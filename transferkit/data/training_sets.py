"""Training sets -> batches of texts; a batch follows from (seed, step) alone, so resuming needs no state."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.config.datasets import ROLES, DataSection, TrainSet
from transferkit.data.examples import FEWEST_TEXTS, Batch, ExampleSet
from transferkit.data.scored_rows import CHECKS
from transferkit.data.split import held_out, picked
from transferkit.data.tables import Source, check_rows, local_source, read_columns
from transferkit.errors import ConfigError

MANY_DUPLICATES = 0.5  # a set that repeats more of its anchors or positives than this is warned about


@dataclass(frozen=True)
class TextSample:
    """Texts with their instructions, and ``pairs`` of places of those that belong together."""

    texts: list[str]
    instructions: list[str]
    pairs: list[tuple[int, int]]


class TrainingData:
    """All training sets of a recipe. ``sets[i].batch`` orders one set, ``batch`` mixes them by weight."""

    def __init__(self, sets: list[ExampleSet], *, batch_size: int, seed: int) -> None:
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

    def named_texts(self) -> Iterator[tuple[str, str]]:
        """Every text of every side, as often as it stands there, with the name of its set."""
        for one in self.sets:
            for side in (one.anchors, [] if one.members else one.positives, one.negatives):
                yield from ((text, one.spec.name) for text in side)

    @property
    def has_pairs(self) -> bool:
        """Whether any set says which texts belong together."""
        return any(len(next(one.shuffled_pairs([0]), [])) == 2 for one in self.sets)

    def sample_with_pairs(self, n: int, seed: int) -> TextSample:
        """Up to ``n`` distinct training texts, in pairs where their set has any: what a readout is fitted to.

        Shared out over the sets as :meth:`sample` does.
        """
        sources = [s.shuffled_pairs([seed, i, 3]) for i, s in enumerate(self.sets)]
        weights = [s.spec.weight for s in self.sets]
        taken = [0] * len(sources)
        running = set(range(len(sources)))
        places: dict[tuple[str, str], int] = {}
        pairs: list[tuple[int, int]] = []
        while running and len(places) < n:
            i = min(running, key=lambda i: (taken[i] / weights[i], i))
            found = next(sources[i], None)
            if found is None:
                running.remove(i)
                continue
            taken[i] += len(found)
            rows = [places.setdefault(one, len(places)) for one in found]
            if len(rows) == 2:
                pairs.append((rows[0], rows[1]))
        return TextSample([text for text, _ in places], [task for _, task in places], pairs)

    @staticmethod
    def _hashed(one: ExampleSet) -> str:
        """Name, kind and share beside the rows: another mixture of the same rows is other data."""
        return f"{one.spec.name!r} {one.spec.kind} {one.spec.weight} {one.sha256}\n"

    def facts(self) -> dict[str, Any]:
        """What was trained on, for the run record.

        ``sets``: name -> rows, skipped_rows, duplicate_anchors and duplicate_positives (share of rows that
        repeat an earlier one), sha256 of the rows; ``sha256`` of all sets; ``warnings``: sentences for users.
        """
        sets = {s.spec.name: s.facts() for s in self.sets}
        warnings = []
        for one, (name, facts) in zip(self.sets, sets.items(), strict=True):
            for side in ("anchors", "positives"):
                share = facts[f"duplicate_{side}"]
                if share > MANY_DUPLICATES:
                    what = side if one.positives else "texts"
                    warnings.append(
                        f"data.train {name!r}: {share:.0%} of the {what} repeat an earlier one; "
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
        values = read_columns(source, columns, limit=None if spec.part else spec.limit)
        values, skipped = check_rows(source, values, checks=CHECKS, on_bad_row=section.on_bad_row, columns=columns)
        if spec.part is not None:
            values = picked(values, [not out for out in held_out(source, values)])
            values = {role: column[: spec.limit] for role, column in values.items()}
        one = ExampleSet(spec, values, seed=(seed, index), skipped_rows=skipped)
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


def _refuse_useless(source: Source, one: ExampleSet) -> None:
    """In-batch negatives need two different examples at least, similarities three texts."""
    if one.spec.kind == "labelled":
        if len(one.members) < 2:
            raise ConfigError(
                f"{source}: expected at least two labels with two different texts each, "
                f"got {len(one.members)} (kind 'pairs' needs no labels)"
            )
        return
    if one.spec.kind == "texts":
        if (different := len(np.unique(one.anchor_ids))) < FEWEST_TEXTS:
            raise ConfigError(f"{source}: expected at least {FEWEST_TEXTS} different texts, got {different}")
        return
    for side, ids in (("anchors", one.anchor_ids), ("positives", one.positive_ids)):
        if len(np.unique(ids)) < 2:
            raise ConfigError(f"{source}: all {len(ids)} {side} are the same text, so no row could be a negative")
