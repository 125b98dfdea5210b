"""Columns of a user's file: as they say, by name, by content, or a question that names the options."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from transferkit.errors import ConfigError
from transferkit.request.columns import Found, find_columns

TEXTS = [f"my invoice number {i} is wrong" for i in range(40)]
KINDS = ["billing", "login", "other", "refund"] * 10
LONG = [f"we looked at invoice {i} and sent you the right one" for i in range(40)]


def write(folder: Path, ending: str, **columns: list[Any]) -> Path:
    file, table = folder / f"mine{ending}", pd.DataFrame(columns)
    match ending:
        case ".csv" | ".tsv":
            table.to_csv(file, index=False, sep="," if ending == ".csv" else "\t")
        case ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))
        case _:
            table.to_parquet(file)
    return file


def found(path: Path, **named: str) -> tuple[str, dict[str, str]]:
    one = find_columns(path, named)
    return one.kind, one.columns


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("columns", "kind", "roles"),
    [
        ({"id": list(range(40)), "text": TEXTS, "label": KINDS}, "labelled", ("text", "label")),
        ({"Message ": TEXTS, "Intents": KINDS}, "labelled", ("Message ", "Intents")),
        ({"question": TEXTS, "answer": LONG, "topic": KINDS}, "pairs", ("question", "answer")),
        ({"anchor": TEXTS, "positive": LONG, "origin": KINDS}, "pairs", ("anchor", "positive")),
        ({"title": TEXTS, "abstract": LONG}, "pairs", ("title", "abstract")),
        ({"worte": TEXTS, "abteilung": KINDS}, "labelled", ("worte", "abteilung")),
        ({"nr": [str(i) for i in range(40)], "sätze": TEXTS}, None, ()),
        ({"sätze": TEXTS}, "texts", ("sätze",)),
    ],
)
def test_guessed(
    tmp_path: Path, ending: str, columns: dict[str, list[Any]], kind: str | None, roles: tuple[str, ...]
) -> None:
    file = write(tmp_path, ending, **columns)
    if kind is None:
        with pytest.raises(ConfigError, match=r"cannot tell which column is what: 'nr' .*, 'sätze' .*--text COLUMN"):
            find_columns(file, {})
        return
    found = find_columns(file, {})
    assert (found.kind, tuple(found.columns.values())) == (kind, roles)
    assert found.guessed == tuple(found.columns)
    assert "(guessed; --text, --label, --query, --passage say otherwise)" in found.in_words()


def test_what_is_named_is_taken(tmp_path: Path) -> None:
    file = write(tmp_path, ".csv", text=LONG, body=TEXTS, label=["x"] * 40, queue=KINDS)
    assert found(file, text="body", label="queue") == ("labelled", {"text": "body", "label": "queue"})
    assert found(file, text="body") == ("labelled", {"text": "body", "label": "label"})
    assert found(file, anchor="body", positive="text") == ("pairs", {"anchor": "body", "positive": "text"})
    named = find_columns(file, {"text": "body", "label": "queue"})
    assert named.guessed == ()
    assert named.in_words() == "mine.csv: text 'body', label 'queue'"


def test_one_of_two_is_found_beside_the_one_that_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, ".csv", frage=TEXTS, antwort=LONG, abteilung=KINDS)
    assert found(file, text="frage") == ("labelled", {"text": "frage", "label": "abteilung"})
    assert found(file, anchor="frage") == ("pairs", {"anchor": "frage", "positive": "antwort"})
    assert found(file, label="abteilung", text="antwort") == ("labelled", {"text": "antwort", "label": "abteilung"})


def test_a_text_a_line(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("\n".join(TEXTS))
    assert find_columns(file, {}) == Found(file, "texts", {"text": "text"}, ("text",))
    assert find_columns(file, {}).in_words().startswith("t.txt: text 'text' and no labels or pairs")


def test_another_delimiter_makes_no_text_of_two_columns(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("text;label\nx;y\n")
    with pytest.raises(ConfigError, match=r"its only column is named 'text;label'; if ';' stands .* with --text"):
        find_columns(file, {})
    assert find_columns(file, {"text": "text;label"}).columns == {"text": "text;label"}


@pytest.mark.parametrize(
    ("name", "named", "words"),
    [
        ("mine.csv", {"text": "a", "anchor": "b"}, "--text and --label are for texts, --query and --passage for pairs"),
        ("mine.csv", {"text": "body", "label": "body"}, "--text and --label: one column cannot be both"),
        ("mine.csv", {"text": "bodi"}, r"no column 'bodi'; did you mean 'body'\? for --text \(columns there: body, q"),
        ("none.csv", {}, "--data .*none.csv: no such file"),
        (".", {}, "--data .*: expected a file ending in .parquet"),
        ("mine.xlsx", {}, r"expected a file ending in \.parquet, .*, got '.xlsx'"),
    ],
)
def test_wrong(tmp_path: Path, name: str, named: dict[str, str], words: str) -> None:
    write(tmp_path, ".csv", body=TEXTS, queue=KINDS)
    with pytest.raises(ConfigError, match=words):
        find_columns(tmp_path / name, named)
