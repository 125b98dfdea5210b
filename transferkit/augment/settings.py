"""What decides a run beside its texts and models: plain values and their defaults, readable without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transferkit.errors import ConfigError
from transferkit.files.writable import check_new_file


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn; everything else is as the model's own generation_config.json says.

    Attributes:
        samples: candidates a text, of every prompt and every kind.
        temperature: of the softmax; lower stays nearer to the likeliest text.
        top_p: only the likeliest tokens that make up this probability are drawn from.
        max_tokens: of a text that is read, and of one that is written.
    """

    samples: int = 1
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 128


@dataclass(frozen=True)
class Setup:
    """What all makers are given.

    Attributes:
        sampling: how texts are drawn.
        seed: of the run; every draw has a seed of its own that follows from it.
        batch_size: texts a forward pass, ``samples`` rows each.
        dtype: of the models' weights, ``float32`` or ``bfloat16``.
        device: where the models run, for example ``cpu``.
    """

    sampling: Sampling = Sampling()
    seed: int = 17
    batch_size: int = 16
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"


@dataclass(frozen=True)
class Limits:
    """What a generated candidate must keep to.

    The defaults of the word limits were measured on the STS benchmark. Of its 2,008 pairs with a score of 4 or more
    98.8 % share at least 0.15 of their words and 98.1 % less than 0.9; put together at random, 97 % share less than
    0.15. Words tell another subject, not another meaning: of the pairs with a score of 1 or less 64 % pass. That takes
    an embedder.

    Attributes:
        max_overlap: from this share of common words on (:func:`transferkit.augment.overlap.overlap`) it is a copy.
        min_overlap: below this share it is too far, where no embedder judges.
        embedder: a checkpoint, run folder, registry name, decoder folder or hub id whose cosines judge instead.
        min_similarity: cosine below which a candidate is too far; None: the 0.99 quantile of the cosines between
            different anchors of the first block, since cosines of different models have different scales.
    """

    max_overlap: float = 0.9
    min_overlap: float = 0.15
    embedder: str | None = None
    min_similarity: float | None = None


def check_output(out: Path, limits: Limits) -> None:
    """Refuse limits that nothing could keep to, and a file that could not be written.

    Raises:
        ConfigError: says which.
    """
    if limits.min_overlap >= limits.max_overlap:
        raise ConfigError(
            f"--min-overlap {limits.min_overlap:g}: expected less than --max-overlap ({limits.max_overlap:g}), or "
            "nothing could pass"
        )
    if limits.min_similarity is not None and limits.embedder is None:
        raise ConfigError("--min-similarity: a cosine needs an embedder; name one with --embedder")
    if out.suffix.lower() != ".parquet":
        raise ConfigError(f"--out {out}: expected a file ending in .parquet, got {out.suffix or out.name!r}")
    check_new_file(out)


def check_ways(names: Sequence[str]) -> None:
    """Refuse no way to make pairs, and the same one twice.

    Raises:
        ConfigError: says which.
    """
    if not names:
        raise ConfigError(
            "augment needs a way to make pairs: --llm MODEL (paraphrases), --forward MODEL --backward MODEL "
            "(back-translations) or --noise deletion|swap"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"augment: a way is given twice ({', '.join(names)}); write two files instead")
