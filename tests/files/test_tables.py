"""Tables as rows: every format gives the same, and what is wrong is one sentence with file and row."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transferkit.errors import ConfigError
from transferkit.files.cells import label, number, text, title
from transferkit.files.tables import STREAMED, SUFFIXES, column_values, read_table

ROWS = [
    {"text": "a cat", "label": "one"},
    {"text": 'NA, "quoted"\nand\ttab é', "label": "null"},
    {"text": " \u2028 a dog ", "label": "2020-01-01"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    match path.suffix.lower():
        case ".parquet":
            pd.DataFrame(rows).to_parquet(path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        case suffix:
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if suffix == ".tsv" else ",")
                writer.writeheader()
                writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".CSV"])
def test_every_format_gives_the_same_values(suffix: str, tmp_path: Path) -> None:
    rows = (
        [{name: value.replace("\n", " ") for name, value in row.items()} for row in ROWS] if suffix == ".tsv" else ROWS
    )
    path = write(tmp_path / f"a[1]{suffix}", rows)
    names, values = read_table(path, {"label", "text", "other"}, where="t")
    assert names == ["text", "label"]
    assert values == {name: [row[name] for row in rows] for name in names}
    assert read_table(path, {"label"}, where="t")[1] == {"label": [row["label"] for row in rows]}
    if suffix.lower() in STREAMED:
        assert list(column_values(path, "text", where="t")) == [row["text"] for row in rows]


@pytest.mark.parametrize("reader", [read_table, column_values], ids=["whole", "streamed"])
def test_a_quotation_mark_swallows_no_line_of_a_tsv(reader: Any, tmp_path: Path) -> None:
    """Written by hand: the first text ends rows later, at the next mark, and takes their labels with it."""
    path = tmp_path / "q.tsv"
    path.write_text('text\tlabel\n"Hamlet is a play\tbooks\nthe oven is on\tkitchen\nsaid the king"\tbooks\n')
    with pytest.raises(ConfigError, match=r"t, row 1: a quotation mark opens a text there .* save the file as \.csv"):
        list(reader(path, {"text", "label"} if reader is read_table else "text", where="t"))
    path.write_text('text\tlabel\n"so ""it"" is"\tbooks\n')
    assert list(column_values(path, "text", where="t")) == ['so "it" is']


def test_a_column_is_read_row_by_row(tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl"):
        path = write(tmp_path / f"a{suffix}", [{"text": "x" * 100}] * 5000)
        with path.open("a") as file:
            file.write('"open')
        values = column_values(path, "text", where="t")
        assert next(values) == "x" * 100
        with pytest.raises(ConfigError, match=r"row 5001"):
            list(values)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", b"\xef\xbb\xbftext,label\nx,1\ny,2\n"),
        ("windows.csv", b"text,label\r\nx,1\r\ny,2\r\n"),
        ("end.csv", b"text,label\nx,1\ny,2\n\n\n"),
        ("open.tsv", b"text\tlabel\nx\t1\ny\t2"),
        ("bom.jsonl", b'\xef\xbb\xbf{"text": "x", "label": "1"}\r\n{"text": "y", "label": "2"}\n\n'),
        ("lines.json", b'{"text": "x", "label": "1"}\n{"text": "y", "label": "2"}'),
    ],
)
def test_marks_line_ends_and_blank_lines_at_the_end_are_nothing(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert read_table(path, {"text", "label"}, where="t") == (
        ["text", "label"],
        {"text": ["x", "y"], "label": ["1", "2"]},
    )


def test_blank_lines_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,1\n\n\ny,2\n")
    expected = {"text": ["x", "", "", "y"], "label": ["1", "", "", "2"]}
    assert read_table(tmp_path / "a.csv", {"text", "label"}, where="t")[1] == expected
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n\n{"text": "y"}\n')
    for reader, columns in ((read_table, {"text"}), (column_values, "text")):
        with pytest.raises(ConfigError, match=r"^t, row 2: expected a JSON object, got a blank line; remove it$"):
            list(reader(tmp_path / "a.jsonl", columns, where="t"))  # type: ignore[operator]


def test_keys_that_some_rows_lack_are_null_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [{"text": "x"}, {"label": 3}, {"text": 5, "more": [1]}])
    names, values = read_table(path, {"text", "label"}, where="t")
    assert names == ["text", "label", "more"]
    assert values == {"text": ["x", None, 5], "label": [None, 3, None]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"text,text\nx,y\n", "a column name stands twice in the header: text, text"),
        ("a.csv", b"text,label\nx,1\n\ny\n", ", row 3: expected 2 fields as in the header, got 1"),
        ("a.csv", b'text\n"x\n', ", row 1: a quote opens there and is not closed; close it"),
        ("a.csv", b'text\nx\n"y" z\n', r", row 2: not valid csv \(.*\); correct it"),
        ("a.csv", b"text\n\xe9\n", r": cannot be read as UTF-8 \(.*\); save the file as UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\xe9"}\n', r": cannot be read as UTF-8 \(line 2: .*\); save the file"),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', r": cannot be read as jsonl \(row 2: "),
        ("a.jsonl", b'{"text": "x"}\n{"text": "y", "text": "z"}\n', r"row 2: the key 'text' stands twice in an object"),
        ("a.jsonl", b'{"text": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", r"jsonl \(row 1: nested too deeply\)"),
        ("a.json", b"[" * 10**5, r"cannot be read as json \(nested too deeply\)"),
        ("a.jsonl", b'{"text": "x"}\nnull\n', ", row 2: expected a JSON object, got null"),
        ("a.json", b'[{"text": "x"}, 1]', ", row 2: expected a JSON object, got an int"),
        ("a.json", b'[{"text": "x"},', r": cannot be read as json \("),
        ("a.json", b'[{"text": "\xe9"}]', r": cannot be read as UTF-8 \("),
        ("a.parquet", b"PAR1", r": cannot be read as parquet \("),
    ],
)
def test_what_is_wrong_is_one_sentence(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^t{message}" if message[0] in ",:" else message) as caught:
        read_table(path, {"text", "label"}, where="t")
    assert "\n" not in str(caught.value)
    if path.suffix in STREAMED and content:
        with pytest.raises(ConfigError) as streamed:
            list(column_values(path, "text", where="t"))
        assert str(streamed.value) == str(caught.value)


def test_a_column_that_parquet_holds_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([["x"], ["y"]], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="a column name stands twice in the header: text, text"):
        read_table(tmp_path / "a.parquet", {"text"}, where="t")


def test_text_of_parquet_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    places, letters = pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xe9\xe9")
    texts = pa.Array.from_buffers(pa.string(), 1, [None, places, letters])  # unchecked, as a careless writer leaves it
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    for read in (
        lambda path: read_table(path, {"text"}, where="t"),
        lambda path: column_values(path, "text", where="t"),
    ):
        with pytest.raises(ConfigError, match=r"^t: cannot be read as UTF-8 \(.*; save the file as UTF-8$"):
            list(read(tmp_path / "a.parquet"))


def test_a_missing_column_names_those_that_are_there(tmp_path: Path) -> None:
    for suffix in STREAMED:
        path = write(tmp_path / f"a{suffix}", [{"txt": "x", "label": "y"}])
        with pytest.raises(
            ConfigError, match=r"no column 'text'; did you mean 'txt'\? \(columns there: txt, label; so\)"
        ):
            list(column_values(path, "text", where="t", way_out="; so"))


@pytest.mark.parametrize(
    ("name", "content", "mark"),
    [
        ("a.csv", "text;label\nx;y\n", ";"),
        ("a.csv", "text\tlabel\nx\ty\n", r"\\t"),
        ("a.csv", "id;text, long\n1;y, z\n", ";"),
        ("a.tsv", "text|label\nx|y\n", r"\|"),
        ("a.tsv", "text,label\nx,y\n", ","),
    ],
)
def test_a_missing_column_names_another_delimiter(name: str, content: str, mark: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    says = rf"no column 'body' \(.*\); if '{mark}' stands between columns, save it with commas \(\.csv\) or tabs"
    with pytest.raises(ConfigError, match=says):
        list(column_values(path, "body", where="t"))


def test_a_lone_column_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('"text, in English; verbatim"\nx\n')
    assert list(column_values(path, "text, in English; verbatim", where="t")) == ["x"]


def test_cells_become_what_their_role_says() -> None:
    assert (text("a "), title(None), title("x"), label(3), label("3"), number("2.5")) == ("a ", "", "x", "3", "3", 2.5)
    for check, value, words in (
        (text, None, "expected text, got null"),
        (text, 7, "expected text, got int 7"),
        (text, "", "expected text, got an empty value"),
        (text, " \t", "expected text, got only blanks"),
        (text, "\ud800", "expected text, got half of a surrogate pair"),
        (text, "a\0", "expected text, got a NUL character"),
        (title, "\ud800", "expected text, got half of a surrogate pair"),
        (label, "\ud800", "expected text, got half of a surrogate pair"),
        (label, "a\0", "expected text, got a NUL character"),
        (text, ["x" * 100], r"^expected text, got .{57}\.\.\.$"),
        (title, 3, "expected text or null, got int 3"),
        (label, " ", "expected a whole number or text, got str ' '"),
        (label, 1.5, "expected a whole number or text, got float 1.5"),
        (number, "x", "expected a number, got str 'x'"),
        (number, "1_0", "expected a number, got str '1_0'"),
        (number, b"1", "expected a number, got bytes b'1'"),
        (number, 10**400, "expected a number, got int 1000"),
        (number, float("nan"), "expected a finite number, got float nan"),
    ):
        with pytest.raises(ValueError, match=words):
            check(value)
