"""Search: exact against a loop in float64, an index that is built once and never stale, and the command."""

import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.parts import prompt_embedder, source_checkpoint
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from rich.console import Console
from typer.testing import CliRunner
from zoo import WORDS

from transferkit.checkpoints.checkpoint import load, save
from transferkit.cli.app import app
from transferkit.data.installed_docs import Docstring
from transferkit.embed.search import Entry, Index, docstring_entries, file_entries
from transferkit.errors import ConfigError, RunError
from transferkit.files.lock import sole_use
from transferkit.files.vectors.origin import note_file
from transferkit.methods.base import Embedder

TEXTS = [" ".join(WORDS[i : i + 4]) for i in range(12)]
ENTRIES = [Entry(f"row {i}", text.upper(), text) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module", name="checkpoint")
def make_checkpoint(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")


def test_hits_are_the_nearest_by_cosine_best_first(checkpoint: Path, tmp_path: Path) -> None:
    index = Index(checkpoint, ENTRIES, folder=tmp_path, instruction="see", console=QUIET)
    hits = index.search(TEXTS[5], top=4)
    embedder = load(checkpoint)
    vectors = embedder.encode(TEXTS, instruction="see").astype(np.float64)
    cosines = [float(vectors[i] @ vectors[5]) for i in range(len(TEXTS))]
    expected = sorted(range(len(TEXTS)), key=lambda i: -cosines[i])[:4]
    assert [hit.entry for hit in hits] == [ENTRIES[i] for i in expected]
    assert hits[0].entry is ENTRIES[5]
    np.testing.assert_allclose([hit.score for hit in hits], [cosines[i] for i in expected], atol=1e-5)


def test_texts_are_read_once_and_again_only_where_something_changed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Index(checkpoint, ENTRIES, folder=tmp_path, instruction="see", console=QUIET)
    (first,) = tmp_path.glob("*.npy")
    read: list[int] = []
    whole = Embedder.encode

    def counting(self: Embedder, texts: list[str], **options: object) -> np.ndarray:
        read.append(len(texts))
        return whole(self, texts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Embedder, "encode", counting)
    Index(checkpoint, ENTRIES, folder=tmp_path, instruction="see", console=QUIET).search("see", top=1)
    assert read == [1]
    Index(checkpoint, ENTRIES, folder=tmp_path, instruction="find the cat", console=QUIET)
    Index(checkpoint, ENTRIES[:-1], folder=tmp_path, instruction="see", console=QUIET)
    assert read == [1, len(TEXTS), len(TEXTS) - 1]
    assert len(list(tmp_path.glob("*.npy"))) == 3
    assert first.is_file()


@pytest.mark.parametrize("given", [None, "see"])
def test_training_instructions_are_shown_where_none_is_given(given: str | None, tiny: Tiny, tmp_path: Path) -> None:
    texts = {f"set {i}": f"instruction {i}" for i in range(8)}
    save(prompt_embedder(tiny), tmp_path / "checkpoint", instructions=texts)
    console = Console(file=StringIO(), width=40)
    Index(tmp_path / "checkpoint", ENTRIES, folder=tmp_path / "index", instruction=given, console=console)
    assert isinstance(console.file, StringIO)
    warning = (
        "warning: no --instruction given, so none is used; this checkpoint was trained with 'instruction 0' and 7 "
        "more; choose one with --instruction\n"
    )
    assert console.file.getvalue() == ("" if given else warning)


@pytest.mark.parametrize("size", [0, 60, 200])  # nothing, half a header, too few vectors
def test_a_damaged_index_is_made_again(size: int, checkpoint: Path, tmp_path: Path) -> None:
    Index(checkpoint, ENTRIES, folder=tmp_path, instruction="see", console=QUIET)
    (file,) = tmp_path.glob("*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    index = Index(checkpoint, ENTRIES, folder=tmp_path, instruction="see", console=QUIET)
    assert index.search(TEXTS[5], top=1)[0].entry is ENTRIES[5]
    assert file.read_bytes() == whole
    assert sorted(tmp_path.iterdir()) == [file, note_file(file)]


@pytest.mark.parametrize(("given", "texts_with"), [(None, ""), ("see", ""), ("find the cat", "find the cat")])
def test_texts_are_read_as_documents_and_the_question_as_one(
    tiny: Tiny, tmp_path: Path, given: str | None, texts_with: str
) -> None:
    """Passages had no instruction beside questions of one, and the same beside those of another."""
    asked = {"pairs": "see", "more": "see"} if given != "find the cat" else {"pairs": "see", "intents": "find the cat"}
    found = dict.fromkeys(asked, "") if given != "find the cat" else {"pairs": "", "intents": "find the cat"}
    save(prompt_embedder(tiny), tmp_path / "checkpoint", instructions=asked, document_instructions=found)
    index = Index(tmp_path / "checkpoint", ENTRIES, folder=tmp_path / "index", instruction=given, console=QUIET)
    embedder = load(tmp_path / "checkpoint")
    np.testing.assert_allclose(index.stored.whole(), embedder.encode(TEXTS, instruction=texts_with), atol=1e-5)
    (question,) = embedder.encode([TEXTS[3]], instruction=given or "see")
    best = index.search(TEXTS[3], top=1)[0]
    assert best.score == pytest.approx(float((index.stored.whole() @ question).max()), abs=1e-5)


def test_an_index_in_the_making_belongs_to_one_process(checkpoint: Path, tmp_path: Path) -> None:
    Index(checkpoint, ENTRIES, folder=tmp_path, instruction="see", console=QUIET)
    (file,) = tmp_path.glob("*.npy")
    file.unlink()
    with sole_use(file), pytest.raises(ConfigError, match=r"another process is writing to it.*--index"):
        Index(checkpoint, ENTRIES, folder=tmp_path, instruction="see", console=QUIET)
    assert not file.exists()


def test_nothing_to_search_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no texts to search"):
        Index(checkpoint, [], folder=tmp_path, console=QUIET)


@pytest.mark.parametrize(
    ("at", "error", "says"),
    [
        (
            "transferkit.methods.base.Embedder.encode",
            torch.OutOfMemoryError("full"),
            "out of memory at 64 texts a forward pass; the 0 vectors before are kept, go on with the same command, at "
            "--batch-size 32",
        ),
        ("os.fsync", OSError(28, "No space left on device"), "make room and go on with the same command"),
    ],
)
def test_a_failure_names_only_options_of_search(
    at: str, error: Exception, says: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS) + "\n")
    arguments = ["search", "see", "--checkpoint", str(checkpoint), "--texts", str(file), "--index", str(tmp_path / "i")]
    with monkeypatch.context() as patch:
        patch.setattr(at, fail)
        failed = CliRunner().invoke(app, arguments)
    assert isinstance(failed.exception, RunError)
    assert says in str(failed.exception)
    assert "--resume" not in str(failed.exception)
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_rows_of_a_file_are_entries(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"body": text}) + "\n" for text in ("one", "two")))
    assert file_entries(str(file), column="body") == [Entry("row 1", "one", "one"), Entry("row 2", "two", "two")]


