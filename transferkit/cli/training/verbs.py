"""``train``, ``adapt``, ``baseline``: one recipe, one run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from transferkit.cli.options import options_of
from transferkit.cli.training.ending import show_ending
from transferkit.cli.training.options import Options
from transferkit.errors import ConfigError, RunError, UnreachableError, with_article
from transferkit.files.builtin import BUNDLED
from transferkit.files.writable import check_writable
from transferkit.progress import say

if TYPE_CHECKING:
    from transferkit.config.methods import Task
    from transferkit.config.recipe import Recipe
    from transferkit.runner.prepare import Inputs


@options_of(Options, but=("method", "source", "unlabelled", "column"))
def train(options: Options) -> None:
    """Train a Prompting LLM and its alignment on one frozen backbone.

    Example: transferkit train qwen3/train --set optim.steps=500
    """
    _run("train", options)


@options_of(Options, but=("method",))
def adapt(options: Options) -> None:
    """Carry a trained skill to another backbone by refitting the alignment alone.

    Without RECIPE, the built-in adapt recipe of the target's family is used; with the bundled source the one that
    needs no data but the docstrings of this machine.

    Example: transferkit adapt --source runs/train-... --target meta-llama/Llama-3.2-1B --quantize nf4

    Example: transferkit adapt --source bundled --target ./my-decoder

    Example: transferkit adapt --source runs/train-... --target ./my-decoder --unlabelled texts.txt
    """
    _run("adapt", options)


@options_of(Options, but=("unlabelled", "column", "teacher"))
def baseline(options: Options) -> None:
    """Run one of the methods that a transfer is measured against.

    Example: transferkit baseline qwen3/baseline --method lora --target qwen3-0.6b

    Example: transferkit baseline qwen3/baseline --method encoder --target ./all-minilm-l6-v2
    """
    _run("baseline", options)


def _run(task: "Task", options: Options) -> None:
    console = Console(stderr=True, quiet=options.quiet)
    if options.resume is not None:
        if options.of_a_new_run:
            raise ConfigError(
                f"--resume {options.resume}: continues a run as it began and where it is; give no recipe, --source, "
                "--target, --set or other option with it (only --force-resume, --quiet and --json)"
            )
        _resume(options.resume, task, console, force=options.force_resume, json=options.json)
        return
    if options.force_resume:
        raise ConfigError("--force-resume goes on with a run; name its folder with --resume")
    recipe = options.asked(task).read(partial(say, console=console))  # before the seconds that libraries take
    if not options.dry_run:
        check_writable(options.runs or Path("runs"))
    from transferkit.runner.prepare import Inputs

    inputs = Inputs(source=options.source, data_dir=options.data_dir)
    try:
        if options.dry_run:
            from transferkit.runner.dry_run import describe

            print(describe(recipe, inputs, runs=options.runs or Path("runs")))
        else:
            _start(recipe, inputs, options.runs or Path("runs"), task, console, json=options.json)
    except UnreachableError as error:
        if options.recipe is not None:
            raise
        # The family's recipe was our choice, so the way out is ours to name.
        raise RunError(f"{error}, or use {BUNDLED}/{task}, which needs no network") from None


def _start(recipe: "Recipe", inputs: "Inputs", runs: Path, task: "Task", console: Console, *, json: bool) -> None:
    from transferkit.runner import run

    with _told_how_to_resume(task, console):
        folder = run.start(recipe, inputs, runs=runs, console=console)
        _print_finished(folder, console, source=inputs.source, json=json)


def _resume(folder: Path, task: "Task", console: Console, *, force: bool, json: bool) -> None:
    from transferkit.runs.folder import read_record

    began = read_record(folder)["task"]
    if began != task:
        raise ConfigError(
            f"{folder}: this is {with_article(began)} run; continue it with `transferkit {began} --resume {folder}`"
        )
    with _told_how_to_resume(task, console, folder):
        from transferkit.runner import run  # seconds, in which a Ctrl-C loses as little as later

        _print_finished(run.resume(folder, force=force, console=console), console, source=None, json=json)


@contextmanager
def _told_how_to_resume(task: "Task", console: Console, folder: Path | None = None) -> Iterator[None]:
    """Say, when the user interrupts, how the run goes on, in ``folder`` if it began before; exit code 130."""
    from transferkit.training.signals import Interrupted

    try:
        yield
    except (Interrupted, KeyboardInterrupt) as interruption:
        begun = str(interruption) or folder
        if begun is None:
            raise
        say(f"interrupted; continue with `transferkit {task} --resume {begun}`", console)
        raise typer.Exit(130) from None


def _print_finished(folder: Path, console: Console, *, source: Path | None, json: bool) -> None:
    from transferkit.runs.folder import read_run
    from transferkit.training.distributed import is_main

    if not is_main():
        return
    run = read_run(folder)
    show_ending(run.record, run.metrics, folder, console, source=source)
    print((folder / "record.json").read_text(encoding="utf-8").rstrip() if json else folder)
