"""Texts to embed, one after the other: a text file, a column of a table, or standard input. Never all in memory."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError, did_you_mean, with_article
from transferkit.files.manifest import sha256_file

STANDARD_INPUT = "standard input"
_TABLES = (".jsonl", ".csv", ".tsv", ".parquet")
_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS = 1024  # read at a time


@dataclass(frozen=True)
class TextFile:
    """Where texts come from; iterating reads it from its beginning. ``path`` None is standard input.

    In a text file and on standard input each line is a text. A blank line or value is an error: skipping it would
    shift every later row of the output, and a vector of nothing helps nobody.
    """

    path: Path | None
    column: str

    @classmethod
    def named(cls, texts: str, *, column: str) -> "TextFile":
        """The file called ``texts``; ``-`` is standard input.

        Raises:
            ConfigError: no such file, or one of a kind that cannot be read row by row.
        """
        if texts == "-":
            return cls(None, column)
        path = Path(texts)
        if not path.is_file():
            what = "is a folder, expected a file" if path.is_dir() else "no such file"
            raise ConfigError(f"{texts}: {what}; give a file of texts, or - for standard input")
        if path.suffix.lower() in (".json", ".npy", ".gz", ".zip"):
            raise ConfigError(
                f"{texts}: {path.suffix} cannot be read row by row; expected {', '.join(_TABLES)} or a text file"
            )
        return cls(path, column)

    def __str__(self) -> str:
        return STANDARD_INPUT if self.path is None else str(self.path)

    def __iter__(self) -> Iterator[str]:
        """The texts in their order.

        Raises:
            ConfigError: unreadable, a missing column, or a row without text; names file, row and column.
        """
        if self.path is None:
            yield from self._plain(sys.stdin.buffer)
            return
        try:
            match self.path.suffix.lower():
                case ".parquet":
                    yield from self._parquet(self.path)
                case ".csv":
                    yield from self._delimited(self.path, ",")
                case ".tsv":
                    yield from self._delimited(self.path, "\t")
                case ".jsonl":
                    with self.path.open("rb") as file:
                        yield from self._json_lines(file)
                case _:
                    with self.path.open("rb") as file:
                        yield from self._plain(file)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self}: cannot be read as UTF-8 text ({error})") from None

    def fingerprint(self) -> str:
        """What tells this input from another: file content and column; standard input has no content to hash."""
        if self.path is None:
            return STANDARD_INPUT
        column = f" {self.column}" if self.path.suffix.lower() in _TABLES else ""
        return f"sha256 {sha256_file(self.path)}{column}"

    def _lines(self, stream: Iterable[bytes]) -> Iterator[tuple[int, str]]:
        """Number and content of each line. Only a line feed ends one: a text may hold any other separator."""
        for number, raw in enumerate(stream, start=1):
            raw = raw.removeprefix(_BOM) if number == 1 else raw
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError:
                raise ConfigError(f"{self}, line {number}: not UTF-8; convert the file first") from None
            yield number, line.removesuffix("\n").removesuffix("\r")

    def _plain(self, stream: Iterable[bytes]) -> Iterator[str]:
        for number, line in self._lines(stream):
            if not line.strip():
                raise ConfigError(
                    f"{self}, line {number}: expected a text, got a blank line; remove it (skipped here, it would "
                    "shift the vectors of all later lines)"
                )
            yield line

    def _json_lines(self, stream: Iterable[bytes]) -> Iterator[str]:
        for number, line in self._lines(stream):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{self}, row {number}: not valid JSON ({error})") from None
            if not isinstance(row, dict):
                raise ConfigError(
                    f"{self}, row {number}: expected a JSON object, got {with_article(type(row).__name__)}"
                )
            if self.column not in row:
                raise self._no_column(list(row), row=number)
            yield self._text(row[self.column], number)

    def _delimited(self, path: Path, delimiter: str) -> Iterator[str]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv_rows(file, delimiter, where=str(self))
            names = next(reader, None)
            if names is None:
                raise ConfigError(f"{self}: the file is empty, expected a header with a column {self.column!r}")
            if self.column not in names:
                raise self._no_column(names)
            place = names.index(self.column)
            blank = 0  # blank lines are fine at the end of the file alone
            for number, row in enumerate(reader, start=1):
                if not row:
                    blank = blank or number
                    continue
                if blank:
                    raise ConfigError(f"{self}, row {blank}: expected a row, got a blank line; remove it")
                if len(row) != len(names):
                    raise ConfigError(
                        f"{self}, row {number}: expected {len(names)} fields as in the header, got {len(row)}"
                    )
                yield self._text(row[place], number)

    def _parquet(self, path: Path) -> Iterator[str]:
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                if self.column not in file.schema_arrow.names:
                    raise self._no_column(file.schema_arrow.names)
                batches = file.iter_batches(_PARQUET_ROWS, columns=[self.column])
                values = chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
                for number, value in enumerate(values, start=1):
                    yield self._text(value, number)
        except pyarrow.ArrowException as error:
            raise ConfigError(f"{self}: cannot be read as parquet ({str(error).splitlines()[0]})") from None

    def _text(self, value: Any, number: int) -> str:
        if isinstance(value, str) and value.strip() and _is_unicode(value):
            return value
        if not isinstance(value, str):
            got = "null" if value is None else f"{type(value).__name__} {value!r}"
        else:
            got = "half of a surrogate pair" if value.strip() else f"a blank value ({value!r})"
        raise ConfigError(
            f"{self}, row {number}, column {self.column!r}: expected a text, got {got[:60]}; correct or remove the row"
        )

    def _no_column(self, there: list[str], *, row: int | None = None) -> ConfigError:
        where = f"{self}" if row is None else f"{self}, row {row}"
        return ConfigError(
            f"{where}: no column {self.column!r}{did_you_mean(self.column, there)} (columns there: "
            f"{', '.join(there) or 'none'}; --column names the one that holds the text)"
        )


def csv_rows(file: Iterable[str], delimiter: str, *, where: str) -> Iterator[list[str]]:
    """The rows of a table, the header first; ``where`` opens messages.

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
        raise ConfigError(f"{place}: not valid {'csv' if delimiter == ',' else 'tsv'} ({error}); correct it") from None


def _is_unicode(text: str) -> bool:
    """JSON can write half of a surrogate pair, which no tokenizer reads and no file takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
