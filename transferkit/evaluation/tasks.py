"""Which tasks are run: those of mteb, by name or benchmark, or a user's own sets, which become mteb tasks too."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
from mteb.abstasks import AbsTask, AbsTaskClassification
from mteb.abstasks.task_metadata import TaskMetadata

from transferkit.errors import ConfigError, did_you_mean
from transferkit.evaluation.local_sets import KINDS, OPTION, Kind, SetFolder
from transferkit.evaluation.notes import OWN_PROTOCOL

_LANGUAGE = "und-Latn"  # mteb wants one; a folder does not say which
_TAKEN = "model_meta"  # no name of a task


def named_tasks(names: list[str]) -> list[AbsTask]:
    """Tasks of mteb by their names.

    Raises:
        ConfigError: a name that mteb does not have, or a task that is about more than text.
    """
    from mteb.get_tasks import TASK_LIST

    known = [task.metadata.name for task in TASK_LIST]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--tasks: mteb {mteb.__version__} has no task {name!r}{did_you_mean(name, known)} (a set of your own: "
                "--tasks-from DIR)"
            )
    return _of_text([mteb.get_task(name) for name in names])


def benchmark_tasks(name: str, *, names: list[str] | None = None) -> list[AbsTask]:
    """The tasks of one of mteb's benchmarks, or those of them that ``names`` lists.

    Raises:
        ConfigError: no such benchmark, no such task in it, or a task that is about more than text.
    """
    benchmarks = mteb.get_benchmarks()
    known = [alias for one in benchmarks for alias in (one.name, *one.aliases)]
    if name not in known:
        raise ConfigError(f"--benchmark: mteb {mteb.__version__} has no {name!r}{did_you_mean(name, known)}")
    tasks = {task.metadata.name: task for task in mteb.get_benchmark(name).tasks}
    for wanted in names or []:
        if wanted not in tasks:
            raise ConfigError(f"--tasks: {name} has no task {wanted!r}{did_you_mean(wanted, tasks)}")
    return _of_text([task for key, task in tasks.items() if names is None or key in names])


def _of_text(tasks: list[AbsTask]) -> list[AbsTask]:
    for task in tasks:
        if other := [kind for kind in task.modalities if kind != "text"]:
            raise ConfigError(
                f"task {task.metadata.name!r}: is about {', '.join(other)}; transferkit embeds text alone"
            )
    return tasks


def local_tasks(
    folder: Path, *, names: list[str] | None = None, warn: Callable[[str], None] = lambda _: None
) -> list[AbsTask]:
    """A task for every set below ``folder``, every row of it read and checked.

    ``folder`` holds one folder a kind (:data:`KINDS`), and that one folder a set, which names the task; others beside
    them are no sets. The test split is evaluated.

    Args:
        folder: where the sets lie.
        names: only these; None: all.
        warn: gets what a user should know of a set, as that documents stand in it twice.

    Raises:
        ConfigError: no set, a name that is none or two, a file that is missing, or a bad row.
    """
    sets = _find(folder)
    for name in names or []:
        if name not in sets:
            raise ConfigError(f"{OPTION} {folder}: no set {name!r}{did_you_mean(name, sets)} (sets: {', '.join(sets)})")
    return [_task(KINDS[path.parent.name], path, warn) for name, path in sets.items() if names is None or name in names]


def other_folders(folder: Path) -> list[str]:
    """Names of the folders in ``folder`` that hold no sets of a known kind."""
    return sorted(path.name for path in folder.iterdir() if _is_shown(path) and path.name not in KINDS)


def samples_per_label(name: str) -> int | None:
    """Texts a label that mteb's own classification called so learns from; None: it has none, or the usual number.

    ``tweet_sentiment_extraction`` is its TweetSentimentExtractionClassification, ``amazon_counterfactual_en`` the
    English part of its AmazonCounterfactualClassification.
    """
    from mteb.get_tasks import TASK_LIST

    wanted = {f"{_letters(one)}classification" for one in (name, re.sub("_[a-z]{2}$", "", name))}
    for task in TASK_LIST:
        if issubclass(task, AbsTaskClassification) and _letters(task.metadata.name) in wanted:
            number = task.samples_per_label
            return None if number == AbsTaskClassification.samples_per_label else number
    return None


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _find(folder: Path) -> dict[str, Path]:
    """Name -> folder of every set."""
    if not folder.is_dir():
        what = "is a file, expected a folder" if folder.exists() else "no such folder"
        raise ConfigError(f"{OPTION} {folder}: {what}")
    found: dict[str, Path] = {}
    for kind in KINDS:
        for path in sorted((folder / kind).iterdir() if (folder / kind).is_dir() else []):
            if not _is_shown(path):
                continue
            if path.name == _TAKEN:
                raise ConfigError(f"{OPTION}: {path}: mteb keeps {_TAKEN}.json beside the scores; rename the folder")
            if path.name in found:
                raise ConfigError(f"{OPTION}: {found[path.name]} and {path} have the same name; rename one of the two")
            found[path.name] = path
    if not found:
        others = other_folders(folder)
        close = next((hint for name in others if (hint := did_you_mean(name, KINDS))), "")
        raise ConfigError(
            f"{OPTION} {folder}: holds no sets; expected KIND/SET/test.parquet with KIND one of {', '.join(KINDS)}, "
            f"got {', '.join(others) or 'no folder'}{close}"
        )
    return found


def _is_shown(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _task(kind: Kind, path: Path, warn: Callable[[str], None]) -> AbsTask:
    folder = SetFolder(kind, path)
    for sentence in kind.read(folder).warnings:  # here, so that a bad row is found before a model is loaded
        warn(sentence)
    metadata = TaskMetadata(
        name=path.name,
        description=f"{kind.task_type} on the tables in a local folder.",
        dataset={"path": str(path.resolve()), "revision": folder.revision()},
        type=kind.task_type,
        category=kind.category,
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=[_LANGUAGE],
        main_score=kind.main_score,
        license="not specified",
    )

    def load_data(task: AbsTask, *_: Any, **__: Any) -> None:
        data = kind.read(folder)
        vars(task).update(data.attributes)
        task.dataset = data.dataset
        task.data_loaded = True

    attributes: dict[str, Any] = {"metadata": metadata, "load_data": load_data, "__doc__": metadata.description}
    if kind.base is AbsTaskClassification and (number := samples_per_label(path.name)) is not None:
        attributes |= {"samples_per_label": number, OWN_PROTOCOL: {"samples_per_label": number}}
    if kind.task_type == "Clustering":
        attributes["max_fraction_of_documents_to_embed"] = None
    task: AbsTask = type(path.name, (kind.base,), attributes)()
    return task
