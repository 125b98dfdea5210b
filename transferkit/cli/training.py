"""``train``, ``adapt``, ``baseline``: one recipe, one run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from transferkit.cli.options import DataDir, options_of
from transferkit.config.methods import baseline_methods
from transferkit.errors import ConfigError, RunError, UnreachableError, with_article
from transferkit.files.builtin import BUNDLED
from transferkit.files.encoder_folder import is_encoder
from transferkit.files.vector_files import SUFFIXES
from transferkit.progress import say

if TYPE_CHECKING:
    from transferkit.config.methods import Task
    from transferkit.config.recipe import Recipe
    from transferkit.runner.prepare import Inputs

_METHODS = baseline_methods()
RecipeName = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE]", help="Built-in name such as qwen3/adapt, or a .yaml file.", show_default=False),
]
Method = Annotated[str | None, typer.Option("--method", help=f"{', '.join(_METHODS[:-1])} or {_METHODS[-1]}.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe; repeatable.")
]
Runs = Annotated[
    Path | None, typer.Option("--runs", help="Where run folders are made; default: runs/.", show_default=False)
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Backbone: registry name, hub id, local folder or .gguf file; of the method encoder a local folder of "
        "sentence-transformers.",
    ),
]
Source = Annotated[
    Path | None,
    typer.Option("--source", help="Checkpoint or run folder of a `train`; `bundled` ships with transferkit."),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        "--unlabelled",
        metavar="FILE",
        help="Texts to learn from, no pairs: .txt (a text a line), .jsonl, .csv, .tsv or .parquet.",
    ),
]
Column = Annotated[
    str | None, typer.Option("--column", help="Column that holds the text in the file of --unlabelled; default: text.")
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="Who teaches: a checkpoint, decoder or sentence-transformers folder, or vectors that embed made of the "
        "texts; adapt --unlabelled: the source, unless given.",
    ),
]
Quantize = Annotated[str | None, typer.Option("--quantize", help="nf4 loads the backbone in 4 bits; none does not.")]
Resume = Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Continue an interrupted run folder.")]
ForceResume = Annotated[
    bool,
    typer.Option(
        "--force-resume",
        help="With --resume: go on though the recipe was edited, the folder copied or moved, or the run diverged; the "
        "record says so.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run, train nothing, write nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the run folder alone.")]
Json = Annotated[bool, typer.Option("--json", help="Print the finished record as JSON.")]


@dataclass(frozen=True)
class Options:
    """What the three verbs are given, in the order in which ``--help`` shows it."""

    recipe: RecipeName = None
    method: Method = None
    source: Source = None
    target: Target = None
    quantize: Quantize = None
    unlabelled: Unlabelled = None
    column: Column = None
    teacher: Teacher = None
    set_: Set = None
    data_dir: DataDir = None
    runs: Runs = None
    resume: Resume = None
    force_resume: ForceResume = False
    dry_run: DryRun = False
    quiet: Quiet = False
    json: Json = False

    @property
    def of_a_new_run(self) -> bool:
        """Whether any was given that decides what a run is, or where it lies."""
        of_any = ("resume", "force_resume", "quiet", "json")
        return any(value for name, value in vars(self).items() if name not in of_any)

    @property
    def overrides(self) -> list[str]:
        """What is changed in the recipe, as ``key=value``."""
        changes = [] if self.unlabelled is None else _texts_alone(self.unlabelled, self.column)
        changes += [] if self.teacher is None else _taught_by(self.teacher)
        changes += self.set_ or []
        changes += [f"embedding.backbone={_quoted(self.target)}"] if self.target else []
        changes += [f"embedding.quantization={_quoted(self.quantize)}"] if self.quantize else []
        changes += [f"method={_quoted(self.method)}"] if self.method else []
        return changes


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
    if options.column is not None and options.unlabelled is None:
        raise ConfigError("--column says where the text is in the file of --unlabelled; give that, or leave it away")
    recipe = _recipe(task, options, console)
    if task == "baseline" and recipe.method is None:
        raise ConfigError(f"baseline needs a method: --method {'|'.join(_METHODS)}")
    from transferkit.config.recipe import check_target

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

    name = options.recipe
    if name is None:
        bundled = task == "adapt" and options.source == BUNDLED
        name = f"{BUNDLED}/adapt" if bundled else _recipe_of_family(task, options.target)
        say(f"no recipe given: using the built-in {name}", console)
    return read_recipe(name, overrides=options.overrides, task=task)


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
        _print_finished(run.start(recipe, inputs, runs=runs, console=console), json=json)


def _resume(folder: Path, task: "Task", console: Console, *, force: bool, json: bool) -> None:
    from transferkit.runs.folder import read_record

    began = read_record(folder)["task"]
    if began != task:
        raise ConfigError(
            f"{folder}: this is {with_article(began)} run; continue it with `transferkit {began} --resume {folder}`"
        )
    with _told_how_to_resume(task, console, folder):
        from transferkit.runner import run  # seconds, in which a Ctrl-C loses as little as later

        _print_finished(run.resume(folder, force=force, console=console), json=json)


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


def _print_finished(folder: Path, *, json: bool) -> None:
    from transferkit.training.distributed import is_main

    if is_main():
        print((folder / "record.json").read_text(encoding="utf-8").rstrip() if json else folder)


def _texts_alone(file: Path, column: str | None) -> list[str]:
    """Data of one file of texts: what is trained on, and a part that is held out of it."""
    one = f"name: unlabelled, kind: texts, path: {_quoted(str(file.resolve()))}"
    one += "" if column is None else f", columns: {{text: {_quoted(column)}}}"
    return [f"data.{part}=[{{{one}, part: {part}}}]" for part in ("train", "dev")]


def _taught_by(teacher: str) -> list[str]:
    if Path(teacher).suffix.lower() in SUFFIXES:
        return [f"teacher.vectors={_quoted(str(Path(teacher).resolve()))}"]
    return [f"teacher.model={_quoted(teacher)}"]


def _quoted(text: str) -> str:
    """As YAML text, whatever it looks like."""
    return "'" + text.replace("'", "''") + "'"
