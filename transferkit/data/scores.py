"""The five dev scores; all compare by cosine and are in percent.

Each is told in two parts: what every scored row came to, and the score of such rows. So a difference of two scores has
an error: the same rows, drawn anew, give other scores.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Vectors: TypeAlias = "npt.NDArray[np.float32] | csr_matrix"
Outcomes: TypeAlias = npt.NDArray[np.float64]  # (rows, c): c is 1 where a score is their mean, else 2
BLOCK = 2**24  # similarities held at once, 64 MB in fp32
_DRAWS = 200
DECIDED = 2.0  # so many standard errors decide a difference: 95 % of draws of the same rows


@dataclass(frozen=True)
class Metric:
    """A dev score. ``read`` takes vectors and ``gold``, by keyword, ``summary`` makes percent of its outcomes."""

    read: Callable[..., Outcomes]
    summary: Callable[[Outcomes], float]
    gold: Mapping[str, Any]

    def outcomes(self, vectors: Vectors) -> Outcomes:
        """What each scored row comes to."""
        return self.read(vectors, **self.gold)

    def __call__(self, vectors: Vectors) -> float:
        """The score of ``vectors`` in percent."""
        return self.summary(self.outcomes(vectors))


def knn(*, query_labels: list[str], train_labels: list[str]) -> Metric:
    """Share of queries whose nearest labelled vector has their label; the first of equally near ones decides.

    Of vectors (queries + labelled, d), the queries first.

    Args:
        query_labels: one a query.
        train_labels: one a labelled vector.
    """
    return Metric(_hits, _mean, {"query_labels": query_labels, "train_labels": train_labels})


def sts(*, gold: list[float]) -> Metric:
    """Rank correlation of cosine and gold score; 0 where all cosines are equal, as after a collapse.

    Of vectors (2 pairs, d), all first sentences, then all second ones.

    Args:
        gold: one score a pair.
    """
    return Metric(_cosines_and_gold, _rank_correlation, {"gold": gold})


def agreement(*, gold: npt.NDArray[np.float32]) -> Metric:
    """Rank correlation of the cosines of all pairs with a teacher's; 0 where all of one side are equal.

    Of vectors (n, d). Its outcomes are pairs of texts, n (n - 1) / 2.

    Args:
        gold: (n, d_t), the teacher's vectors of the same texts.
    """
    return Metric(_cosines_of_both, _rank_correlation, {"gold": gold})


def retrieval(*, relevant: list[dict[int, float]]) -> Metric:
    """Mean nDCG@10 of ranking all documents for each query: gain = relevance, discount = log2(1 + rank).

    Of equally similar documents the first comes first. Of vectors (queries + documents, d), the queries first.

    Args:
        relevant: for each query, place of a document -> relevance above 0; never empty.
    """
    return Metric(_gains, _mean, {"relevant": relevant})


def clustering(*, labels: list[str]) -> Metric:
    """V-measure (Rosenberg and Hirschberg, 2007) of k-means on unit vectors, as many clusters as labels.

    Three starts with a fixed seed.
    """
    return Metric(_clusters_and_labels, _v_measure, {"labels": labels})


def difference_error(metric: Metric, mine: Outcomes, theirs: Outcomes) -> float:
    """Standard error of ``metric``'s score of ``mine`` less that of ``theirs`` on the same rows: paired bootstrap.

    Efron and Tibshirani (1993), section 6: the rows are drawn anew, with repetitions, two hundred times.
    """
    generator = np.random.default_rng(0)
    drawn = (generator.integers(0, len(mine), len(mine)) for _ in range(_DRAWS))
    return float(np.std([metric.summary(mine[rows]) - metric.summary(theirs[rows]) for rows in drawn]))


def _mean(outcomes: Outcomes) -> float:
    return 100.0 * float(np.mean(outcomes))


def _rank_correlation(outcomes: Outcomes) -> float:
    """Spearman's rho of the two columns, in percent."""
    from scipy.stats import spearmanr

    mine, theirs = outcomes.T
    if np.ptp(mine) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return 100.0 * float(spearmanr(mine, theirs).statistic)


def _v_measure(outcomes: Outcomes) -> float:
    from sklearn.metrics import v_measure_score

    found, labels = outcomes.T
    return 100.0 * float(v_measure_score(labels, found))


def _hits(vectors: Vectors, *, query_labels: list[str], train_labels: list[str]) -> Outcomes:
    unit = _unit_rows(vectors)
    queries = len(query_labels)
    nearest = [block.argmax(axis=1) for block in _similarities(unit[:queries], unit[queries:])]
    found = np.array(train_labels, dtype=object)[np.concatenate(nearest)]
    return (found == np.array(query_labels, dtype=object)).astype(np.float64)[:, None]


def _cosines_and_gold(vectors: Vectors, *, gold: list[float]) -> Outcomes:
    unit = _unit_rows(vectors)
    first, second = unit[: len(gold)], unit[len(gold) :]
    product = first * second if isinstance(unit, np.ndarray) else first.multiply(second)
    return np.stack([np.asarray(product.sum(axis=1)).ravel(), np.asarray(gold)], axis=1)


def _cosines_of_both(vectors: Vectors, *, gold: npt.NDArray[np.float32]) -> Outcomes:
    return np.stack([_cosines_of_pairs(one) for one in (vectors, gold)], axis=1)


def _gains(vectors: Vectors, *, relevant: list[dict[int, float]]) -> Outcomes:
    unit = _unit_rows(vectors)
    queries, documents = unit[: len(relevant)], unit[len(relevant) :]
    gains: list[float] = []
    for block in _similarities(queries, documents):
        for row in block:
            wanted = relevant[len(gains)]
            best = _dcg([wanted[i] for i in sorted(wanted, key=lambda i: -wanted[i])[:10]])
            gains.append(_dcg([wanted.get(int(i), 0.0) for i in _top_10(row)]) / best)
    return np.array(gains)[:, None]


def _clusters_and_labels(vectors: Vectors, *, labels: list[str]) -> Outcomes:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    names, numbers = np.unique(labels, return_inverse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different vectors than clusters: a low score
        found = KMeans(len(names), n_init=3, random_state=0).fit_predict(_unit_rows(vectors))
    return np.stack([found, numbers], axis=1).astype(np.float64)


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
