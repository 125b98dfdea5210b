"""``evaluate``: models on mteb's tasks, or on a folder of sets."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from transferkit.cli.evaluate_options import (
    Benchmark,
    DryRun,
    Instruction,
    Json,
    Layers,
    MaxLength,
    Models,
    Out,
    Pooling,
    Poolings,
    Precision,
    PromptingAlone,
    Quantize,
    Tasks,
    TasksFrom,
    Template,
    Templates,
)
from transferkit.cli.options import Backbone, BatchSize, Device, Quiet, Readout
from transferkit.errors import ConfigError, RunError
from transferkit.files.writable import check_writable
from transferkit.progress import say, warn
from transferkit.request.named import check_folder, check_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mteb.abstasks import AbsTask

    from transferkit.evaluation.models import Model
    from transferkit.evaluation.readings import ReadingOptions
    from transferkit.evaluation.tables.rows import TaskRow


def evaluate(
    models: Models,
    tasks: Tasks = None,
    benchmark: Benchmark = None,
    tasks_from: TasksFrom = None,
    out: Out = Path("runs/evaluate"),
    instruction: Instruction = None,
    prompting_alone: PromptingAlone = False,
    template: Template = None,
    pooling: Pooling = None,
    templates: Templates = None,
    poolings: Poolings = None,
    max_length: MaxLength = None,
    layers: Layers = None,
    precision: Precision = None,
    quantize: Quantize = None,
    readout: Readout = None,
    backbone: Backbone = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score models on mteb's tasks. A task that was done is not run again while nothing has changed.

    Under --templates and --poolings a checkpoint has no readout: that was fitted to its own template and pooling.
    `tfidf` is fitted, without labels, on the texts of each task.

    Example: transferkit evaluate bundled-toy --tasks Banking77Classification,STSBenchmark

    Example: transferkit evaluate runs/adapt-... runs/lora-... my-backbone tfidf --tasks-from my-data --out scores

    Example: transferkit evaluate my-backbone --templates all --poolings mean,last --tasks-from my-data

    Example: transferkit evaluate runs/lora-... my-backbone --template plain --template prompteol --tasks-from my-data
    """
    _check_can_run(out, tasks_from, dry_run=dry_run, json=json)
    from transferkit.evaluation.readings import TFIDF, parse_reading

    reading = parse_reading(
        template=template or [],
        templates=templates,
        pooling=pooling or [],
        poolings=poolings,
        precision=precision,
        quantize=quantize,
        max_length=max_length,
        layers=layers,
        readout=readout,
    )
    check_models(models, but=TFIDF)
    console = Console(stderr=True, quiet=quiet)
    chosen = _tasks(tasks, benchmark, tasks_from, console)
    found = _models(models, reading, instruction or [], chosen, device, backbone, prompting_alone=prompting_alone)
    if dry_run:
        _show(found, chosen)
        return
    rows = _run(found, chosen, out=out, batch_size=batch_size, console=console)
    _finish(rows, out=out, types=[task.metadata.type for task in chosen], console=console, json=json)


def _check_can_run(out: Path, tasks_from: Path | None, *, dry_run: bool, json: bool) -> None:
    if dry_run and json:
        raise ConfigError("--dry-run and --json were both given; there are no rows before something ran")
    from importlib.util import find_spec

    if find_spec("mteb") is None:
        raise ConfigError(
            "evaluate needs the package mteb; install it in the folder of transferkit with "
            "`pip install -e '.[mteb]' -c constraints.txt`"
        )
    check_writable(out, option="--out")
    check_folder(tasks_from, option="--tasks-from")


def _models(
    names: list[str],
    reading: "ReadingOptions",
    instructions: list[str],
    tasks: "Sequence[AbsTask]",
    device: str | None,
    backbone: str | None,
    *,
    prompting_alone: bool,
) -> "list[Model]":
    from transferkit.evaluation.instructions import parse_instructions

    given = parse_instructions(instructions, tasks)
    from transferkit.decoder.device import usable_device
    from transferkit.evaluation.models import find_models

    return find_models(
        names,
        reading,
        instructions=given,
        device=usable_device(device),
        backbone=backbone,
        prompting_alone=prompting_alone,
    )


