"""The app itself, its exit codes, and the one place where errors become a sentence."""

import errno
import os
import sys
import warnings

import typer
from rich.console import Console

from transferkit import __version__
from transferkit.cli import (
    attention,
    augment,
    compare,
    demo,
    embed,
    evaluate,
    recipes,
    registries,
    search,
    study,
    training,
)
from transferkit.errors import ConfigError, CutTextWarning, RunError, TransferkitError
from transferkit.progress import drop_kernel_message, say

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
app.command("study")(study.study)
app.command("augment")(augment.augment)
app.command("embed")(embed.embed)
app.command("evaluate")(evaluate.evaluate)
app.command("search")(search.search)
app.command("attention")(attention.attention)
app.command("demo")(demo.demo)
app.command("templates")(registries.templates)
app.add_typer(registries.backbones, name="backbones")
app.add_typer(recipes.app, name="recipes")


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
    try:
        app()
    except TransferkitError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # outside of a verb
        _say("interrupted")
        sys.exit(130)
    except SystemExit as end:
        # In a verb typer makes it `Exit(130) from` the interrupt and says nothing; a verb that has said what is kept
        # raises its own Exit.
        if isinstance(interrupt := getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            _say(str(interrupt) or "interrupted")
        raise
    except BrokenPipeError:  # `transferkit ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a name that is too long, a file that went away or that may not be read
        name = str(error.filename or "")
        named = f"{name if len(name) <= 200 else name[:100] + '...'}: " if name else ""
        _say(f"error: {named}{error.strerror or error}")
        sys.exit(ConfigError.exit_code if error.errno == errno.ENAMETOOLONG else RunError.exit_code)


def _say(message: str) -> None:
    say(message, Console(stderr=True))
