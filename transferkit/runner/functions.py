"""`train`, `adapt` and `baseline` in Python: what the command line does, and the run that it leaves."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack

from rich.console import Console

from transferkit.config.methods import Task
from transferkit.config.recipes import change
from transferkit.errors import ConfigError, did_you_mean, with_article
from transferkit.progress import say
from transferkit.request.columns import named_columns
from transferkit.request.request import Request
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runs.folder import Run, read_run


class Options(TypedDict, total=False):
    """What all three take; each is the option of the same name.

    Attributes:
        recipe: built-in name or .yaml file; left out: the one that suits the rest.
        data: a file of your own, in the place of the recipe's data.
        text, label: its columns, of labelled texts.
        query, passage: its columns, of pairs.
        instruction: what is asked of its texts.
        changes: of the recipe: ``{"optim.steps": 50}``.
        data_dir: what relative paths of the recipe start from.
        quantize: ``nf4`` or ``none``.
        runs: where the run folder is made; default ``runs``.
        quiet: print nothing.
    """

    recipe: str | Path
    data: str | Path
    text: str
    label: str
    query: str
    passage: str
    instruction: str
    changes: Mapping[str, Any]
    data_dir: str | Path
    quantize: str
    runs: str | Path
    quiet: bool


def train(target: str | Path, *, teacher: str | None = None, **options: Unpack[Options]) -> Run:
    """Train a Prompting LLM and its alignment on one frozen backbone; the run is a source.

    Args:
        target: the backbone: registry name, hub id, local folder or .gguf file.
        teacher: a model or a file of vectors that teaches too.
        **options: see :class:`Options`.

    Raises:
        ConfigError: wrong input.
        RunError: valid input, but the work could not be done; what was saved stays.
    """
    return _run("train", options, target=str(target), teacher=teacher)


def adapt(
    source: str | Path,
    target: str | Path,
    *,
    unlabelled: str | Path | None = None,
    column: str | None = None,
    teacher: str | None = None,
    **options: Unpack[Options],
) -> Run:
    """Carry a trained skill to another backbone by refitting the alignment alone.

    Args:
        source: checkpoint or run folder of a `train`, or ``bundled``.
        target: the new backbone.
        unlabelled: a file of texts alone, in the place of the recipe's data.
        column: where its texts are.
        teacher: who teaches texts alone; left out: the source.
        **options: see :class:`Options`.

    Raises:
        ConfigError: wrong input.
        RunError: valid input, but the work could not be done; what was saved stays.
    """
    file = None if unlabelled is None else _file("unlabelled", unlabelled)
    asked = {"source": Path(source), "target": str(target), "unlabelled": file, "column": column, "teacher": teacher}
    return _run("adapt", options, **asked)


def baseline(
    method: str, target: str | Path | None = None, *, source: str | Path | None = None, **options: Unpack[Options]
) -> Run:
    """Run one of the methods that a transfer is measured against.

    Args:
        method: such as ``lora``, ``prompt-tuning``, ``frozen`` or ``tfidf``.
        target: the backbone, where the method has one.
        source: for the Prompting LLM alone.
        **options: see :class:`Options`.

    Raises:
        ConfigError: wrong input.
        RunError: valid input, but the work could not be done; what was saved stays.
    """
    asked = {"source": None if source is None else Path(source), "target": None if target is None else str(target)}
    return _run("baseline", options, method=method, **asked)


def _run(task: Task, options: Options, **asked: Any) -> Run:
    _check_names(task, options)
    console = Console(stderr=True, quiet=options.get("quiet", False))
    request = Request(
        task,
        recipe=str(options["recipe"]) if "recipe" in options else None,
        columns=named_columns(options),
        instruction=options.get("instruction"),
        quantize=options.get("quantize"),
        changes=tuple(change(key, value) for key, value in options.get("changes", {}).items()),
        data=_file("data", options["data"]) if "data" in options else None,
        data_dir=Path(options["data_dir"]) if "data_dir" in options else None,
        **asked,
    )
    recipe = request.read(lambda line: say(line, console))
    inputs = Inputs(source=request.source, data_dir=request.data_dir)
    return read_run(start(recipe, inputs, runs=Path(options.get("runs", "runs")), console=console))


def _check_names(task: Task, options: Mapping[str, Any]) -> None:
    """What no type checker saw: a misspelt option would change nothing, and nobody would know.

    Raises:
        TypeError: as Python itself has it, with the names that there are.
    """
    known = list(Options.__annotations__)
    for name in options:
        if name not in known:
            raise TypeError(
                f"{task}() got an unexpected keyword argument {name!r}{did_you_mean(name, known)}; there are "
                f"{', '.join(known)} beside the named ones; keys of the recipe go into changes={{'optim.steps': 50}}"
            )


def _file(name: str, given: Any) -> Path:
    if not isinstance(given, str | PathLike):
        raise ConfigError(
            f"{name}: expected a file, got {with_article(type(given).__name__)}; write a table to one, as with "
            "to_csv('mine.csv', index=False), and give its name"
        )
    return Path(given)