def _tasks(names: str | None, benchmark: str | None, folder: Path | None, console: Console) -> "Sequence[AbsTask]":
    wanted = None if names is None else [name.strip() for name in names.split(",") if name.strip()]
    if wanted == [] or (benchmark is not None and folder is not None) or not (wanted or benchmark or folder):
        raise ConfigError("evaluate needs tasks: --tasks A,B or --benchmark NAME or --tasks-from DIR")
    if wanted is not None and len(set(wanted)) < len(wanted):
        raise ConfigError(f"--tasks {names}: a task stands twice; give every one once")
    from transferkit.evaluation.tasks import benchmark_tasks, local_tasks, named_tasks, other_folders

    if folder is not None:
        found = local_tasks(folder, names=wanted, warn=partial(warn, console=console))
        if others := other_folders(folder):
            say(f"no sets of a known kind, left aside: {', '.join(others)}", console)
        return found
    return benchmark_tasks(benchmark, names=wanted) if benchmark is not None else named_tasks(wanted or [])


def _show(models: "Sequence[Model]", tasks: "Sequence[AbsTask]") -> None:
    """The models, and every task with the instructions that its texts get from the models that read any."""
    for model in models:
        for method in model.methods:
            print(f"{model.name}: {method}{'' if model.precision is None else f', {model.precision}'}")
    print(f"{len(tasks)} tasks")
    for task in tasks:
        found = _instructions_of(task, models)
        different = len({text for _, text in found}) > 1
        one, number = task.metadata, getattr(task, "samples_per_label", None)
        learned = "" if number is None else f"  {number} texts a label"
        print(f"  {one.type}  {one.name}  {one.main_score}{learned}{found[0][1] if found and not different else ''}")
        for who, text in found if different else []:
            print(f"    {who}{text}")


def _instructions_of(task: "AbsTask", models: "Sequence[Model]") -> list[tuple[str, str]]:
    """Model, with the part of an aggregate, and its instructions as a line shows them."""
    from transferkit.evaluation.instructions import by_part

    found = []
    for model in models:
        if model.instructions is None:
            continue
        for part, texts in by_part(task, model.instructions.of).items():
            who = model.name if part == task.metadata.name else f"{model.name}  {part}"
            found.append((who, "".join(f"  {kind.value}: {text!r}" for kind, text in texts.items() if text)))
    return found


def _run(
    models: "Sequence[Model]", tasks: "Sequence[AbsTask]", *, out: Path, batch_size: int, console: Console
) -> "list[TaskRow]":
    from itertools import chain

    from transferkit.evaluation.run import run_tasks
    from transferkit.files.lock import sole_use

    for model in models:
        if model.precision is not None:
            say(f"{model.name}: {model.precision}", console)
    groups = chain.from_iterable(model.groups() for model in models)
    rows = []
    try:
        with sole_use(out / "results", option="--out"):
            for row in run_tasks(groups, tasks, out=out, batch_size=batch_size, console=console):
                rows.append(row)
    except KeyboardInterrupt:
        done = sum(row.problem is None for row in rows)
        wanted = sum(len(model.methods) for model in models) * len(tasks)
        say(f"interrupted; {done} of {wanted} scores in {out}, the same command goes on", console)
        raise typer.Exit(130) from None
    return rows


def _finish(rows: "list[TaskRow]", *, out: Path, types: "Sequence[str]", console: Console, json: bool) -> None:
    from transferkit.evaluation.tables.views import throughput, views
    from transferkit.evaluation.tables.written import to_json
    from transferkit.report.terminal import rich_table

    if json:
        print(to_json(rows, types=types), end="")
    else:
        terminal = Console()
        for view in views(rows, types=types, width=terminal.width):
            if view.in_terminal:
                terminal.print(rich_table(view))
    say(throughput(rows), console)
    say(f"wrote {out / 'table.md'}, table.csv, matrix.csv and matrix.json", console)
    failed = list(dict.fromkeys(row.task for row in rows if row.problem is not None))
    if failed:
        names = ", ".join(failed)
        raise RunError(f"{len(failed)} of {len(types)} tasks failed ({names}); the same command tries them again")
