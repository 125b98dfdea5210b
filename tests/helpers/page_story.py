"""A page from its first block to its last, in a folder of its own: what a reader does who copies all of it."""

import ast
import io
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import transferkit
from helpers import page_shell
from helpers.page_toys import TOYS, Shelf, lay_out, repository, write_data
from helpers.pages import ROOT, Block, blocks
from transferkit.config.recipes import read_recipe
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.training_sets import load_training_data
from transferkit.study.plan import plan
from transferkit.study.schema import read_study

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_LANGUAGES = ("python", "bash", "yaml", "text")


class Told(NamedTuple):
    """What was done with a block, or with a line of one."""

    block: Block
    how: str
    what: str


@dataclass
class Story:
    """One page being told.

    Attributes:
        page: its path from the root.
        home: an empty folder, which is the current one while it is told.
        shelf: where toys come from.
        patch: of the test.
        dear: extras, or ``slow``, whose blocks are run too.
        told: what was done, in order.
        wrong: the sentences of what could not be.
        names: of the page's Python.
    """

    page: str
    home: Path
    shelf: Shelf
    patch: pytest.MonkeyPatch
    dear: tuple[str, ...] = ()
    told: list[Told] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    _printed: str | None = None
    _yaml: str = ""

    def tell(self) -> "Story":
        """Go through the page; what is wrong with a block does not keep the next ones from their turn."""
        self.patch.chdir(self.home)
        repository(self.home)
        for block in blocks(self.page):
            if block.language not in _LANGUAGES:
                self.wrong.append(f"{block}: no rule for a block of {block.language!r}; known are {_LANGUAGES}")
                continue
            try:
                getattr(self, f"_{block.language}_block")(block)
            except Exception as error:
                self.wrong.append(f"{block}: {type(error).__name__}: {error}")
        return self

    def _note(self, block: Block, how: str, what: str = "") -> None:
        self.told.append(Told(block, how, what))

    def _python_block(self, block: Block) -> None:
        self._printed = None
        if (needs := needed(block.text)) is not None and needs not in self.dear:
            self._note(block, f"with -m {needs}")
            return
        if missing := [one for one in _libraries(block.text) if find_spec(one) is None]:
            self._note(block, f"not installed: {', '.join(missing)}")
            return
        words = [str(node.value) for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Constant)]
        lay_out(words, self.home, self.shelf)
        for word in words if ".export(" in block.text else ():
            if (self.home / word).is_dir():
                shutil.rmtree(self.home / word)  # a command of the page wrote it, too
        code = block.text.replace("/models/decoder", str(TOYS["/models/decoder"](self.shelf)))
        out = io.StringIO()
        with self.patch.context() as inner, redirect_stdout(out):
            inner.setattr(transferkit, "adapt", _shortly(transferkit.adapt))
            exec(compile(code, str(block), "exec"), self.names)
        self._printed = out.getvalue()
        self._note(block, "run")

    def _bash_block(self, block: Block) -> None:
        self._printed, printed = None, ""
        for line in block.commands:
            for command in line.split(" && "):
                try:
                    how, output = self._command(command.strip())
                except (Exception, SystemExit) as error:
                    self.wrong.append(f"{block}: `{command}`: {type(error).__name__}: {error}")
                    continue
                printed += output if how == "run" or "--dry-run" in command else ""
                self._note(block, how, command)
        self._printed = printed or None

    def _command(self, command: str) -> tuple[str, str]:
        """How far a command was run, and what it printed."""
        program, *words = shlex.split(command)
        if program != "printf":  # it makes what it names
            lay_out(words, self.home, self.shelf)
        if page_shell.known(command, self.patch):
            return "known form", ""
        self._write_recipes(words)
        words = [one for word in words for one in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        words = [self.home.joinpath(word).as_posix() if word.startswith("$") else word for word in words]
        if program == "python" and words[0].startswith("benchmarks/"):
            assert all(Path(word).exists() for word in words if word.startswith("benchmarks/")), "no such file"
            page_shell.script_takes(words, self.patch)
            return "parsed", ""
        assert program == "transferkit", "no rule for such a command; write one in tests/helpers/page_shell.py"
        key = tuple(word for word in words if word != "--dry-run")
        if key in self.shelf.done and "--dry-run" not in words:
            return "dry run, of the same line", ""
        how, printed = page_shell.transferkit(words, self.patch, real="slow" in self.dear)
        if how in ("dry run", "read"):
            self.shelf.done.add(key)
        return how, printed

    def _write_recipes(self, words: list[str]) -> None:
        """The page's last recipe under the name that a command gives it, and old vectors where it has a bridge."""
        for word in words:
            if word.endswith(".yaml") and "/" not in word and not Path(word).exists() and self._yaml:
                Path(word).write_text(self._yaml, encoding="utf-8")
        if "passages.parquet" in words and "--vectors" in words and not Path("passages.parquet").exists():
            old = words[words.index("--space") + 1]
            made = ["embed", old, "passages.txt", "--side", "document", "--out", "passages.parquet"]
            page_shell.transferkit(made, self.patch)

    def _yaml_block(self, block: Block) -> None:
        keys = yaml.safe_load(block.text)
        assert isinstance(keys, dict), "a mapping"
        if {"seeds", "runs"} <= keys.keys():
            file = self.home / "a-study.yaml"
            file.write_text(block.text, encoding="utf-8")
            lay_out([target for run in keys["runs"] for target in run.get("targets", [])], self.home, self.shelf)
            assert plan(read_study(file), runs=self.home / "runs", beside=self.home)
        else:
            if keys.keys() <= {"train", "dev"}:
                keys = {"data": keys}
            if "base" in keys:
                self._yaml = block.text
            self._read_recipe({"base": "bundled/adapt"} | keys)
        self._note(block, "read")

    def _read_recipe(self, keys: dict[str, Any]) -> None:
        """Read a recipe, and the files that its sets name; data of the hub, or of this machine, stay closed."""
        file = self.home / "a-recipe.yaml"
        file.write_text(yaml.safe_dump(keys), encoding="utf-8")
        recipe = read_recipe(str(file))
        write_data(recipe, self.shelf.data)
        if all(one.path is not None for one in recipe.data.train):
            load_training_data(recipe.data, data_dir=self.shelf.data, batch_size=4, seed=0)
        if all(one.path is not None for one in recipe.data.dev):
            load_dev_sets(recipe.data, data_dir=self.shelf.data)

    def _text_block(self, block: Block) -> None:
        if _is_picture(block.text):
            _check_tree(block.text)
            self._note(block, "a picture")
            return
        page = blocks(self.page)
        before = page[page.index(block) - 1]
        assert before.language in ("python", "bash"), "text that nothing prints"
        if self._printed is None:
            self._note(block, "not compared: of a command that was not run")
        elif before.language == "python":
            assert self._printed == block.text, f"it printed {self._printed!r}"
            self._note(block, "compared")
        else:
            printed = {_shape(line) for line in self._printed.splitlines()}
            missing = [line for line in block.text.splitlines() if _shape(line) not in printed]
            assert not missing, f"it does not print {missing}, but {self._printed}"
            self._note(block, "compared")


def needed(code: str) -> str | None:
    """The marker that tests of ``code`` have: that of an extra of this name, ``slow`` for any other library."""
    others = {one for one in _libraries(code) if not _brings(_PROJECT["dependencies"], one)}
    if not others and "SentenceTransformer(" not in code:
        return None
    stores = _PROJECT["optional-dependencies"]["stores"]
    return "stores" if others and all(_brings(stores, one) for one in others) else "slow"


def _libraries(code: str) -> set[str]:
    """What it imports of others."""
    tree = ast.parse(code)
    modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {module.partition(".")[0] for module in modules} - {"transferkit", *sys.stdlib_module_names}


def _brings(requirements: list[str], module: str) -> bool:
    return any(re.match(rf"{module}\b", one.replace("-", "_").replace("faiss_cpu", "faiss")) for one in requirements)


def _shortly(adapt: Callable[..., Any]) -> Callable[..., Any]:
    """The function with two steps, without lines of progress."""
    changes = {"optim.steps": 2, "eval.every": 2, "readout.sample": 40}
    return lambda *arguments, **options: adapt(*arguments, **options, changes=changes, quiet=True)


def _is_picture(text: str) -> bool:
    """Of folders, or of what flows where."""
    return "─▶" in text or text.partition("\n")[0].endswith("/")


def _check_tree(text: str) -> None:
    """A picture of the repository shows what is there; that of a reader's folder is made of it (see the toys)."""
    top = ""
    for line in text.splitlines() if text.startswith("transferkit/") else ():
        name = line.split()[0]
        top = top if line.startswith(" ") else name
        assert (ROOT / top / ("" if name == top else name)).exists(), f"no {name}"


def _shape(line: str) -> str:
    """A line without the width of its gaps and its rounding errors, which machines differ in."""
    return " ".join(re.sub(r"\d\.\de[+-]\d+", "#", line).split())
