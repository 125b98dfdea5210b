"""Every block of code in the pages is run, as far as that is cheap; a block that no rule reaches fails.

What it means to run one is decided by its language: ``helpers/page_story.py`` has a rule for each, ``page_shell.py``
those for lines of bash, and ``page_toys.py`` what stands where a page says ./my-decoder or runs/adapt-....
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import page_shell
from helpers.page_story import Story, needed
from helpers.page_toys import TOYS, Shelf
from helpers.pages import PAGES, blocks, prose_of, python_of
from helpers.tiny import Tiny

from transferkit.data import installed_docs

WITH_BLOCKS = [page for page in PAGES if blocks(page)]
DEAR = [page for page in WITH_BLOCKS if any(needed(code) == "slow" for code in python_of(page))]


@pytest.fixture(scope="session", name="shelf")
def make_shelf(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tiny, tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module", autouse=True)
def few_docstrings() -> Iterator[None]:
    """Of some packages alone, where the built-in data are read: all of them take seconds."""
    few = [root for root in installed_docs._roots() if root.package in ("typer", "rich", "pydantic", "sklearn")]
    docs = (*installed_docs.read_docstrings(few),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed_docs, "installed_docs", lambda: docs)
        yield


def tell(page: str, home: Path, shelf: Shelf, patch: pytest.MonkeyPatch, *dear: str) -> Story:
    story = Story(page, home, shelf, patch, dear).tell()
    assert not story.wrong, "\n".join(story.wrong)
    return story


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_what_a_page_shows_works(page: str, tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(page, tmp_path, shelf, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", DEAR)
def test_what_takes_longer(page: str, tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports behind other libraries; of those that are not installed the test says so."""
    story = tell(page, tmp_path, shelf, monkeypatch, "slow")
    assert not any(one.how.startswith("with -m") for one in story.told)
    if missing := [f"{one.block}, {one.how}" for one in story.told if one.how.startswith("not installed")]:
        pytest.skip(f"all else was run: {'; '.join(missing)}")


def test_all_commands_in_sentences_exist() -> None:
    """Those between the lines, such as `transferkit doctor`: verb, options and targets; they leave out arguments."""
    found = 0
    for page in PAGES:
        for span in re.findall(r"`([^`\n]+)`", prose_of(page)):
            program, _, rest = span.removeprefix(".venv/bin/").partition(" ")
            if program == "make" and rest:
                assert page_shell.is_target(rest), f"{page}: {span}"
            elif program == "transferkit" and rest:
                words = shlex.split(rest.split(" < ")[0])
                if words[0].isupper():
                    continue
                known = page_shell.options_of(words)
                assert known is not None, f"{page}: no such command: {span}"
                unknown = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"} - known
                assert not unknown, f"{page}: {span}: {unknown}"
            else:
                continue
            found += 1
    assert found > 30


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_stands_for_a_name_that_some_page_has(name: str) -> None:
    assert any(name in block.text for page in PAGES for block in blocks(page))
