"""Rows of an evaluation and what follows from them: means as mteb's leaderboards take them, spread over templates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from transferkit.report.intervals import Samples


@dataclass(frozen=True)
class TaskRow:
    """One encoder on one task. ``score`` is the task's main score in percent; None where the task failed.

    Attributes:
        metric: which score is the main one.
        seconds: of the task in all, data and scoring included; None, as the next two, where an earlier call began it.
        encoder_seconds: of them, those in the encoder.
        texts: different texts that were read.
        shared: texts that were read for another pooling already were not read again, nor counted.
        kept: the score was there already; then the times are those of the run that measured it.
        problem: why there is no score.
        template: its name, or its text; None where there is none.
        pooling: None where there is none.
        judged: texts, pairs or queries that were scored; None where that is not known.
        samples: the scores of these, one by one; None where there is one for all of them.
    """

    model: str
    method: str
    revision: str
    task: str
    type: str
    metric: str
    score: float | None = None
    seconds: float | None = None
    encoder_seconds: float | None = None
    texts: int | None = None
    mteb_version: str | None = None
    shared: bool = False
    kept: bool = False
    problem: str | None = None
    template: str | None = None
    pooling: str | None = None
    judged: int | None = None
    samples: Samples | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """Model and method."""
        return f"{self.model}: {self.method}"

    @property
    def label_without_template(self) -> str:
        """The same for all templates."""
        return self.label.removesuffix(f" · {self.template}")

    @property
    def texts_per_second(self) -> float | None:
        """Texts a second of the encoder's time; None where none was read."""
        return ratio(self.texts or None, self.encoder_seconds)

    @property
    def encoder_percent(self) -> float | None:
        """Share of the time that was spent in the encoder."""
        share = ratio(self.encoder_seconds, self.seconds)
        return None if share is None else 100 * share


def ratio(part: float | None, whole: float | None) -> float | None:
    """``part / whole``; None where one is unknown or the whole is nothing."""
    return None if part is None or not whole else part / whole


@dataclass(frozen=True)
class Means:
    """Mean over tasks, over the means of the types, and of each type; None while one of its scores is missing."""

    over_tasks: float | None
    over_types: float | None
    by_type: dict[str, float | None]


def means(rows: Sequence[TaskRow], *, types: Sequence[str]) -> Means:
    """Means as on mteb's leaderboards.

    Args:
        rows: of one encoder.
        types: one a task, of all that are run in the end.
    """
    by_type = {
        kind: _mean([row.score for row in rows if row.type == kind], of=number)
        for kind, number in Counter(types).items()
    }
    over_tasks = _mean([row.score for row in rows], of=len(types))
    return Means(over_tasks, _mean(list(by_type.values()), of=len(by_type)), by_type)


def _mean(values: Sequence[float | None], *, of: int) -> float | None:
    """None with fewer than ``of`` numbers."""
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers and len(numbers) == of else None


def by_encoder(rows: Sequence[TaskRow]) -> list[list[TaskRow]]:
    """The rows of each encoder, in the order in which they were run."""
    found: dict[tuple[str, str, str], list[TaskRow]] = {}
    for row in rows:
        found.setdefault((row.model, row.method, row.revision), []).append(row)
    return list(found.values())


@dataclass(frozen=True)
class Spread:
    """Lowest, median and highest score of one reading over several templates, in percent.

    Attributes:
        label: model and method.
        templates: how many.
        task: None: means over all tasks.
        low: None, as the other two, while one of the scores is missing.
    """

    label: str
    templates: int
    task: str | None
    low: float | None
    median: float | None
    high: float | None


def spreads(rows: Sequence[TaskRow], *, types: Sequence[str]) -> list[Spread]:
    """For everything that was read through several templates: of the means over tasks, then of each task.

    Args:
        rows: of all encoders.
        types: as for :func:`means`.
    """
    groups: dict[tuple[str, int], dict[str, list[TaskRow]]] = {}
    for own in by_encoder(rows):
        if (template := own[0].template) is None:
            continue
        label, turn = own[0].label_without_template, 0
        while template in groups.get((label, turn), {}):  # another model of the same name
            turn += 1
        groups.setdefault((label, turn), {})[template] = own
    found = []
    for (label, _), by_template in groups.items():
        if len(by_template) < 2:
            continue
        overall = [means(own, types=types).over_tasks for own in by_template.values()]
        found.append(_spread(label, None, overall))
        for task in dict.fromkeys(row.task for own in by_template.values() for row in own):
            scores = [next((row.score for row in own if row.task == task), None) for own in by_template.values()]
            found.append(_spread(label, task, scores))
    return found


def _spread(label: str, task: str | None, scores: Sequence[float | None]) -> Spread:
    numbers = [score for score in scores if score is not None]
    if len(numbers) < len(scores):
        return Spread(label, len(scores), task, None, None, None)
    return Spread(label, len(scores), task, min(numbers), median(numbers), max(numbers))
