"""Runs -> learning curves: one series for a group of seeds and a readout, one curve a run. No torch."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any, Literal

from transferkit.config.methods import all_methods, heeded, what_counts
from transferkit.config.recipes import RETIRED
from transferkit.config.schema import flat
from transferkit.config.template import template_name
from transferkit.convergence.comparable import run_id, teacher_of
from transferkit.convergence.curve import Keep, Point, kept, learning_curve, reached
from transferkit.runs.folder import Run, as_asked

Readout = Literal["plain", "whiten", "center", "delivered"]
READOUT_NAMES: dict[Readout, str] = {
    "plain": "plain",
    "whiten": "whitened",
    "center": "centred",
    "delivered": "as delivered",
}
KIND_NAMES = {"none": "plain", "plain": "plain", "center": "centred", "whiten": "whitened", "pairs": "from pairs"}

# It says what was loaded, and who taught; `embedding.dtype` is what `precision` was once called.
_IN_THE_RECORD = (
    *("embedding.backbone", "embedding.quantization", "embedding.dtype", "precision"),
    *("teacher.model", "teacher.backbone", "teacher.vectors"),
)
_IGNORED_DATA_KEYS = {"path", "train_path", "corpus_path", "qrels_path", "hub_id", "builtin", "revision"}


@dataclass(frozen=True)
class Series:
    """The runs of one group, which differ in their seed only, read with one readout."""

    method: str
    label: str
    readout: Readout
    variant: str | None  # pooling and template, where one run measured several; of runs that chose differently, all
    runs: tuple[Run, ...]
    curves: tuple[tuple[Point, ...], ...]  # one a run, in steps' order
    keep: Keep  # the recipe's eval.keep: which evaluation a run stands with

    @property
    def last_step(self) -> int:
        """The last evaluated step that all runs have; 0 where nothing is trained."""
        return min(curve[-1].step for curve in self.curves)

    @property
    def name(self) -> str:
        """Label and, where one was chosen, variant."""
        return f"{self.label}: {self.variant}" if self.variant else self.label

    def reached(self, score: float) -> list[Point | None]:
        """Of each run the evaluation from which it has ``score``: the first one, under ``eval.keep: last`` for good.

        None for a run that never does.
        """
        return [reached(curve, score, self.keep) for curve in self.curves]

    @property
    def is_delivered(self) -> bool:
        """Whether what it stands with is what the checkpoints of all its runs are: step, variant and readout."""
        return all(
            run.record["status"] == "done" and run.record["best"]["step"] == point.step and self._has_its_readout(run)
            for run, point in zip(self.runs, self.kept(), strict=True)
        )

    def _has_its_readout(self, run: Run) -> bool:
        """Runs from before readouts were chosen stand in two series, and their checkpoint is of one of them."""
        if self.readout == "delivered":
            return True
        best = run.record["best"]
        has = any(
            row["score"].get("readout") is not None
            for row in run.metrics
            if (row["step"], row.get("variant")) == (best["step"], best.get("variant"))
        )
        return best.get("variant") == self.variant and has == (self.readout != "plain")

    def uneven_pace(self) -> float:
        """How many times longer a step took in the slowest of its runs than in the fastest; 1 where nothing trains."""
        paces = [curve[-1].seconds / curve[-1].step for curve in self.curves if curve[-1].step]
        return max(paces) / min(paces) if paces and min(paces) > 0 else 1.0

    def kept(self, *, up_to: float = inf) -> list[Point]:
        """The evaluation that each run stands with among those at steps up to ``up_to``."""
        return [kept([point for point in curve if point.step <= up_to], self.keep) for curve in self.curves]


def build_series(runs: Iterable[Run]) -> list[Series]:
    """Series of all groups in table order: by method, then label.

    One a group, as its checkpoints are delivered. Runs from before readouts were chosen have two, plain and with the
    readout of their recipe.
    """
    series: list[Series] = []
    for label, group in _groups(runs):
        chosen = all(row.get("choosing") is not None for run in group for row in run.metrics)
        for key in ("delivered",) if chosen else ("plain", "readout"):
            found = _series(label, group, key=key)
            if found is not None:
                series.append(found)
    return series


def recipe_facts(run: Run) -> dict[str, Any]:
    """Flat ``section.key`` -> value of what the run heeded of its resolved recipe; list items by position.

    Raises:
        ConfigError: no readable ``recipe.yaml`` in the run folder.
    """
    return flat(heeded(run.recipe))


def source_of(run: Run) -> str | None:
    """What the sources of one group share: their lineage, which a seed does not change; else the source itself."""
    source = run.record["source"]
    if source is None:
        return None
    if source.get("lineage"):
        return f"trained as {source['lineage'][:8]}"
    return f"{source['run']} {source['sha256'][:8]}"  # a folder can be trained again


def _groups(runs: Iterable[Run]) -> list[tuple[str, tuple[Run, ...]]]:
    """Label and runs of every group, sorted; no two have the same label.

    Runs of one label whose recipes differ in more than the seed are not seeds of each other: they become groups of
    their own, and where one differs from most of them the label says in what.
    """
    order_of = list(all_methods())
    by_label: dict[tuple[int, str, str], dict[str, list[Run]]] = {}
    for run in sorted(runs, key=run_id):
        method = run.record["method"]
        order = order_of.index(method) if method in order_of else len(order_of)
        groups = by_label.setdefault((order, method, run.record["label"]), {})
        groups.setdefault(json.dumps(_identity(run), sort_keys=True, default=str), []).append(run)
    named = []
    for (order, _, label), groups in by_label.items():
        sources = _source_names([run for group in groups.values() for run in group])
        for differing, group in zip(_unusual(groups), groups.values(), strict=True):
            suffix = ", ".join(f"{key} {_shown(key, value, sources)}" for key, value in differing.items())
            named.append((order, f"{label} [{suffix}]" if suffix else label, tuple(group)))
    times = Counter(label for _, label, _ in named)
    unique = [
        (order, label if times[label] == 1 else f"{label} ({run_id(group[0])})", group) for order, label, group in named
    ]
    return [
        (label, group) for _, label, group in sorted(unique, key=lambda item: (item[0], item[1], run_id(item[2][0])))
    ]


def _unusual(groups: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """Of each group, the facts in which it differs from most runs; where no value leads, all groups say theirs.

    Args:
        groups: identity as JSON -> its runs.
    """
    identities = [json.loads(key) for key in groups]
    usual = {}
    for key in sorted({key for facts in identities for key in facts}):
        runs: Counter[str] = Counter()
        for facts, group in zip(identities, groups.values(), strict=True):
            runs[json.dumps(facts.get(key))] += len(group)
        (value, most), *others = runs.most_common(2)
        usual[key] = None if others and others[0][1] == most else value
    return [
        {key: facts.get(key) for key, value in usual.items() if json.dumps(facts.get(key)) != value}
        for facts in identities
    ]


def _shown(key: str, value: Any, sources: dict[str, str]) -> Any:
    """A value as labels name it: a template or a source by its name, where it has one."""
    if value is None:
        return "not set"
    if key == "source":
        return sources[value]
    return (
        template_name(value, soft=True) if re.fullmatch(r"embedding\.template|frozen\.templates\.\d+", key) else value
    )


def _source_names(runs: list[Run]) -> dict[str, str]:
    """What :func:`source_of` gives -> the name of the source's run less its seed, where only that one has it."""
    names: dict[str, set[str]] = {}
    for run in runs:
        if (source := source_of(run)) is not None:
            name = run.record["source"]["run"].removesuffix(f"-s{run.record['seed']}")
            names.setdefault(source, set()).add(name)
    times = Counter(name for found in names.values() for name in found)
    return {
        source: min(found) if len(found) == 1 and times[min(found)] == 1 else source for source, found in names.items()
    }


