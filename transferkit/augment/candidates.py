"""A candidate for a pair and where it comes from: what the ways of making them share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, Protocol

from transferkit.augment.settings import Setup

Kind = Literal["paraphrase", "back-translation", "deletion", "swap"]
Reason = Literal[
    "anchor too long",  # more tokens than --max-tokens; cut, it would no longer mean the same
    "nothing to change",  # noise on a single word
    "unfinished",  # the model was stopped in the middle of a text
    "empty",
    "too long",
    "copy",
    "other script",
    "too far",
    "repeated",  # the same pair is in the file already
]


@dataclass(frozen=True)
class Source:
    """A text and its row in the input, counted from 1."""

    row: int
    text: str


@dataclass(frozen=True)
class Origin:
    """What made a candidate. The fields on models are None for noise; of two models both are named, joined by `` + ``.

    Attributes:
        kind: the way it was made.
        model: hub id, registry name or folder name.
        revision: commit on the hub, where it is known.
        weights_sha256: hash of sampled weights (:func:`transferkit.decoder.identity.weights_sha256`).
        prompt: name of the paraphrase prompt; None for the other kinds.
    """

    kind: Kind
    model: str | None = None
    revision: str | None = None
    weights_sha256: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A text that may become the positive of its source.

    Attributes:
        source: the anchor.
        text: the proposed positive; empty where nothing came out.
        origin: what made it.
        seed: of the random state that it was drawn with; texts of one batch share it.
        problem: why it is none after all, where its maker knows; the filters find the rest.
    """

    source: Source
    text: str
    origin: Origin
    seed: int
    problem: Reason | None = None


class Maker(Protocol):
    """Makes candidates of one origin.

    Attributes:
        origin: of all its candidates.
        per_text: candidates a text; a maker gives exactly so many, with or without a problem.
    """

    origin: Origin
    per_text: int

    def __call__(self, sources: Sequence[Source]) -> Iterator[Candidate]:
        """Candidates of a block, in any order; those of one text in the order in which they were drawn."""


class Way(Protocol):
    """A way of making candidates, as it is asked for; its models are found, but their weights are not loaded.

    Attributes:
        name: what messages call it.
    """

    name: str

    def described(self) -> dict[str, Any]:
        """All that decides its candidates beside texts and set-up, the same wherever files lie; goes into JSON."""

    def makers(self, setup: Setup) -> list[Maker]:
        """Load what is needed."""


def draw_seed(seed: int, *place: str | int) -> int:
    """A seed of 63 bits for one place in the run: a function of ``seed`` and ``place`` alone, in every process."""
    digest = blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
