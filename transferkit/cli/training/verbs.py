"""``train``, ``adapt``, ``baseline``: one recipe, one run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from transferkit.cli.options import options_of
from transferkit.cli.training.ending import show_ending
from transferkit.cli.training.options import METHODS, Options
from transferkit.errors import ConfigError, RunError, UnreachableError, with_article
from transferkit.files.builtin import BUNDLED
from transferkit.files.encoder_folder import is_encoder
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

    Example: transferkit adapt --source bundled --target ./my-decoder --unlabelled texts.txt
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
    options.check()
    recipe = _recipe(task, options, console)
    if task == "baseline" and recipe.method is None:
        raise ConfigError(f"baseline needs a method: --method {'|'.join(METHODS)}")
    from transferkit.config.recipe import check_data_dir, check_target

    check_data_dir(recipe, options.data_dir)
    check_target(recipe)  # before the seconds that the libraries take to import
    from transferkit.runner.prepare import Inputs

    inputs = Inputs(source=options.source, data_dir=options.data_dir)
    try:
        if options.dry_run:
            from transferkit.runner.dry_run import describe

            print(describe(recipe, inputs))
        else:
            _start(recipe, inputs, options.runs or Path("runs"), task, console, json=options.json)
    except UnreachableError as error:
        if options.recipe is not None:
            raise
        # The family's recipe was our choice, so the way out is ours to name.
        raise RunError(f"{error}, or use {BUNDLED}/{task}, which needs no network") from None


def _recipe(task: "Task", options: Options, console: Console) -> "Recipe":
    from transferkit.config.recipes import read_recipe

    name, changes = options.recipe, options.overrides
    if name is None:
        name = _usual_recipe(task, options)
        say(f"no recipe given: using the built-in {name}", console)
    if options.data is not None:
        changes = [*_own_data(task, options, console), *changes]
    return read_recipe(name, overrides=changes, task=task)


def _usual_recipe(task: "Task", options: Options) -> str:
    if options.data is not None:
        return f"mixture/{task}"  # its data are replaced, and it asks for nothing else
    if task == "adapt" and options.source == BUNDLED:
        return f"{BUNDLED}/adapt"
    return _recipe_of_family(task, options.target)


def _own_data(task: "Task", options: Options, console: Console) -> list[str]:
    """What the file of --data changes in the recipe; says what was found in it."""
    from transferkit.own_data.columns import find_columns
    from transferkit.own_data.recipe import own_data

    assert options.data is not None  # the caller asked
    own = own_data(find_columns(options.data, options.columns), task, instruction=options.instruction)
    for line in own.said:
        say(line, console)
    return own.overrides


def _recipe_of_family(task: "Task", target: str | None) -> str:
    """Name of the built-in recipe that is written for the target's family."""
    from transferkit.config.recipes import list_recipes

    if target is None:
        raise ConfigError(f"{task} needs a recipe or a --target (`transferkit recipes list` shows the built-in ones)")
    if is_encoder(target):
        raise ConfigError(
            f"{target}: a ready-made encoder is of no decoder's family; name the recipe whose data it is scored on "
            "(`transferkit recipes list` shows the built-in ones)"
        )
    from transferkit.decoder.probe import resolve

    family = resolve(target).family
    name = f"{family}/{task}"
    if name not in list_recipes():
        raise ConfigError(
            f"no built-in {task} recipe for the family {family!r}; name one (`transferkit recipes list`) or make "
            f"one (`transferkit recipes new --family {family} --backbone {target}`)"
        )
    return name


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
