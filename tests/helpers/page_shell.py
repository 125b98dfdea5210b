"""What it means to run a line of bash of a page."""

import argparse
import io
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from helpers.command_line import call
from helpers.pages import ROOT
from transferkit.cli.app import app
from transferkit.config.recipe import Recipe
from transferkit.runner import dry_run

_WRITES = ("--out", "--to", "--write")
_EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
# Lines that prepare a shell; nothing of transferkit's is in them.
_KNOWN = (
    r"git clone <this repository>",
    r"cd transferkit",
    r"python3 -m venv \.venv",
    r"source \.venv/bin/activate",
    r"export OMP_NUM_THREADS=\d+",
)


class _ParsedError(Exception):
    """A script's parser took its line."""


def parsed(words: list[str]) -> Any:
    """The command that ``transferkit WORDS`` ends at, its arguments and options taken by its own parser.

    Raises:
        Exception: of click, where a verb, an option or a value does not exist.
    """
    command, context, rest = typer.main.get_command(app), None, words
    while True:
        context = command.make_context(command.name, list(rest), parent=context)
        if not hasattr(command, "commands"):
            return command
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])


def options_of(words: list[str]) -> set[str] | None:
    """The options of the deepest command that ``words`` name; None: of no command."""
    command: Any = typer.main.get_command(app)
    found, named = {"--help"}, False
    for word in words:
        commands = getattr(command, "commands", {})
        if word in commands:
            command, named = commands[word], True
        elif commands and "run" not in commands:
            break
    if "run" in getattr(command, "commands", {}):  # `study FILE` is `study run FILE`
        found |= {name for one in command.commands["run"].params for name in one.opts}
    found |= {name for one in command.params for name in one.opts}
    return found if named or words[0].startswith("-") else None


def transferkit(words: list[str], patch: pytest.MonkeyPatch, *, real: bool = False) -> tuple[str, str]:
    """Run ``transferkit WORDS`` as far as it is cheap.

    Args:
        words: of the line, with what they name below the current folder.
        patch: of the test.
        real: exports without transferkit are made too.

    Returns:
        How far: ``run``, ``dry run``, ``read`` (a dry run that ends before models and data are opened) or ``parsed``;
        and what it printed.
    """
    if words[0] == "--help":
        return "run", _called(words, patch)
    command = parsed(words)
    names = {name for one in command.params for name in one.opts}
    if command.name == "demo" or "--push" in words:
        return "parsed", ""  # minutes; another machine
    if "--llm" in words or ({"--merge", "--baked"} & {*words} and not real):
        return "parsed", ""  # as many tokens as a real decoder has room for; sentence-transformers
    for option, value in pairwise(words):
        if option in _WRITES and "--append" not in words and (old := Path(value)).exists() and not old.is_symlink():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    if not names & {"--dry-run", "--list"}:
        return "run", _called(words, patch)
    option = "--dry-run" if "--dry-run" in names else "--list"
    with pytest.MonkeyPatch.context() as inner:
        ends = _ends_before_the_models(inner)
        printed = _called(words if option in words else [*words, option], patch)
    return ("read" if ends else "dry run"), printed


def _ends_before_the_models(patch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes of dry runs that end when they have been read, what they name found: those that no toy suits."""
    ended: list[Recipe] = []
    whole = dry_run.describe

    def describe(recipe: Recipe, *arguments: Any, **options: Any) -> str:
        on_the_hub = any(one.hub_id is not None for one in (*recipe.data.train, *recipe.data.dev))
        # The toy of a GGUF file shares no words with the source that ships.
        if not on_the_hub and not str(recipe.embedding.backbone).endswith(".gguf"):
            return whole(recipe, *arguments, **options)
        ended.append(recipe)
        return ""

    patch.setattr(dry_run, "describe", describe)
    return ended


def _called(words: list[str], patch: pytest.MonkeyPatch) -> str:
    """What ``transferkit WORDS`` printed."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = call(patch, *words)
    assert code == 0, err.getvalue()[-1_000:] + out.getvalue()[-300:]
    return err.getvalue() + out.getvalue()


def known(command: str, patch: pytest.MonkeyPatch) -> bool:
    """Whether a command that is none of transferkit's does what it says here.

    Raises:
        AssertionError: it names an extra, a version, a file or a target that is not there.
    """
    if any(re.fullmatch(form, command) for form in _KNOWN):
        return True
    match shlex.split(command):
        case ["pip", "install", *words]:
            _check_install(words)
        case ["make", *targets]:
            assert all(is_target(name) for name in targets), "no such target in Makefile"
        case ["pytest", *paths]:
            assert all((ROOT / path).exists() for path in paths), "no such tests"
        case ["export", setting] if setting.startswith("TRANSFERKIT_"):
            name, _, value = setting.partition("=")
            code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "transferkit").rglob("*.py"))
            assert name in code, f"nothing reads {name}"
            patch.setenv(name, str(Path(value).resolve()))
        case ["printf", text, ">", file]:
            Path(file).write_text(text.encode().decode("unicode_escape"), encoding="utf-8")
        case _:
            return False
    return True


def is_target(name: str) -> bool:
    """Whether ``make NAME`` exists."""
    return re.search(rf"^{re.escape(name)}:", _MAKEFILE, re.MULTILINE) is not None


def _check_install(words: list[str]) -> None:
    """Of the checkout with extras that it has, with its constraints, or of a version that these name."""
    given = iter(words)
    for word in given:
        if word == "-c":
            assert (ROOT / next(given)).is_file()
        elif word == "-e":
            place = re.fullmatch(r"\.(?:\[([\w,]+)\])?", next(given))
            assert place is not None
            unknown = {*(place[1] or "").split(",")} - {"", *_EXTRAS}
            assert not unknown, f"no such extra: {unknown}"
        else:
            assert word in _CONSTRAINTS, f"{word}: constraints.txt has no such line"


def script_takes(words: list[str], patch: pytest.MonkeyPatch) -> None:
    """Start a script with arguments and end it when its own parser has taken them.

    Raises:
        AssertionError: it does not take them, or has no parser.
    """
    parse, said = argparse.ArgumentParser.parse_args, io.StringIO()

    def parse_args(parser: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        raise _ParsedError(parse(parser, args, namespace))

    with patch.context() as inner, redirect_stdout(said), redirect_stderr(said):
        inner.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        inner.setattr(sys, "argv", words)
        inner.syspath_prepend(ROOT / "benchmarks")
        try:
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        except _ParsedError:
            return
        except SystemExit:
            pass
    raise AssertionError(said.getvalue()[-300:] or "it has no parser")
