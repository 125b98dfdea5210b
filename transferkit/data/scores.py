"""The five dev scores, each a function of vectors and gold data; all compare by cosine and are in percent."""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Vectors: TypeAlias = "npt.NDArray[np.float32] | csr_matrix"
BLOCK = 2**24  # similarities held at once, 64 MB in fp32


def knn_accuracy(vectors: Vectors, *, query_labels: list[str], train_labels: list[str]) -> float:
    """Share of queries whose nearest labelled vector has their label; the first of equally near ones decides.

    Args:
        vectors: (queries + labelled, d), the queries first.
        query_labels: one a query.
        train_labels: one a labelled vector.
    """
    unit = _unit_rows(vectors)
    queries = len(query_labels)
    nearest = [block.argmax(axis=1) for block in _similarities(unit[:queries], unit[queries:])]
    found = np.array(train_labels, dtype=object)[np.concatenate(nearest)]
    return 100.0 * float(np.mean(found == np.array(query_labels, dtype=object)))


def spearman(vectors: Vectors, *, gold: list[float]) -> float:
    """Rank correlation of cosine and gold score; 0 where all cosines are equal, as after a collapse.

    Args:
        vectors: (2 pairs, d), all first sentences, then all second ones.
        gold: one score a pair.
    """
    unit = _unit_rows(vectors)
    first, second = unit[: len(gold)], unit[len(gold) :]
    product = first * second if isinstance(unit, np.ndarray) else first.multiply(second)
    return _rank_correlation(np.asarray(product.sum(axis=1)).ravel(), np.asarray(gold))


def agreement(vectors: Vectors, *, gold: npt.NDArray[np.float32]) -> float:
    """Rank correlation of the cosines of all pairs with a teacher's; 0 where all of one side are equal.

    Args:
        vectors: (n, d).
        gold: (n, d_t), the teacher's vectors of the same texts.
    """
    mine, theirs = (_cosines_of_pairs(one) for one in (vectors, gold))
    return _rank_correlation(mine, theirs)


def ndcg_at_10(vectors: Vectors, *, relevant: list[dict[int, float]]) -> float:
    """Mean nDCG@10 of ranking all documents for each query: gain = relevance, discount = log2(1 + rank).

    Of equally similar documents the first comes first.

    Args:
        vectors: (queries + documents, d), the queries first.
        relevant: for each query, place of a document -> relevance above 0; never empty.
    """
    unit = _unit_rows(vectors)
    queries, documents = unit[: len(relevant)], unit[len(relevant) :]
    gains: list[float] = []
    for block in _similarities(queries, documents):
        for row in block:
            wanted = relevant[len(gains)]
            best = _dcg([wanted[i] for i in sorted(wanted, key=lambda i: -wanted[i])[:10]])
            gains.append(_dcg([wanted.get(int(i), 0.0) for i in _top_10(row)]) / best)
    return 100.0 * float(np.mean(gains))


def v_measure(vectors: Vectors, *, labels: list[str]) -> float:
    """V-measure (Rosenberg and Hirschberg, 2007) of k-means on unit vectors, as many clusters as labels.

    Three starts with a fixed seed.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import v_measure_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different vectors than clusters: a low score
        found = KMeans(len(set(labels)), n_init=3, random_state=0).fit_predict(_unit_rows(vectors))
    return 100.0 * float(v_measure_score(labels, found))


def _rank_correlation(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    """Spearman's rho in percent."""
    from scipy.stats import spearmanr

    if np.ptp(mine) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return 100.0 * float(spearmanr(mine, theirs).statistic)


def _cosines_of_pairs(vectors: Vectors) -> npt.NDArray[np.float32]:
    """Of every two rows once."""
    unit = _unit_rows(vectors)
    cosines = unit @ unit.T
    dense = cosines if isinstance(cosines, np.ndarray) else cosines.toarray()
    return dense[np.triu_indices(len(dense), 1)]


def _unit_rows(vectors: Vectors) -> Any:
    """Rows of unit norm; a row of zeros stays zero."""
    if isinstance(vectors, np.ndarray):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms > 0, norms, 1.0)
    from scipy.sparse import diags_array

    norms = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    return (diags_array(1.0 / np.where(norms > 0, norms, 1.0)) @ vectors).tocsr()


def _similarities(rows: Any, columns: Any) -> Iterator[npt.NDArray[np.float32]]:
    """``rows @ columns.T`` in blocks of rows, dense."""
    step = max(1, BLOCK // columns.shape[0])
    for start in range(0, rows.shape[0], step):
        block = rows[start : start + step] @ columns.T
        yield block if isinstance(block, np.ndarray) else block.toarray()


def _top_10(similarities: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Places of the ten greatest, greatest first, ties in the order in which they stand."""
    candidates = np.arange(len(similarities))
    if len(similarities) > 10:
        tenth = np.partition(similarities, -10)[-10]
        candidates = np.flatnonzero(similarities >= tenth)
    return candidates[np.argsort(-similarities[candidates], kind="stable")][:10]


def _dcg(gains: list[float]) -> float:
    return sum(gain / float(np.log2(1 + rank)) for rank, gain in enumerate(gains, start=1))
