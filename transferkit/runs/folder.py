"""The run folder: ``recipe.yaml``, ``record.json``, ``metrics.jsonl`` and ``checkpoint/``. Readable without torch."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from transferkit.config.schema import read_yaml
from transferkit.errors import ConfigError
from transferkit.files.json import Keys, parse_json, read_json, read_text, write_text
from transferkit.files.manifest import sha256_file
from transferkit.files.writable import writing
from transferkit.runs.schema import RESTORE, Outcomes, Record, ResolvedRecipe, Row, check

FORMAT = 1
OUTCOMES = "outcomes.json"  # of the evaluation that was kept, what each reported row came to
RECORD, SEAL = "record.json", "sha256"  # the file, and its key with the sha256 of itself and of what lies beside it
# A method's figures that every row holds, whatever its method; others stand behind them in the rows of those that
# give them.
NO_FIGURES: dict[str, float | None] = {"collapse": None}


def delivered(scores: Mapping[str, float | None]) -> float:
    """What a checkpoint has of the scores of an evaluation: with its readout, where it has one."""
    value = scores["plain"] if scores.get("readout") is None else scores["readout"]
    assert value is not None  # plain scores always exist
    return value


@dataclass(frozen=True, repr=False)
class Run:
    """A run as it lies on disk: its folder, its record and one metrics row per evaluation."""

    folder: Path
    record: dict[str, Any]
    metrics: list[dict[str, Any]]

    def __repr__(self) -> str:
        best = self.record.get("best")
        kept = "" if best is None else f", kept step {best['step']} (dev {best['score']:.1f})"
        return f"Run({str(self.folder)!r}, {self.record['status']}{kept})"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Its resolved recipe as a mapping, read from the folder once.

        Raises:
            ConfigError: no readable ``recipe.yaml``, or one without what a reader needs.
        """
        file = self.folder / "recipe.yaml"
        recipe = read_yaml(file)
        check(ResolvedRecipe, recipe, where=str(file))
        return recipe

    @cached_property
    def outcomes(self) -> dict[str, dict[str, Any]]:
        """Dev set that may select -> what its reported rows came to, ``values`` and ``gold``, in what was kept.

        Empty for runs of earlier versions; without the sets whose score is of the whole set.

        Raises:
            ConfigError: a damaged file.
        """
        file = self.folder / OUTCOMES
        if not file.is_file():
            return {}
        found = read_json(file)
        check(Outcomes, found, where=str(file))
        return {one["name"]: one for one in found["sets"]}


