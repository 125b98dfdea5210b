"""The vector stores of docs/vectors.md: what they find against an exact search. All else there: `test_pages.py`."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pages import blocks, python_of
from typer.testing import CliRunner

import transferkit
from transferkit.checkpoints.checkpoint import load
from transferkit.cli.app import app
from transferkit.embed import files as embed_files
from transferkit.embed import search as embed_search
from transferkit.methods.base import Embedder

PAGE = "docs/vectors.md"
QUESTION = "please freeze my account"
TEXTS = [
    "block my bank account",
    "the card was stolen",
    "what time is it in tokyo",
    "freeze the account that i opened last year",
    "play some jazz in the kitchen",
    "how do i make a pancake",
    "set an alarm for six",
    "tell me a joke about cats",
]


@cache
def bundled(*_: Any, **__: Any) -> Embedder:
    """Loaded once: the page loads it for every store."""
    return load("bundled-toy")


@pytest.fixture(scope="module", name="made")
def make_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of the page leave behind."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "passages.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(embed_files, "load", bundled)
        patch.setattr(embed_search, "load", bundled)
        (commands,) = (one for one in blocks(PAGE) if one.language == "bash" and "passages.txt" in one.text)
        for line in commands.commands:
            _, *words = shlex.split(line)
            answer = CliRunner().invoke(app, words)
            assert answer.exit_code == 0, answer.output
    return folder


def run(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(transferkit, "load", bundled)
    names: dict[str, Any] = {}
    exec(compile(code, PAGE, "exec"), names)
    return names


def nearest(scores: np.ndarray) -> list[str]:
    return [TEXTS[i] for i in np.argsort(-scores, kind="stable")[:3]]


@pytest.mark.stores
def test_the_commands_leave_what_the_page_says(made: Path) -> None:
    vectors = bundled().encode_document(TEXTS)
    np.testing.assert_allclose(np.load(made / "passages.npy"), vectors, atol=1e-5)
    assert np.load(made / "small.npy").shape == (len(TEXTS), 16)


@pytest.mark.stores
@pytest.mark.parametrize(("library", "place"), [("lancedb", 1), ("faiss", 2), ("qdrant_client", 4), ("usearch", 5)])
def test_a_store_finds_what_an_exact_search_finds(
    library: str, place: int, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = python_of(PAGE)[place]
    assert library in code
    exact = bundled().encode_document(TEXTS) @ bundled().encode_query(QUESTION)
    assert run(code, made, monkeypatch)["best"] == nearest(exact)


@pytest.mark.stores
def test_packed_signs_in_faiss(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(python_of(PAGE)[3], made, monkeypatch)
    signs = bundled().encode_document(TEXTS, truncate_dim=128) > 0
    distances = (signs != (bundled().encode_query(QUESTION, truncate_dim=128) > 0)).sum(1)
    assert found["distances"][0].tolist() == sorted(distances)[:3]
    assert [distances[TEXTS.index(text)] for text in found["best"]] == sorted(distances)[:3]
