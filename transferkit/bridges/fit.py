"""The map of texts that two embedders have read: the ridge that keeps most, and what it keeps of texts held out."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from transferkit.bridges.ranking import agreement, percent, ten_nearest
from transferkit.bridges.ridge import RIDGES, Ridge
from transferkit.checkpoints.spaces import Kept, Map
from transferkit.files.vectors.precision import Vectors
from transferkit.methods.described import Side
from transferkit.readout import bridged

_MOST_HELD_OUT = 1000  # to choose the ridge, and as many to say what the map is worth; a tenth of fewer texts


@dataclass(frozen=True)
class Sides:
    """The same texts in both spaces: side -> vectors, a row a text.

    Attributes:
        old: of the embedder whose space is kept.
        new: of the one that reads from now on.
        instructions: side -> with which the old embedder read.
        readout: kind of the map that finished its vectors.
        descending: whether the first numbers of its vectors count most; so all files are that were cut.
    """

    old: Mapping[Side, Vectors]
    new: Mapping[Side, Vectors]
    instructions: dict[str, str]
    readout: str
    descending: bool = True


@dataclass(frozen=True)
class Fitted:
    """The map, its ridge, what it keeps of texts that chose nothing, and how many it was fitted on."""

    map: Map
    ridge: float
    kept: Kept
    texts: int


def fit(found: Sides) -> Fitted:
    """The map of the ridge that keeps most of the ten nearest, of questions that it was not fitted on."""
    asked: Side = "query" if "query" in found.old else "document"
    rows = len(found.old[asked])
    order = random.Random(0).sample(range(rows), rows)
    held_out = min(_MOST_HELD_OUT, rows // 10)
    choosing, reporting, fitting = order[:held_out], order[held_out : 2 * held_out], sorted(order[2 * held_out :])
    old, new = ([np.asarray(one[side][fitting]) for side in found.old] for one in (found.old, found.new))
    ridges = Ridge(np.concatenate(new), np.concatenate(old))
    index = old[0]  # of documents, where there are any

    def keeps(one: Map, some: Sequence[int]) -> Kept:
        before = ten_nearest(found.old[asked][some], index)
        same = agreement(before, ten_nearest(carried(one, found.new[asked][some]), index))
        (nearest, nearest_error), (first, first_error) = percent(same.nearest), percent(same.first)
        return Kept(nearest=nearest, nearest_error=nearest_error, first=first, first_error=first_error, texts=len(some))

    maps = {ridge: ridges.map(ridge) for ridge in RIDGES}
    best = max(maps, key=lambda ridge: keeps(maps[ridge], choosing).nearest)
    return Fitted(maps[best], best, keeps(maps[best], reporting), len(fitting))


def carried(one: Map, vectors: Vectors) -> Vectors:
    """New vectors (n, d) in the old space (n, e), of length 1."""
    own = torch.from_numpy(np.array(vectors))  # a file is read-only
    there: Vectors = normalize(
        bridged.carried(own, centre=one.centre, matrix=one.matrix, mean=one.mean), dim=-1
    ).numpy()
    return there
