"""Which runs may stand in one table: same data, same target, finished; refusals name what differs."""

from collections.abc import Callable, Iterable
from typing import Any

from transferkit.config.methods import all_methods
from transferkit.errors import ConfigError
from transferkit.runs.folder import Run

_IDENTITY = ("weights_sha256", "config_sha256", "tokenizer_sha256")


def check_comparable(runs: list[Run], *, allow_unfinished: bool = False) -> None:
    """Check that ``runs`` may be compared.

    Raises:
        ConfigError: no run, a run twice, a source run, an unfinished or unmeasured run, or runs whose
            training data, dev sets or target backbone differ.
    """
    if not runs:
        raise ConfigError("compare: expected at least one run folder, got none")
    _check_once(runs)
    _check_no_source(runs)
    _check_finished(runs, allow_unfinished=allow_unfinished)
    _check_same(runs, "the training data differs (data.train_sha256)", lambda run: run.record["data"]["train_sha256"])
    _check_same(runs, _dev_difference(runs), lambda run: run.record["data"]["dev_sha256"])
    _check_same(runs, "the teacher that texts alone are scored by differs (teacher)", _scored_by)
    _check_same(runs, "the instructions of dev sets of texts alone differ (data.dev)", _instructions)
    _check_same(with_target(runs), f"the target backbone differs ({', '.join(_IDENTITY)})", _target)


def with_target(runs: Iterable[Run]) -> list[Run]:
    """Those that embed with the target."""
    without = [name for name, facts in all_methods().items() if not facts.has_backbone]
    return [run for run in runs if run.record["backbone"] and run.record["method"] not in without]


def run_id(run: Run) -> str:
    """The run's id, which is also the name of its folder when it was made."""
    return str(run.record["run"])


def _check_once(runs: list[Run]) -> None:
    first: dict[str, Run] = {}
    for run in runs:
        if (other := first.setdefault(run_id(run), run)) is not run:
            where = f"{other.folder} and {run.folder}" if other.folder != run.folder else str(run.folder)
            raise ConfigError(f"compare: run {run_id(run)!r} is given twice ({where}); give every run once")


def _check_no_source(runs: list[Run]) -> None:
    for run in runs:
        if run.record["task"] == "train":
            raise ConfigError(
                f"compare: {run_id(run)!r} is a source run (task 'train') on a backbone of its own; "
                "pass the adapt runs that carried it to the target and the baseline runs on it instead"
            )


def _check_finished(runs: list[Run], *, allow_unfinished: bool) -> None:
    unfinished = [run for run in runs if run.record["status"] != "done"]
    if unfinished and not allow_unfinished:
        names = ", ".join(f"{run_id(run)!r} ({run.record['status']})" for run in unfinished)
        raise ConfigError(f"compare: not finished: {names}; resume or drop them, or pass --allow-unfinished")
    for run in runs:
        if not any(row["score"]["plain"] is not None for row in run.metrics):
            raise ConfigError(f"compare: {run_id(run)!r} has no scored evaluation in metrics.jsonl; drop it")


def _target(run: Run) -> tuple[str, ...]:
    return tuple(run.record["backbone"][key] for key in _IDENTITY)


def teacher_of(run: Run) -> str | None:
    """What the teachers of one group share: their lineage, which a seed does not change; else the teacher itself."""
    teacher = run.record.get("teacher") or {}
    return teacher.get("lineage") or teacher.get("sha256")


def _scored_by(run: Run) -> str | None:
    """The teacher that a dev set of texts alone compares under; None where there is no such set."""
    return teacher_of(run) if any(dev["kind"] == "texts" for dev in run.record["data"]["dev"]) else None


def _instructions(run: Run) -> str | None:
    """With which both the teacher and the run read dev sets of texts alone; None where there is no such set."""
    names = [dev["name"] for dev in run.record["data"]["dev"] if dev["kind"] == "texts"]
    read = [one.get("instruction") or "" for one in run.recipe["data"]["dev"] if one["name"] in names] if names else []
    return ", ".join(map(repr, read)) or None


def _check_same(runs: Iterable[Run], what: str, value: Callable[[Run], Any]) -> None:
    """Raise when ``value`` is not the same for all runs; the smallest camps are named first."""
    camps: dict[Any, list[Run]] = {}
    for run in runs:
        camps.setdefault(value(run), []).append(run)
    if len(camps) < 2:
        return
    sides = sorted(camps.items(), key=lambda item: (len(item[1]), run_id(item[1][0])))
    listed = "; ".join(
        f"{_value_name(found, side[0])}: {', '.join(repr(run_id(run)) for run in side)}" for found, side in sides
    )
    raise ConfigError(f"compare: {what}: {listed}; compare only runs that share it")


def _value_name(value: Any, run: Run) -> str:
    """Short form of a hash, or the target's name with those of its hashes."""
    if isinstance(value, tuple):
        return f"{run.record['backbone']['name']} ({', '.join(part[:8] for part in value)})"
    return str(value)[:12]


def _dev_difference(runs: list[Run]) -> str:
    """Sentence start that names the dev sets that are not the same everywhere."""
    seen: dict[str, set[str]] = {}
    for run in runs:
        for entry in run.record["data"]["dev"]:
            facts = {key: entry.get(key) for key in ("kind", "select", "sha256", "texts")}
            seen.setdefault(entry["name"], set()).add(repr(facts))
    missing = {name for name in seen for run in runs if name not in {e["name"] for e in run.record["data"]["dev"]}}
    names = sorted({name for name, facts in seen.items() if len(facts) > 1} | missing)
    listed = f" in {', '.join(names)}" if names else ""
    return f"the dev sets differ{listed} (data.dev_sha256)"
