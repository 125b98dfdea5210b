"""TF-IDF: the floor that an embedding worth its name must beat."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer


class Tfidf:
    """TF-IDF vectors behind the part of the embedder's interface that scoring needs. Words of the texts given."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.vectorizer = unfitted().fit(texts)

    def eval(self) -> "Tfidf":
        """Nothing to switch."""
        return self

    def pooled(self, texts: Sequence[str], instructions: Sequence[str], *, batch_size: int) -> "csr_matrix":
        """Sparse unit vectors (n, words)."""
        return self.vectorizer.transform(texts)


def unfitted() -> "TfidfVectorizer":
    """The settings of every TF-IDF row."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # seconds, which no other row needs

    return TfidfVectorizer(sublinear_tf=True)
