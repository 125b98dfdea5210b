"""The app itself, its exit codes, and the one place where errors become a sentence."""

import errno
import os
import sys
import warnings
from contextlib import suppress
from typing import NoReturn

import typer
from rich.console import Console

from transferkit import __version__
from transferkit.cli import (
    attention,
    augment,
    compare,
    demo,
    doctor,
    evaluate,
    new_study,
    registries,
    study,
)
from transferkit.cli.training import verbs as training
from transferkit.cli.vectors import bridge, embed, export, search
from transferkit.errors import ConfigError, CutTextWarning, RunError, TransferkitError
from transferkit.files.writable import refusal
from transferkit.progress import drop_kernel_message, say
from transferkit.training.signals import sigterm_interrupts

_LONGEST = 200  # characters of a name that a message shows

app = typer.Typer(
    name="transferkit",
    help="Carry embedding skill from one decoder to the next by refitting one linear matrix.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
app.command("train")(training.train)
app.command("adapt")(training.adapt)
app.command("baseline")(training.baseline)
app.command("compare")(compare.compare)
studies = typer.Typer(cls=new_study.RunsByItself, help=study.HELP, no_args_is_help=True)
studies.command("run")(study.study)
studies.command("init")(new_study.init)
app.add_typer(studies, name="study")
app.command("augment")(augment.augment)
app.command("embed")(embed.embed)
app.command("export")(export.export)
app.command("evaluate")(evaluate.evaluate)
app.command("search")(search.search)
app.command("bridge")(bridge.bridge)
app.command("attention")(attention.attention)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("templates")(registries.templates)
app.add_typer(registries.backbones, name="backbones")
app.add_typer(registries.recipes, name="recipes")


def _version(asked: bool) -> None:
    if asked:
        print(f"transferkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    drop_kernel_message()
    warnings.simplefilter("ignore", CutTextWarning)  # verbs say it with the numbers of all texts
    with sigterm_interrupts():
        try:
            _run()
        except OSError as error:  # of what is printed, or of a name that is too long, or of a file that went away
            _drop_output()
            name = str(error.filename or "standard output")
            named = name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}..."
            _say(f"error: {named}: {refusal(error)}; mend that and run it again")
            sys.exit(ConfigError.exit_code if error.errno == errno.ENAMETOOLONG else RunError.exit_code)


def _run() -> None:
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except TransferkitError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)):
            raise
        _say(
            "error: this machine has not enough memory for that; lower what is read at once (--batch-size, "
            "eval.batch_size, optim.micro_batch_size) or what is large in the recipe, or take a smaller decoder"
        )
        sys.exit(RunError.exit_code)
    except KeyboardInterrupt:  # outside of a verb
        _say("interrupted")
        sys.exit(130)
    except SystemExit as end:
        # In a verb typer makes it `Exit(130) from` the interrupt and says nothing; a verb that has said what is kept
        # raises its own Exit.
        if isinstance(interrupt := getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            _say(str(interrupt) or "interrupted")
        if isinstance(end.__context__, BrokenPipeError):  # in a verb typer makes it `Exit(1)`
            _reader_is_gone()
        raise
    except BrokenPipeError:
        _reader_is_gone()


def _reader_is_gone() -> NoReturn:
    """``transferkit ... | head`` has what it wanted."""
    _drop_output()
    sys.exit(0)


def _drop_output() -> None:
    """What is left of it goes nowhere, so that the end of the process does not fail at it again."""
    with suppress(OSError, ValueError):  # a stream that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> None:
    say(message, Console(stderr=True))
