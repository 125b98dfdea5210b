"""Which hits are marked: against draws whose distribution is known, and in what `search` shows."""

import datetime
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.parts import source_checkpoint
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from typer.testing import CliRunner
from zoo import WORDS

from transferkit.cli.app import app
from transferkit.cli.vectors import asking
from transferkit.embed.search import Entry, Index, Nearest, file_entries
from transferkit.embed.standing_out import FEWEST, limit
from transferkit.files.vectors.precision import Stored

TEXTS = [" ".join(WORDS[i : i + 4]) for i in range(12)]


def directions(many: int, common: float, *, seed: int, width: int = 64) -> np.ndarray:
    """Unit vectors (many, width) by chance, with as much in common."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(many, width)) / width**0.5
    found[:, 0] += common
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("many", [100, 3000])
@pytest.mark.parametrize("common", [0.0, 2.0])  # cosines around 0, and around 0.8
def test_an_unrelated_text_stands_out_for_one_question_in_twenty_at_most(many: int, common: float) -> None:
    texts, questions = directions(many, common, seed=0), directions(2000, common, seed=1)
    marked = ((questions @ texts.T).max(axis=1) > limit(texts)).mean()
    assert marked < 0.09  # below it where cosines have a longer tail to the left, as near 1
    assert common or marked > 0.01


def test_related_texts_do_not_hide_each_other() -> None:
    """One pair in fifty is of one subject, and nearer than all others."""
    subjects = directions(50, 0.0, seed=0)
    texts = 0.85 * subjects[np.arange(500) % 50] + 0.5 * directions(500, 0.0, seed=1)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    needed = limit(texts)
    assert needed is not None
    found = (texts[:100] @ texts.T) > needed
    alike = (np.arange(100)[:, None] - np.arange(500)) % 50 == 0
    assert found[alike].mean() > 0.8
    assert found[~alike].mean() < 0.002


def test_of_few_texts_nothing_is_said() -> None:
    assert limit(directions(FEWEST - 1, 0.0, seed=0)) is None
    assert limit(directions(FEWEST, 0.0, seed=0)) is not None


@pytest.fixture(scope="module", name="checkpoint")
def make_checkpoint(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")


def test_hits_say_whether_they_stand_out(checkpoint: Path, tmp_path: Path) -> None:
    index = Index(checkpoint, [Entry(text, text, text) for text in TEXTS], folder=tmp_path, console=QUIET)
    assert {hit.stands_out for hit in index.search(TEXTS[5])} == {None}
    larger = Nearest(checkpoint, [Entry(f"row {i}", "a", "a") for i in range(51)], instruction=None)
    unrelated = directions(50, 0.0, seed=0, width=index.stored.width)
    vectors = np.concatenate([unrelated, larger.embedder.encode([TEXTS[5]])])
    larger.stored = Stored(vectors, "float32", vectors.shape[1])
    best, second = larger.search(TEXTS[5], top=2)
    assert (best.entry.name, best.stands_out, second.stands_out) == ("row 50", True, False)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_other_columns_of_a_row_come_with_it(suffix: str, tmp_path: Path) -> None:
    day = datetime.date(2026, 11, 30)
    rows = [
        {"id": 7, "body": "one", "label": "card", "seen": day, "vector": [0.5, 0.5]},
        {"id": 8, "body": "two", "label": "", "seen": day, "vector": [0.5, 0.5]},
    ]
    file = tmp_path / f"texts.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist([{**row, "score": float("nan")} for row in rows]), file)
    elif suffix == "jsonl":
        file.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    else:
        mark = "," if suffix == "csv" else "\t"
        plain = [[str(row[name]) for name in ("id", "body", "label", "seen")] for row in rows]
        file.write_text("".join(mark.join(row) + "\n" for row in [["id", "body", "label", "seen"], *plain]))
    first, second = (entry.columns for entry in file_entries(str(file), column="body"))
    number, seen = (str, str) if suffix in ("csv", "tsv") else (int, str if suffix == "jsonl" else lambda _: day)
    assert first == {"id": number(7), "label": "card", "seen": seen(day)}
    assert second == {"id": number(8), "seen": seen(day)}


def test_a_text_file_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "a.csv").write_text("text\none\n")
    for name in ("a.txt", "a.csv"):
        assert [dict(entry.columns) for entry in file_entries(str(tmp_path / name), column="text")] == [{}]


@pytest.fixture(name="ask")
def a_search(checkpoint: Path, tmp_path: Path) -> Callable[..., object]:
    """The command on 24 texts in a table."""
    file = tmp_path / "texts.csv"
    rows = [f"{i},{' '.join(WORDS[i % 12 : i % 12 + 2 + i // 12])},{'x' * 60}\n" for i in range(24)]
    file.write_text("id,text,note\n" + "".join(rows))
    given = ["search", "--checkpoint", str(checkpoint), "--texts", str(file), "--index", str(tmp_path / "index")]
    return lambda *more, **options: CliRunner().invoke(app, [*given, "--instruction", "see", *more], **options)


def test_a_model_stays_loaded_for_the_questions_of_a_pipe(
    ask: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transferkit.embed.search as searching

    loads = []
    whole = searching.load
    monkeypatch.setattr(searching, "load", lambda *given, **more: loads.append(more) or whole(*given, **more))
    found = ask("--json", "--top", "2", "--device", "cpu", input=f"{TEXTS[0]}\n\n  {TEXTS[3]} \n")
    assert found.exit_code == 0, found.output
    hits = [json.loads(line) for line in found.stdout.splitlines()]
    assert [hit["question"] for hit in hits] == [TEXTS[0]] * 2 + [TEXTS[3]] * 2
    assert all(isinstance(hit["stands_out"], bool) for hit in hits)
    assert [set(hit["columns"]) for hit in hits] == [{"id", "note"}] * 4
    assert [more["device"] for more in loads] == ["cpu"]


def test_a_person_sees_marks_columns_and_what_they_mean(ask: Callable[..., object]) -> None:
    shown = ask("--top", "1", input=f"{TEXTS[0]}\n{TEXTS[3]}\n")
    assert shown.exit_code == 0, shown.output
    lines = [line.rstrip() for line in shown.stdout.splitlines()]
    assert [line for line in lines if line in TEXTS] == [TEXTS[0], TEXTS[3]]
    assert sum(line.strip().startswith("id: ") for line in lines) == 2
    assert f"note: {'x' * 34}..." in shown.stdout  # a long value is cut
    assert shown.stderr.count("stands out") == 2


def test_the_meaning_of_marks_is_that_of_what_is_shown() -> None:
    from transferkit.embed.search import Hit

    entry = Entry("a", "a", "a")
    assert asking.said_of([]) is None
    assert asking.said_of([Hit(0.9, entry, None)]) is None
    assert "* stands out" in (asking.said_of([Hit(0.9, entry, True), Hit(0.2, entry, False)]) or "")
    assert "none stands out" in (asking.said_of([Hit(0.3, entry, False)]) or "")


def test_an_empty_pipe_is_wrong_input(ask: Callable[..., object]) -> None:
    found = ask(input="\n")
    assert "no question; give one" in str(found.exception)


class Typed(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("to_file", [False, True])
def test_at_a_terminal_questions_are_asked_for_until_ctrl_d(to_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Typed("one\n\n two \n"))
    monkeypatch.setattr(sys, "stdout", io.StringIO() if to_file else Typed())
    assert list(asking.questions(None, QUIET)) == ["one", "two"]
    assert sys.stdout.getvalue().count(asking.PROMPT) == (0 if to_file else 4)  # type: ignore[attr-defined]


def test_ctrl_c_at_the_prompt_ends_it(
    ask: Callable[..., object], tiny: Tiny, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path
) -> None:
    from helpers.command_line import call

    class Pressed(Typed):
        def readline(self, *_: object) -> str:
            raise KeyboardInterrupt

    ask(TEXTS[0])  # the texts are read
    monkeypatch.setattr(sys, "stdin", Pressed())
    given = ["--checkpoint", checkpoint, "--texts", tmp_path / "texts.csv", "--index", tmp_path / "index"]
    assert call(monkeypatch, "search", *given, "--instruction", "see") == 130