def as_asked(recipe: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """A run's recipe with the template as it was asked for, where one was chosen: what its seeds share."""
    choice = record.get("template_choice")
    return recipe if not choice else recipe | {"embedding": recipe["embedding"] | choice["asked"]}


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        ConfigError: not a run folder, a damaged record or row, a record of a newer format, or rows of a finished run
            that are missing.
    """
    record = read_record(folder)
    done = record["status"] == "done"
    run = Run(folder=folder, record=record, metrics=read_metrics(folder, whole=done))
    for number, row in enumerate(run.metrics, start=1):
        check(Row, row, where=f"{folder / 'metrics.jsonl'}, line {number}")
    if done:
        _check_rows(run)
    _check_seal(folder, record)  # last: what else is wrong says more
    return run


def _check_rows(run: Run) -> None:
    """Refuse a finished run without the row that it stands with, or the last one that training wrote."""
    best = run.record["best"]
    needed = [(best["step"], best.get("variant"))]
    if run.record["parameters"]["trainable"]:
        steps = run.record.get("steps")  # fewer than the recipe's where it ended by its seconds; old records say none
        needed.append((run.recipe["optim"]["steps"] if steps is None else steps, None))
    there = {(row["step"], row.get("variant")) for row in run.metrics}
    for step, variant in needed:
        if (step, variant) not in there:
            name = f"step {step}" if variant is None else f"{variant!r}"
            raise ConfigError(
                f"{run.folder / 'metrics.jsonl'}: the row of {name} is missing, though the run is done; {RESTORE}"
            )


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a run folder.

    Raises:
        ConfigError: as :func:`read_run`.
    """
    file = folder / "record.json"
    if not file.is_file():
        raise ConfigError(
            f"{folder}: not a run folder (no record.json in it); give one that train, adapt, baseline or study made"
        )
    record = read_json(file)
    if record.get("format") != FORMAT:
        raise ConfigError(
            f"{file}: format: expected {FORMAT}, got {record.get('format')!r}; another version of transferkit wrote "
            "it, read it with that one"
        )
    check(Record, record, where=str(file))
    return Keys(record, where=f"{file}: key")


def sealed(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that is done, with the sha256 of itself and of the recipe and the metrics beside it."""
    files = [folder / name for name in ("recipe.yaml", "metrics.jsonl", OUTCOMES)]
    hashes = {file.name: sha256_file(file) for file in files if file.is_file()}
    return record | {SEAL: {RECORD: record_sha256(record), **hashes}}


def _check_seal(folder: Path, record: dict[str, Any]) -> None:
    """Refuse a finished run that is not as it was written; those of earlier versions do not say.

    Raises:
        ConfigError: names the file.
    """
    for name, sha256 in (record.get(SEAL) or {}).items():
        file = folder / name
        if name == RECORD and sha256 != record_sha256(record):
            raise ConfigError(
                f"{file}: differs from what was written (its own {SEAL}); {RESTORE}, or remove its key {SEAL!r} to "
                "stand by what you edited"
            )
        if name != RECORD and (not file.is_file() or sha256_file(file) != sha256):
            raise ConfigError(f"{file}: differs from what was written ({SEAL} in {RECORD}); {RESTORE}")


def record_sha256(record: dict[str, Any]) -> str:
    """Of all that a record says but its seal."""
    rest = {key: value for key, value in record.items() if key != SEAL}
    plain = json.loads(json.dumps(rest))  # as it is read again
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_metrics(folder: Path, *, whole: bool = False) -> list[dict[str, Any]]:
    """Rows of ``metrics.jsonl``, which a kill cannot tear but a broken copy can.

    Args:
        folder: run folder.
        whole: refuse a torn last line too, instead of dropping it.

    Raises:
        ConfigError: a line that is not a JSON object.
    """
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return []
    rows = []
    text = read_text(file).removesuffix("\n")
    lines = text.split("\n") if text else []  # `splitlines` also cuts at characters that JSON leaves as they are
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line, where=f"{file}, line {number}")
        except ConfigError as error:
            if whole or number < len(lines):
                raise ConfigError(f"{error}; {RESTORE}") from None
            continue
        if not isinstance(row, dict):
            raise ConfigError(f"{file}, line {number}: expected a JSON object, got {line[:60]}; {RESTORE}")
        rows.append(row)
    return rows


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows of ``metrics.jsonl`` at once (a few hundred short lines), so that a resume can drop some."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def new_run_folder(parent: Path, name: str) -> Path:
    """Create ``parent/<name>-<UTC time>``; a number is added when two runs start in one second.

    Args:
        parent: made where it is missing.
        name: what the folder's name begins with.

    Raises:
        RefusedError: the folder cannot be written; a ConfigError where a file is in the way.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        folder = parent / (f"{name}-{stamp}" + (f"-{attempt}" if attempt else ""))
        with _writing(parent):
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
        return folder
    raise ConfigError(f"{parent}: too many runs started in this second")


def begin_in(folder: Path) -> None:
    """Make a run folder of a given name; one in which no run began is used, for a kill can leave that.

    Raises:
        ConfigError: a run began there, or a file is in the way.
        RefusedError: the folder cannot be written.
    """
    if (folder / "record.json").exists():
        raise ConfigError(
            f"{folder}: holds a run already ({read_record(folder)['status']}); continue it with --resume {folder}, or "
            "choose another folder with --runs"
        )
    with _writing(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)


def _writing(parent: Path) -> AbstractContextManager[None]:
    way_out = "mend that, or choose another with --runs"
    return writing(f"{parent}: cannot write runs there", way_out=way_out)
