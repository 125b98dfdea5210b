"""``study init``: from a user's file to a study that can be run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import command_line
from helpers.own_files import write_own_files
from helpers.tiny import Tiny

from transferkit.config.methods import all_methods
from transferkit.runs.folder import read_record
from transferkit.study.plan import plan
from transferkit.study.schema import read_study

Call = Callable[..., int]


@pytest.fixture(name="call")
def make_call(monkeypatch: pytest.MonkeyPatch) -> Call:
    return lambda *words: command_line.call(monkeypatch, *map(str, words))


@pytest.fixture(name="here")
def make_here(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source and files of a user."""
    write_own_files(tiny, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_becomes_a_study_with_every_method(
    here: Path, tiny: Tiny, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--data", "tickets.csv", "--target", tiny.target, "--target", tiny.source, "--source", "source")
    assert call("study", "init", *asked, "--instruction", "see", "--out", "new/study.yaml") == 0
    said = capsys.readouterr().err
    assert "text 'body', label 'queue' (guessed" in said
    assert "wrote new/study.yaml: 30 runs; look at it, then: transferkit study new/study.yaml --out new/report" in said
    study = read_study(Path("new/study.yaml"))
    rows = [one.set.get("method", one.name) for one in study.runs]
    assert set(all_methods()) - set(rows) == {"source", "encoder", "qlora"}
    planned = plan(study, runs=Path("runs"), beside=Path("new"))
    assert len(planned) == 30
    assert {one.recipe.data.train[0].instruction for one in planned} == {"see"}
    assert call("study", "new/study.yaml", "--list") == 0  # without `run`
    assert len(capsys.readouterr().out.splitlines()) == 30
    assert call("study", "run", "new/study.yaml", "--only", "tfidf", "--seed", "17", "--runs", "runs") == 0
    record = read_record(Path("runs/tfidf-s17"))
    assert record["status"] == "done"
    assert record["data"]["dev"][0]["name"] == "tickets"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--data texts.txt --target TARGET", "the rivals of a study learn from labels or pairs: name their columns"),
        ("--data none.csv --target TARGET", "none.csv"),
        ("--data tickets.csv --target TARGET --text boddy", "did you mean 'body'?"),
        ("--data tickets.csv --target none/at/all", "none/at/all"),
        ("--data tickets.csv --target TARGET --source none", "none"),
        ("--data tickets.csv --target TARGET --out texts.txt", "--out texts.txt: exists already"),
    ],
)
def test_wrong_inputs_write_nothing(
    here: Path, tiny: Tiny, call: Call, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    before = sorted(here.iterdir())
    given = [str(tiny.target) if word == "TARGET" else word for word in words.split()]
    assert call("study", "init", *given) == 2
    error = capsys.readouterr().err
    assert says in " ".join(error.split()), error
    assert "Traceback" not in error
    assert sorted(here.iterdir()) == before


def test_its_help_names_both_commands(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--help",)):
        code = call("study", *words)
        assert code in (0, 2)
        shown = "".join(capsys.readouterr())
        assert "init" in shown
        assert "run" in shown
