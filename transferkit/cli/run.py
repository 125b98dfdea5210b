"""``train``, ``adapt``, ``baseline``: one recipe, one run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from transferkit.cli.options import DataDir
from transferkit.errors import ConfigError, RunError, UnreachableError, with_article
from transferkit.files.builtin import BUNDLED
from transferkit.progress import say

if TYPE_CHECKING:
    from transferkit.config.methods import Task
    from transferkit.config.recipe import Recipe

RecipeName = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE]", help="Built-in name such as qwen3/adapt, or a .yaml file.", show_default=False),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe; repeatable.")
]
Runs = Annotated[
    Path | None, typer.Option("--runs", help="Where run folders are made; default: runs/.", show_default=False)
]
Target = Annotated[str | None, typer.Option("--target", help="Backbone: registry name, hub id or local folder.")]
Source = Annotated[
    Path | None,
    typer.Option("--source", help="Checkpoint or run folder of a `train`; `bundled` ships with transferkit."),
]
Quantize = Annotated[str | None, typer.Option("--quantize", help="nf4 loads the backbone in 4 bits; none does not.")]
Resume = Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Continue an interrupted run folder.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run, train nothing, write nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the run folder alone.")]
Json = Annotated[bool, typer.Option("--json", help="Print the finished record as JSON.")]


def train(
    recipe: RecipeName = None,
    target: Target = None,
    quantize: Quantize = None,
    set_: Set = None,
    data_dir: DataDir = None,
    runs: Runs = None,
    resume: Resume = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a Prompting LLM and its alignment on one frozen backbone.

    Example: transferkit train qwen3/train --set optim.steps=500
    """
    _run(
        "train",
        recipe,
        target=target,
        quantize=quantize,
        overrides=set_,
        data_dir=data_dir,
        runs=runs,
        resume=resume,
        dry_run=dry_run,
        quiet=quiet,
        json=json,
    )


def adapt(
    recipe: RecipeName = None,
    source: Source = None,
    target: Target = None,
    quantize: Quantize = None,
    set_: Set = None,
    data_dir: DataDir = None,
    runs: Runs = None,
    resume: Resume = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Carry a trained skill to another backbone by refitting the alignment alone.

    Without RECIPE, the built-in adapt recipe of the target's family is used; with the bundled source the one that
    needs no data but the docstrings of this machine.

    Example: transferkit adapt --source runs/train-... --target meta-llama/Llama-3.2-1B --quantize nf4

    Example: transferkit adapt --source bundled --target ./my-decoder
    """
    _run(
        "adapt",
        recipe,
        target=target,
        quantize=quantize,
        overrides=set_,
        source=source,
        data_dir=data_dir,
        runs=runs,
        resume=resume,
        dry_run=dry_run,
        quiet=quiet,
        json=json,
    )


def baseline(
    recipe: RecipeName = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="lora, qlora, prompt-tuning, prompting-llm-alone, frozen or tfidf."),
    ] = None,
    source: Source = None,
    target: Target = None,
    quantize: Quantize = None,
    set_: Set = None,
    data_dir: DataDir = None,
    runs: Runs = None,
    resume: Resume = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run one of the methods that a transfer is measured against.

    Example: transferkit baseline qwen3/baseline --method lora --target qwen3-0.6b
    """
    _run(
        "baseline",
        recipe,
        target=target,
        quantize=quantize,
        overrides=set_,
        source=source,
        method=method,
        data_dir=data_dir,
        runs=runs,
        resume=resume,
        dry_run=dry_run,
        quiet=quiet,
        json=json,
    )


def _run(
    task: "Task",
    name: str | None,
    *,
    target: str | None,
    quantize: str | None,
    overrides: list[str] | None,
    source: Path | None = None,
    method: str | None = None,
    data_dir: Path | None,
    runs: Path | None,
    resume: Path | None,
    dry_run: bool,
    quiet: bool,
    json: bool,
) -> None:
    console = Console(stderr=True, quiet=quiet)
    if resume is not None:
        if any(given for given in (name, target, quantize, overrides, source, method, data_dir, runs, dry_run)):
            raise ConfigError(
                f"--resume {resume}: continues a run as it began and where it is; give no recipe, --source, --target, "
                "--set or other option with it (only --quiet and --json)"
            )
        _finish(resume, None, task, console, json=json)
        return
    changes = [*(overrides or [])]
    changes += [f"embedding.backbone={_quoted(target)}"] if target else []
    changes += [f"embedding.quantization={quantize}"] if quantize else []
    changes += [f"method={method}"] if method else []
    recipe = _recipe(task, name, target, source, changes, console)
    if task == "baseline" and recipe.method is None:
        raise ConfigError("baseline needs a method: --method lora|qlora|prompt-tuning|prompting-llm-alone|frozen|tfidf")
    from transferkit.config.recipe import required_backbone

    if recipe.facts.has_backbone:
        required_backbone(recipe)  # before the seconds that the libraries take to import
    from transferkit.runner.prepare import Inputs

    inputs = Inputs(source=source, data_dir=data_dir)
    try:
        if dry_run:
            from transferkit.runner.dry_run import describe

            print(describe(recipe, inputs))
            return
        _finish(None, (recipe, inputs, runs or Path("runs")), task, console, json=json)
    except UnreachableError as error:
        if name is not None:
            raise
        # The family's recipe was our choice, so the way out is ours to name.
        raise RunError(f"{error}, or use {BUNDLED}/{task}, which needs no network") from None


def _recipe(
    task: "Task", name: str | None, target: str | None, source: Path | None, changes: list[str], console: Console
) -> "Recipe":
    from transferkit.config.recipes import read_recipe

    if name is None:
        name = f"{BUNDLED}/adapt" if task == "adapt" and source == BUNDLED else _recipe_of_family(task, target)
        say(f"no recipe given: using the built-in {name}", console)
    return read_recipe(name, overrides=changes, task=task)


def _recipe_of_family(task: "Task", target: str | None) -> str:
    """Name of the built-in recipe that is written for the target's family."""
    from transferkit.config.recipes import list_recipes

    if target is None:
        raise ConfigError(f"{task} needs a recipe or a --target (`transferkit recipes list` shows the built-in ones)")
    from transferkit.decoder.probe import resolve

    family = resolve(target).family
    name = f"{family}/{task}"
    if name not in list_recipes():
        raise ConfigError(
            f"no built-in {task} recipe for the family {family!r}; name one (`transferkit recipes list`) or make "
            f"one (`transferkit recipes new --family {family} --backbone {target}`)"
        )
    return name


def _finish(resume: Path | None, fresh: Any, task: "Task", console: Console, *, json: bool) -> None:
    from transferkit.runner import run
    from transferkit.runs.folder import read_record
    from transferkit.training.distributed import is_main
    from transferkit.training.signals import Interrupted

    try:
        if resume is not None:
            began = read_record(resume)["task"]
            if began != task:
                raise ConfigError(
                    f"{resume}: this is {with_article(began)} run; continue it with `transferkit {began} --resume "
                    f"{resume}`"
                )
            folder = run.resume(resume, console=console)
        else:
            recipe, inputs, runs = fresh
            folder = run.start(recipe, inputs, runs=runs, console=console)
    except Interrupted as interruption:
        say(f"interrupted; continue with `transferkit {task} --resume {interruption}`", console)
        raise typer.Exit(130) from None
    if is_main():
        print((folder / "record.json").read_text(encoding="utf-8").rstrip() if json else folder)


def _quoted(text: str) -> str:
    """As YAML text, whatever it looks like."""
    return "'" + text.replace("'", "''") + "'"