def _identity(run: Run) -> dict[str, Any]:
    """What the seeds of one group share: recipe, source, target and how it is loaded; what is not set is left out."""
    facts = {
        key: value
        for key, value in flat(what_counts(as_asked(run.recipe, run.record))).items()
        if key not in _IN_THE_RECORD
        and not (key.startswith("data.") and key.split(".")[-1] in _IGNORED_DATA_KEYS)
        and not (key in RETIRED and value == RETIRED[key])  # a newer run of the same recipe no longer has the key
    }
    backbone = run.record["backbone"] or {}
    facts["source"], facts["teacher"] = source_of(run), (teacher_of(run) or "")[:8] or None
    facts["backbone"] = backbone.get("name")
    facts["encoder"] = (run.record.get("encoder") or {}).get("sha256", "")[:8] or None
    facts["quantization"], facts["precision"] = backbone.get("quantization"), precision_of(run)
    return {key: value for key, value in facts.items() if value is not None}


def precision_of(run: Run) -> str:
    """In which its models computed; records of earlier versions say it of the backbone, all else was float32."""
    return str(run.record.get("precision") or (run.record["backbone"] or {}).get("dtype") or "float32")


def _own_variant(
    run: Run, scored: dict[str | None, dict[int, tuple[Point, ...]]], keep: Keep, *, place: int
) -> str | None:
    """Of the run at ``place``, the variant that its checkpoint is; of an unfinished one, what that would be."""
    recorded: str | None = (run.record.get("best") or {}).get("variant")
    there = {variant: kept(curves[place], keep).choosing for variant, curves in scored.items() if place in curves}
    return recorded if recorded in there else max(there, key=lambda variant: there[variant])


def _variants(group: tuple[Run, ...]) -> list[str | None]:
    """Names of the ways that were measured, sorted; None alone where there is one way only."""
    named = {str(row["variant"]) for run in group for row in run.metrics if row.get("variant") is not None}
    return [*sorted(named)] or [None]


def _series(label: str, group: tuple[Run, ...], *, key: str) -> Series | None:
    """The series of a group, by the scores ``key`` names; None where there are none."""
    facts = recipe_facts(group[0])
    keep: Keep = "last" if facts.get("eval.keep") == "last" else "best"
    scored = {
        variant: {i: curve for i, run in enumerate(group) if (curve := learning_curve(run, key=key, variant=variant))}
        for variant in _variants(group)
    }
    if not any(scored.values()):
        return None
    # The best variant is the floor that a user would take; the first in name order wins a tie.
    if key == "delivered":  # every run chose its own
        own = {i: _own_variant(run, scored, keep, place=i) for i, run in enumerate(group)}
        taken = {i: scored[variant][i] for i, variant in own.items()}
        names = sorted({variant for variant in own.values() if variant is not None})
    else:
        scores = {one: [kept(curve, keep).choosing for curve in found.values()] for one, found in scored.items()}
        best = max((one for one in scored if scores[one]), key=lambda one: median(scores[one]))
        taken, names = scored[best], [best] if best is not None else []
    readout: Readout = "delivered" if key == "delivered" else "plain"
    if key == "readout":
        readout = "center" if facts.get("readout.kind") == "center" else "whiten"
    return Series(
        method=group[0].record["method"],
        label=label,
        readout=readout,
        variant=" or ".join(names) or None,
        runs=tuple(group[i] for i in taken),
        curves=tuple(taken.values()),
        keep=keep,
    )
