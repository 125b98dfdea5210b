"""What mteb scored of a task, text by text or query by query: observed while it runs, kept beside its result."""

from json import dumps, loads
from pathlib import Path
from typing import Any

import numpy as np
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)

from transferkit.files.json import write_text
from transferkit.report.intervals import Part, Samples, score_of

_SAME = 1e-5  # of a score between 0 and 1: mteb's own, and what its samples give
_NOWHERE = Path("nowhere")  # mteb keeps predictions where it is given a folder; they are caught before
_RETRIEVAL = {"ndcg": "ndcg_cut_{k}", "map": "map_cut_{k}", "recall": "recall_{k}", "precision": "P_{k}"}
_DIGITS = 6


class Observed:
    """A task whose scores of single texts, pairs or queries are caught while mteb evaluates it.

    Classification by accuracy gives of each text the share of the experiments that had it right; retrieval and
    reranking the main score of each query; STS each pair's cosine beside its own score. All others give none: their
    scores are of the whole set.

    Attributes:
        judged: texts, pairs or queries that were scored; None where that is not known.

    Args:
        task: of mteb; gets methods of its own that do what they did, so it is a copy that nothing else uses.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self.judged: int | None = None
        self._parts: list[Part | None] = []
        self._predictions: Any = None
        self._evaluate = self.task._evaluate_subset
        self.task._evaluate_subset = self._observe
        if isinstance(task, AbsTaskRetrieval):
            self._specific = self.task.task_specific_scores
            self.task.task_specific_scores = self._by_query
        elif isinstance(task, AbsTaskClassification | AbsTaskSTS):
            self.task._save_task_predictions = self._catch

    def samples(self, score: float) -> Samples | None:
        """Those of all subsets; None where there are none, or where they give another score than mteb's."""
        parts = tuple(part for part in self._parts if part is not None)
        if not parts or len(parts) < len(self._parts) or abs(score_of(parts) - score) > _SAME:
            return None
        return parts

    def _observe(self, model: Any, data: Any, **options: Any) -> Any:
        self._predictions = None
        if isinstance(self.task, AbsTaskClassification | AbsTaskSTS):
            options["prediction_folder"] = _NOWHERE
        found = self._evaluate(model, data, **options)
        self._parts.append(self._part(data, options["hf_split"]))
        if (number := self._number(data, options["hf_split"])) is not None:
            self.judged = (self.judged or 0) + number
        return found

    def _catch(self, predictions: Any, *_: Any, **__: Any) -> None:
        self._predictions = predictions

    def _by_query(self, scores: Any, *rest: Any, **named: Any) -> Any:
        self._predictions = scores
        return self._specific(scores, *rest, **named)

    def _number(self, data: Any, split: str) -> int | None:
        if isinstance(self.task, AbsTaskRetrieval):
            return None if self._predictions is None else len(self._predictions)
        if isinstance(self.task, AbsTaskClassification):
            return len(data[split])
        known = isinstance(self.task, AbsTaskSTS | AbsTaskPairClassification) and len(data) > 1
        return len(data) if known else None  # one row may hold all pairs as lists

    def _part(self, data: Any, split: str) -> Part | None:
        found, metric = self._predictions, self.task.metadata.main_score
        if found is None:
            return None
        if isinstance(self.task, AbsTaskRetrieval):
            name, _, cut = metric.partition("_at_")
            key = _RETRIEVAL.get(name, "").format(k=cut)
            values = [of_query.get(key) for _, of_query in sorted(found.items())]
            return None if not values or None in values else Part(_rounded(values))
        if isinstance(self.task, AbsTaskSTS):
            if metric != "cosine_spearman":
                return None
            return Part(_rounded(found["cosine_scores"]), gold=_rounded(data["score"]))
        gold = np.asarray(data[split][self.task.label_column_name])
        if metric != "accuracy" or any(len(one) != len(gold) for one in found):
            return None
        return Part(_rounded(np.mean([np.asarray(one) == gold for one in found], axis=0)))


def _rounded(values: Any) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)


def samples_file(result: Path) -> Path:
    """Where the samples of a task lie beside its result; mteb reads what ends in .json alone."""
    return result.with_suffix(".samples.jsonl")


def keep_samples(samples: Samples | None, file: Path) -> None:
    """Write them instead of those that are there, a subset a line; a score that is no mean has the gold scores too."""
    file.unlink(missing_ok=True)
    if samples is not None:
        write_text(file, "".join(dumps({"values": one.values, "gold": one.gold}) + "\n" for one in samples))


def read_samples(file: Path) -> Samples:
    """Those of a file that its note vouches for."""
    parts = map(loads, file.read_text(encoding="utf-8").splitlines())
    return tuple(Part(tuple(one["values"]), None if one["gold"] is None else tuple(one["gold"])) for one in parts)
