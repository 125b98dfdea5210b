"""How near two texts are under an embedder, and which cosine is too low: no two embedders have the same scale."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transferkit.augment.candidates import Candidate
from transferkit.augment.models import Model
from transferkit.augment.overlap import words
from transferkit.files.encoder_folder import encoder_folder, encoder_sha256, is_encoder
from transferkit.files.manifest import NAME, sha256_file, verify
from transferkit.methods.base import Embedder
from transferkit.runs.checkpoint_folder import checkpoint_folder, is_checkpoint

_CALIBRATION = 0.99  # of the pairs of different anchors are farther apart than a candidate may be


def embedder_sha256(name: str) -> str:
    """Hash that tells an embedder from another: of a checkpoint's manifest, an encoder's files, a decoder's weights.

    Args:
        name: as :func:`transferkit.checkpoints.open.open_model` takes it.

    Raises:
        ConfigError: none of these, or a damaged checkpoint.
    """
    if is_encoder(name):
        return encoder_sha256(encoder_folder(name))
    if is_checkpoint(name):
        folder = checkpoint_folder(Path(name))
        verify(folder)
        return sha256_file(folder / NAME)
    return Model.decoder(name).weights_sha256


class Similarity:
    """Cosines under an embedder, with the limit below which two texts do not mean the same.

    Args:
        embedder: any method.
        limit: None: found by :meth:`calibrate`.
        batch_size: texts a forward pass.
    """

    def __init__(self, embedder: Embedder, *, limit: float | None, batch_size: int) -> None:
        self.embedder = embedder
        self.limit = limit
        self.batch_size = batch_size

    def calibrate(self, anchors: Sequence[str]) -> None:
        """Set the limit to the 0.99 quantile of the cosines between different anchors; of one alone, to -1."""
        different = list({" ".join(words(anchor)): anchor for anchor in anchors}.values())
        if len(different) < 2:
            self.limit = -1.0
            return
        vectors = self.embedder.encode(different, batch_size=self.batch_size)
        cosines = (vectors @ vectors.T)[np.triu_indices(len(different), k=1)]
        self.limit = float(np.quantile(cosines, _CALIBRATION))

    def too_far(self, candidates: Sequence[Candidate]) -> list[bool]:
        """Whether each candidate lies below the limit; anchors and candidates are each read once."""
        assert self.limit is not None
        texts = list(dict.fromkeys(text for c in candidates for text in (c.source.text, c.text)))
        vectors = dict(zip(texts, self.embedder.encode(texts, batch_size=self.batch_size), strict=True))
        return [bool(vectors[c.source.text] @ vectors[c.text] < self.limit) for c in candidates]
