"""TF-IDF: the floor that an embedding worth its name must beat. Nothing is trained, and no checkpoint is left."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from transferkit.config.methods import MethodFacts
from transferkit.config.resolve import ResolvedRecipe
from transferkit.decoder.text_states import TextStateMemory
from transferkit.methods.base import Embedder, Given
from transferkit.methods.described import Example
from transferkit.readout.form import Form
from transferkit.readout.readout import Readout

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

_LARGE_SAMPLE = 200_000  # texts that words are taken from at most


class Tfidf(Embedder):
    """TF-IDF vectors, sparse. Words and their weights are those of the texts given.

    Args:
        texts: gives them; asked once, when the first vector is.
    """

    facts = MethodFacts(
        name="tfidf", task="baseline", place=7, title="TF-IDF", kind=None, has_backbone=False, learns=False
    )
    takes_readout: ClassVar[bool] = False

    def __init__(self, texts: Callable[[], Sequence[str]]) -> None:
        super().__init__(Readout.plain(0))
        self._texts = texts

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """Words of the training texts."""
        return cls(lambda: given.data.sample(_LARGE_SAMPLE, recipe.seed)[0])

    @cached_property
    def vectorizer(self) -> "TfidfVectorizer":
        """Fitted to the texts."""
        return unfitted().fit(self._texts())

    def pooled(
        self,
        texts: Sequence[str],
        instructions: Sequence[str],
        *,
        batch_size: int,
        memory: TextStateMemory | None = None,
    ) -> "csr_matrix":
        """Sparse unit vectors (n, words)."""
        return self.vectorizer.transform(texts)

    def _finished(self, vectors: Any, form: Form, *, readout: bool) -> np.ndarray:
        dense = vectors.toarray().astype(np.float32)  # of unit length
        return dense if form.truncate_dim is None else super()._finished(torch.from_numpy(dense), form, readout=False)

    def get_embedding_dimension(self) -> int:
        """Words that are counted."""
        return len(self.vectorizer.vocabulary_)

    def outline(self, recipe: ResolvedRecipe) -> list[str]:
        """What is counted."""
        return ["words and their weights are counted in the training texts; no checkpoint"]

    def memory_note(self) -> str:
        """No weights."""
        return "the vectors of all dev texts, sparse"

    def examples_title(self) -> str:
        """It reads words."""
        return "examples, as words"

    def example(self, text: str, instruction: str) -> Example:
        """Its words."""
        return Example(text, instruction, tokens=unfitted().build_analyzer()(text))


def unfitted() -> "TfidfVectorizer":
    """The settings of every TF-IDF row."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # seconds, which no other method needs

    return TfidfVectorizer(sublinear_tf=True)
