"""Local tables: CSV, TSV, JSON lines, JSON and parquet, and lines of text. What is wrong is named by file and row.

Rows are counted from 1, a header is none. Blank lines at the end of a file are nothing. In the middle one is a row of
empty values in CSV, so that no later row shifts, and an error in JSON lines.
"""

import csv
import json
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError, did_you_mean, first_line, with_article

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
PLAIN = ".txt"  # a text a line: a table with one column
PLAIN_COLUMN = "text"
STREAMED = (".jsonl", ".csv", ".tsv", ".parquet")  # those that :func:`column_values` reads
_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS = 1024  # read at a time


def column_values(path: Path, column: str, *, where: str, way_out: str = "") -> Iterator[Any]:
    """The values of one column, row by row; never the whole file in memory.

    Args:
        path: a file that ends in one of STREAMED.
        column: its name.
        where: opens messages.
        way_out: what helps where the column is missing.

    Raises:
        ConfigError: a file that cannot be read, no such column, or a bad row.
    """
    match path.suffix.lower():
        case ".parquet":
            yield from _parquet_values(path, column, where=where, way_out=way_out)
        case ".jsonl":
            for number, row in enumerate(_json_lines(path, where=where), start=1):
                if column not in row:
                    raise no_column(f"{where}, row {number}", column, row, way_out=way_out)
                yield row[column]
        case _:
            rows = _delimited(path, where=where)
            names = next(rows, None)
            if names is None:
                raise ConfigError(f"{where}: the file is empty, expected a header with a column {column!r}")
            if column not in names:
                raise no_column(where, column, names, way_out=way_out)
            place = names.index(column)
            yield from (row[place] for row in rows)


def read_table(path: Path, columns: Collection[str], *, where: str) -> tuple[list[str], dict[str, list[Any]]]:
    """Names of all columns, and the values of those of ``columns`` that are there, one a row.

    Args:
        path: a file that ends in one of SUFFIXES, or in PLAIN.
        columns: their names.
        where: opens messages.

    Raises:
        ConfigError: a file that is empty or cannot be read, or a bad row.
    """
    if path.stat().st_size == 0:
        raise ConfigError(f"{where}: the file is empty")
    match path.suffix.lower():
        case ".parquet":
            return _whole_parquet(path, columns, where=where)
        case ".txt":
            return [PLAIN_COLUMN], {PLAIN_COLUMN: _lines(path, where=where)} if PLAIN_COLUMN in columns else {}
        case ".csv" | ".tsv":
            rows = _delimited(path, where=where)
            names = next(rows, [])
            places = [place for place, name in enumerate(names) if name in columns]
            picked = [[row[place] for place in places] for row in rows]
            return names, {names[place]: [row[i] for row in picked] for i, place in enumerate(places)}
        case suffix:
            objects = (_json_lines if suffix == ".jsonl" else _json)(path, where=where)
            there: dict[str, None] = {}
            kept: list[dict[str, Any]] = []
            for row in objects:
                there.update(dict.fromkeys(row))
                kept.append({name: row[name] for name in columns if name in row})
            return list(there), {name: [row.get(name) for row in kept] for name in there if name in columns}


def parquet_metadata(path: Path, key: str, *, where: str) -> str | None:
    """What the metadata of a parquet file hold under ``key``; None: nothing.

    Raises:
        ConfigError: a file that cannot be read.
    """
    with _parquet(path, where=where) as file:
        found: bytes | None = (file.schema_arrow.metadata or {}).get(key.encode())
        return None if found is None else found.decode("utf-8", errors="replace")


def no_column(where: str, column: str, there: Collection[str], *, way_out: str) -> ConfigError:
    """The error for a column that is missing."""
    return ConfigError(
        f"{where}: no column {column!r}{did_you_mean(column, there)} "
        f"(columns there: {', '.join(there) or 'none'}{way_out}){other_delimiter(there)}"
    )


def other_delimiter(names: Collection[str]) -> str:
    """The end of a sentence where a column's name holds what may stand between columns; else nothing."""
    marks = ";\t|," if len(names) == 1 else ";\t|"
    found = next((mark for mark in marks if any(mark in name for name in names)), None)
    return "" if found is None else f"; if {found!r} stands between columns, save it with commas (.csv) or tabs (.tsv)"


