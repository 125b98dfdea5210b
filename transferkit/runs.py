"""The run folder: ``recipe.yaml``, ``record.json``, ``metrics.jsonl`` and ``checkpoint/``. Readable without torch."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError, with_article
from transferkit.run_schema import RESTORE, Record, ResolvedRecipe, Row, check
from transferkit.schema import read_yaml

FORMAT = 1
_RUNS_FROM = ("transferkit", "backbones", "recipes")  # folders of the checkout that decide what a run does
_PACKAGES = ("transferkit", "torch", "transformers", "accelerate", "peft", "bitsandbytes", "datasets", "numpy")


@dataclass(frozen=True)
class Run:
    """A run as it lies on disk: its folder, its record and one metrics row per evaluation."""

    folder: Path
    record: dict[str, Any]
    metrics: list[dict[str, Any]]

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
    return run


def _check_rows(run: Run) -> None:
    """Refuse a finished run without the row that it stands with, or the last one that training wrote."""
    best = run.record["best"]
    needed = [(best["step"], best.get("variant"))]
    if run.record["parameters"]["trainable"]:
        needed.append((run.recipe["optim"]["steps"], None))
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
    return record


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
    text = file.read_text(encoding="utf-8").removesuffix("\n")
    lines = text.split("\n") if text else []  # `splitlines` also cuts at characters that JSON leaves as they are
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            if whole or number < len(lines):
                raise ConfigError(f"{file}, line {number}: not valid JSON; {RESTORE}") from None
            continue
        if not isinstance(row, dict):
            raise ConfigError(f"{file}, line {number}: expected a JSON object, got {line}; {RESTORE}")
        rows.append(row)
    return rows


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: not there, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {with_article(type(value).__name__)}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside and rename, so that a reader never sees half a file."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text beside and rename."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows of ``metrics.jsonl`` at once (a few hundred short lines), so that a resume can drop some."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def check_writable(parent: Path, *, option: str = "--runs") -> None:
    """Check, without making anything, that a folder could be made below ``parent``; ``option`` is what names it.

    Raises:
        ConfigError: a file is in the way, or the rights are missing.
    """
    there = next(folder for folder in (parent, *parent.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise ConfigError(f"{parent}: cannot write there ({there} is a file); choose another with {option}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{parent}: cannot write there ({there} is read-only); choose another with {option}")


def new_run_folder(parent: Path, name: str) -> Path:
    """Create ``parent/<name>-<UTC time>``; a number is added when two runs start in one second.

    Args:
        parent: made where it is missing.
        name: what the folder's name begins with.

    Raises:
        ConfigError: the folder cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        folder = parent / (f"{name}-{stamp}" + (f"-{attempt}" if attempt else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_write(parent, error) from None
        return folder
    raise ConfigError(f"{parent}: too many runs started in this second")


def begin_in(folder: Path) -> None:
    """Make a run folder of a given name; one in which no run began is used, for a kill can leave that.

    Raises:
        ConfigError: a run began there, or the folder cannot be written.
    """
    if (folder / "record.json").exists():
        raise ConfigError(
            f"{folder}: holds a run already ({read_record(folder)['status']}); continue it with --resume {folder}, or "
            "choose another folder with --runs"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder.parent, error) from None


def _cannot_write(parent: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{parent}: cannot write runs there ({error.strerror}); choose another with --runs")


def environment() -> dict[str, Any]:
    """Facts of machine and software that a reader needs to repeat a run."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "command": " ".join(["transferkit", *sys.argv[1:]]),
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that transferkit runs from; None for an installed wheel.

    ``dirty`` says that what runs is not what was committed; results that a study has written change nothing of it.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--", *_RUNS_FROM],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status.strip())}