@pytest.fixture(name="docs")
def few_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ("python", "numpy", "pandas", "numpy")
    docs = [Docstring(f"{name}.f{i}", name, TEXTS[i], "") for i, name in enumerate(packages)]
    monkeypatch.setattr("transferkit.embed.search.kept_docs", lambda folder: tuple(docs))


@pytest.mark.parametrize(
    ("packages", "rows"), [((), [0, 1, 2, 3]), (("numpy",), [1, 3]), (("pandas", "python"), [0, 2])]
)
def test_docstrings_of_some_packages(packages: tuple[str, ...], rows: list[int], docs: None, tmp_path: Path) -> None:
    found = docstring_entries(tmp_path, packages=packages)
    assert [int(entry.name[-1]) for entry in found] == rows
    assert [entry.embedded for entry in found] == [TEXTS[row] for row in rows]


def test_a_package_without_docstrings_is_named(docs: None, tmp_path: Path) -> None:
    says = r"--package numpi: its docstrings are not read here; did you mean 'numpy'\? \(those of .*numpy.* are"
    with pytest.raises(ConfigError, match=says):
        docstring_entries(tmp_path, packages=["numpi"])
    found = CliRunner().invoke(app, ["search", "x", "--package", "numpi"])
    assert re.search(says, str(found.exception))


def test_the_command_searches_the_packages_that_it_is_given(checkpoint: Path, docs: None, tmp_path: Path) -> None:
    arguments = ["search", TEXTS[0], "--checkpoint", str(checkpoint), "--index", str(tmp_path), "--instruction", "see"]
    shown = CliRunner().invoke(app, [*arguments, "--package", "numpy", "--package", "pandas", "--json"])
    assert shown.exit_code == 0, shown.output
    assert {json.loads(line)["name"] for line in shown.stdout.splitlines()} == {"numpy.f1", "pandas.f2", "numpy.f3"}


def test_command_prints_hits_as_table_and_as_json(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS) + "\n")
    arguments = ["search", TEXTS[2], "--checkpoint", str(checkpoint), "--texts", str(file), "--instruction", "see"]
    arguments += ["--index", str(tmp_path / "index"), "--top", "2"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert TEXTS[2] in shown.output
    assert "row 3" in shown.output
    with monkeypatch.context() as patch:  # all is there, so that a folder that is read-only would do
        patch.delattr("transferkit.cli.vectors.search.check_writable")
        lines = CliRunner().invoke(app, [*arguments, "--json"]).stdout.splitlines()
    assert json.loads(lines[0])["name"] == "row 3"
    assert json.loads(lines[0])["score"] == pytest.approx(1.0, abs=1e-4)


def test_a_question_that_is_cut_is_said(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    long = " ".join(WORDS * 3)
    for question, what, index in (("see", None, "one"), (long, "1 of 1 texts", "one"), (long, "1 of 1 texts", "two")):
        arguments = ["search", question, "--checkpoint", str(checkpoint), "--texts", str(tmp_path / "a.txt")]
        result = CliRunner().invoke(app, [*arguments, "--index", str(tmp_path / index), "--json"])
        said = " ".join(result.stderr.split())
        assert ("that the decoder reads of each and were cut" in said) == (what is not None)
        assert (what or "") in said