def utf8_lines(stream: Iterable[bytes], *, where: str) -> Iterator[str]:
    """The lines of a stream without their ends. Only a line feed ends one: a text may hold any other separator.

    Raises:
        ConfigError: not UTF-8; names the line.
    """
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.removeprefix(_BOM if number == 1 else b"").decode("utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(f"line {number}: {error}", where=where) from None
        yield line.removesuffix("\n").removesuffix("\r")


def _lines(path: Path, *, where: str) -> list[str]:
    try:
        with path.open("rb") as file:
            lines = list(utf8_lines(file, where=where))
    except OSError as error:
        raise _unreadable(path, error, where=where) from None
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _delimited(path: Path, *, where: str) -> Iterator[list[str]]:
    """The header, then every row of CSV or TSV with as many fields."""
    width = blank = 0
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(_fields(file, delimiter, where=where)):
                if delimiter == "\t" and any("\n" in field for field in row):
                    raise ConfigError(
                        f"{where}, {f'row {number}' if number else 'header'}: a quotation mark opens a text there that "
                        "goes on over other lines, and in .tsv a row is a line; double the mark and put the text "
                        "between two more, or save the file as .csv"
                    )
                if number == 0:
                    _refuse_twice(row, where=where)
                    width = len(row)
                elif not row:
                    blank += 1
                    continue
                elif (got := len(row)) != width:
                    raise ConfigError(f"{where}, row {number}: expected {width} fields as in the header, got {got}")
                yield from ([""] * width for _ in range(blank))
                yield row
                blank = 0
    except UnicodeDecodeError as error:
        raise _not_utf8(error, where=where) from None
    except OSError as error:
        raise _unreadable(path, error, where=where) from None


def _fields(file: Iterable[str], delimiter: str, *, where: str) -> Iterator[list[str]]:
    """The header and the rows as they are, with :mod:`csv`: pandas shifts ragged rows and drops blank ones.

    Raises:
        ConfigError: a quote that is not closed, or text behind one that is.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    number = 0  # of the rows that were read, the header among them
    try:
        for row in csv.reader(file, delimiter=delimiter, strict=True):
            yield row
            number += 1
    except csv.Error as error:
        place = f"{where}, row {number}" if number else f"{where}, header"
        if "unexpected end of data" in str(error):
            raise ConfigError(
                f"{place}: a quote opens there and is not closed; close it, or double a quote that belongs to the text"
            ) from None
        way_out = "correct it" if number else "correct it, or save it with commas (.csv) or tabs (.tsv) between columns"
        raise ConfigError(f"{place}: not valid {'csv' if delimiter == ',' else 'tsv'} ({error}); {way_out}") from None


def _json_lines(path: Path, *, where: str) -> Iterator[dict[str, Any]]:
    """The object in every line."""
    blank = 0  # number of the first blank line
    try:
        with path.open("rb") as file:
            for number, line in enumerate(utf8_lines(file, where=where), start=1):
                if not line.strip():
                    blank = blank or number
                    continue
                if blank:
                    raise ConfigError(f"{where}, row {blank}: expected a JSON object, got a blank line; remove it")
                try:
                    row = _parsed(line)
                except ValueError as error:
                    raise _unreadable(path, f"row {number}: {error}", where=where) from None
                yield _object(row, number, where=where)
    except OSError as error:
        raise _unreadable(path, error, where=where) from None


def _json(path: Path, *, where: str) -> Iterator[dict[str, Any]]:
    """The objects of a list, or of lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not text.lstrip().startswith("["):
            yield from _json_lines(path, where=where)
            return
        rows = _parsed(text)
    except UnicodeDecodeError as error:
        raise _not_utf8(error, where=where) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, where=where) from None
    yield from (_object(row, number, where=where) for number, row in enumerate(rows, start=1))


def _parsed(text: str) -> Any:
    """What JSON stands for.

    Raises:
        ValueError: none, nested too deeply, or a key twice in one object, of which the library takes the last.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in an object")
    return found


def _object(row: Any, number: int, *, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        got = "null" if row is None else with_article(type(row).__name__)
        raise ConfigError(f"{where}, row {number}: expected a JSON object, got {got}")
    return row


def _parquet_values(path: Path, column: str, *, where: str, way_out: str) -> Iterator[Any]:
    with _parquet(path, where=where) as file:
        names = file.schema_arrow.names
        if column not in names:
            raise no_column(where, column, names, way_out=way_out)
        batches = file.iter_batches(_PARQUET_ROWS, columns=[column])
        yield from chain.from_iterable(batch.column(0).to_pylist() for batch in batches)


def _whole_parquet(path: Path, columns: Collection[str], *, where: str) -> tuple[list[str], dict[str, list[Any]]]:
    with _parquet(path, where=where) as file:
        names = file.schema_arrow.names
        table = file.read(columns=[name for name in names if name in columns])
        return names, {name: table.column(name).to_pylist() for name in table.column_names}


@contextmanager
def _parquet(path: Path, *, where: str) -> Iterator[Any]:
    """The open file; what fails while it is open becomes one sentence."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            _refuse_twice(file.schema_arrow.names, where=where)
            yield file
    except UnicodeDecodeError as error:  # pyarrow decodes text only when it is asked for values
        raise _not_utf8(error, where=where) from None
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error, where=where) from None


def _refuse_twice(names: list[str], *, where: str) -> None:
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: a column name stands twice in the header: {', '.join(names)}")


def _not_utf8(why: object, *, where: str) -> ConfigError:
    return ConfigError(f"{where}: cannot be read as UTF-8 ({why}); save the file as UTF-8")


def _unreadable(path: Path, why: BaseException | str, *, where: str) -> ConfigError:
    reason = why if isinstance(why, str) else first_line(why)
    return ConfigError(f"{where}: cannot be read as {path.suffix[1:].lower()} ({reason})")
