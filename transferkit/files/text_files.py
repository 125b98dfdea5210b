"""Texts to embed, one after the other: a text file, a column, standard input; or those that Python holds."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from transferkit.errors import ConfigError
from transferkit.files.cells import text
from transferkit.files.manifest import sha256_file
from transferkit.files.tables import PLAIN, STREAMED, column_values, utf8_lines

STANDARD_INPUT = "standard input"


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
        if path.suffix.lower() not in (*STREAMED, PLAIN, ""):
            raise ConfigError(
                f"{texts}: {path.suffix} cannot be read row by row; expected {', '.join(STREAMED)}, or {PLAIN} with a "
                f"text a line (`- < {texts}` takes the lines of any file)"
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
        elif self.path.suffix.lower() in STREAMED:
            yield from self._column(self.path)
        else:
            try:
                with self.path.open("rb") as file:
                    yield from self._plain(file)
            except OSError as error:
                raise ConfigError(f"{self}: cannot be read ({error.strerror or error})") from None

    def count(self, *, limit: int | None = None) -> int | None:
        """Texts, up to ``limit``; None for standard input, which can be read once alone.

        Every row is read, so that a bad one is found before anything else is begun.

        Raises:
            ConfigError: a bad row, or no text at all.
        """
        if self.path is None:
            return None
        found = sum(1 for _ in islice(self, limit))
        if found == 0:
            raise self.without_texts()
        return found

    def without_texts(self) -> ConfigError:
        """The error for an input without a single text."""
        return ConfigError(f"{self}: holds no texts, expected at least one")

    def fingerprint(self) -> str:
        """What tells this input from another: file content and column; standard input has no content to hash."""
        if self.path is None:
            return STANDARD_INPUT
        column = f" {self.column}" if self.path.suffix.lower() in STREAMED else ""
        return f"sha256 {sha256_file(self.path)}{column}"

    def _plain(self, stream: Iterable[bytes]) -> Iterator[str]:
        for number, line in enumerate(utf8_lines(stream, where=str(self)), start=1):
            if not line.strip():
                raise ConfigError(
                    f"{self}, line {number}: expected a text, got a blank line; remove it (skipped here, it would "
                    "shift the vectors of all later lines)"
                )
            try:
                yield text(line)
            except ValueError as problem:
                raise ConfigError(f"{self}, line {number}: {problem}") from None

    def _column(self, path: Path) -> Iterator[str]:
        way_out = "; --column names the one that holds the text"
        values = column_values(path, self.column, where=str(self), way_out=way_out)
        for number, value in enumerate(values, start=1):
            try:
                yield text(value)
            except ValueError as problem:
                raise ConfigError(
                    f"{self}, row {number}, column {self.column!r}: {problem}; correct or remove the row"
                ) from None


def listed_texts(given: Iterable[str], what: str) -> list[str]:
    """Texts in the order in which they come, as objects of Python; ``what`` they are stands in messages.

    Raises:
        ConfigError: something that has no order or is no text, or that would come as something else.
    """
    one = what.removesuffix("s")
    # A table would give the names of its columns.
    if isinstance(given, bytes | Mapping | AbstractSet) or hasattr(given, "columns"):
        got = type(given).__name__
        raise ConfigError(f"encode: expected {what} in an order, got a {got}; pass a list, or one column of a table")
    try:
        listed = list(given)
    except TypeError:
        raise ConfigError(f"encode: expected a list of {what}, got {given!r}") from None
    for i, value in enumerate(listed):
        if not isinstance(value, str):
            raise ConfigError(f"encode: {one} {i}: expected text, got {' '.join(repr(value)[:60].split())}")
    return listed
