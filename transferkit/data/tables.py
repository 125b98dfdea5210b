"""Rows of a file, a Hub dataset or built-in data -> checked columns; a bad row is named by file, row and column."""

import glob
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transferkit.errors import ConfigError, RunError, UnreachableError, did_you_mean, first_line
from transferkit.files.text_files import csv_rows

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
Check = Literal["text", "title", "label", "number", "id"]
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Source:
    """One table: a local file, or one split of a Hub dataset or of built-in data.

    ``set_key`` opens every message about it; ``in_recipe`` lets messages name the keys of a recipe that help.
    """

    set_key: str
    path: Path | None = None
    hub_id: str | None = None
    builtin: str | None = None
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    in_recipe: bool = True

    def __str__(self) -> str:
        if self.path is not None:
            return f"{self.set_key}: {self.path}"
        subset = f" subset {self.subset!r}" if self.subset else ""
        origin = f"Hub dataset {self.hub_id!r}" if self.builtin is None else f"built-in data {self.builtin!r}"
        return f"{self.set_key}: {origin}{subset} split {self.split!r}"


def local_source(set_key: str, path: str, data_dir: Path | None) -> Source:
    """The file ``path``, looked up below ``data_dir`` (None: the current folder) unless it is absolute."""
    return Source(set_key, path=(data_dir or Path()) / path)


def read_columns(
    source: Source,
    columns: dict[str, str],
    *,
    optional: frozenset[str] = frozenset(),
    limit: int | None = None,
) -> Columns:
    """The values of the named columns, one list a role.

    Args:
        source: file, Hub dataset or built-in data.
        columns: role -> column.
        optional: roles that are left out of the result where their column does not exist.
        limit: read only the first rows.

    Raises:
        ConfigError: no such file, dataset, subset, split or column; a file that cannot be read; no rows.
        RunError: the Hub cannot be reached.
    """
    table = _read(source)
    there = list(table.column_names)
    for role, column in columns.items():
        if column not in there and role not in optional:
            hint = f"; `columns: {{{role}: ...}}` in the recipe names the column that holds the {role}"
            raise ConfigError(
                f"{source}: no column {column!r}{did_you_mean(column, there)} "
                f"(columns there: {', '.join(there)}{hint if source.in_recipe else ''})"
            )
    if len(table) == 0:
        raise ConfigError(f"{source}: holds no rows, expected at least one")
    found = {role: column for role, column in columns.items() if column in there}
    if limit is not None and limit < len(table):
        table = table.select(range(limit))
    try:
        values = table.select_columns(sorted(set(found.values())))[:]
    except UnicodeDecodeError as error:  # pyarrow decodes text only here
        raise ConfigError(f"{source}: cannot be read as UTF-8 ({error}); save the file as UTF-8") from None
    return {role: list(values[column]) for role, column in found.items()}


def check_rows(
    source: Source,
    values: Columns,
    *,
    checks: dict[str, Check],
    on_bad_row: Literal["stop", "skip"],
    columns: dict[str, str],
) -> tuple[Columns, int]:
    """The rows whose values all pass, converted, and the number of rows that were skipped.

    Args:
        source: named in messages.
        values: role -> one value a row, as :func:`read_columns` gives them.
        checks: role -> ``text`` (not blank), ``title`` (text or null; null becomes empty), ``label`` and
            ``id`` (whole number or text; both become text, so 3 equals "3"), or ``number`` (finite).
        on_bad_row: ``stop`` at the first bad row, or ``skip`` them all.
        columns: role -> column, named in messages.

    Raises:
        ConfigError: a bad row under ``stop``; no good row under ``skip``.
    """
    converters = [(role, _CONVERTERS[checks[role]]) for role in values]
    good: Columns = {role: [] for role in values}
    skipped = 0
    for number, row in enumerate(zip(*values.values(), strict=True), start=1):
        try:
            # `role` is read by the handler below, so a comprehension would hide the column at fault.
            converted = []
            for (role, convert), value in zip(converters, row, strict=True):  # noqa: B007
                converted.append(convert(value))
        except ValueError as problem:
            if on_bad_row == "stop":
                raise bad_row(source, number, column=columns[role], problem=str(problem)) from None
            skipped += 1
            continue
        for column, value in zip(good.values(), converted, strict=True):
            column.append(value)
    if skipped and skipped == number:
        raise ConfigError(f"{source}: none of the {number} rows is usable (last: column {columns[role]!r} is bad)")
    return good, skipped


def bad_row(source: Source, number: int, *, column: str, problem: str) -> ConfigError:
    """The error for one row, counted from 1 (a header is not counted)."""
    way_out = "correct the row, or set data.on_bad_row: skip" if source.in_recipe else "correct or remove the row"
    return ConfigError(f"{source}, row {number}, column {column!r}: {problem}; {way_out}")


class TableReader:
    """Reads tables whose columns have roles, and counts the rows that it skips.

    Args:
        columns: role -> column.
        checks: role -> what its values must be (see :func:`check_rows`).
        on_bad_row: ``stop`` at the first bad row, or ``skip`` them all.
    """

    def __init__(
        self, *, columns: dict[str, str], checks: dict[str, Check], on_bad_row: Literal["stop", "skip"]
    ) -> None:
        self.columns = columns
        self.checks = checks
        self.on_bad_row: Literal["stop", "skip"] = on_bad_row
        self.skipped_rows = 0

    def read(self, source: Source, roles: tuple[str, ...]) -> Columns:
        """The checked values of ``roles``, one list each."""
        return self.check(source, read_columns(source, {role: self.columns[role] for role in roles}), self.checks)

    def check(self, source: Source, values: Columns, checks: dict[str, Check]) -> Columns:
        """The rows of ``values`` that pass ``checks``."""
        good, skipped = check_rows(source, values, checks=checks, on_bad_row=self.on_bad_row, columns=self.columns)
        self.skipped_rows += skipped
        return good

    def refuse_row(self, source: Source, number: int, *, role: str, problem: str) -> None:
        """Stop at a row that is bad in itself but passed the checks of its values, or count it as skipped."""
        if self.on_bad_row == "stop":
            raise bad_row(source, number, column=self.columns[role], problem=problem)
        self.skipped_rows += 1


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {_shown(value)}")
    if not value.strip():
        raise ValueError(
            f"expected text, got only blanks ({value!r})" if value else "expected text, got an empty value"
        )
    return value


def _title(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"expected text or null, got {_shown(value)}")
    return value or ""


def _label(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a whole number or text, got {_shown(value)}")
    return value


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number, got {_shown(value)}") from None
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {_shown(value)}")
    return number


def _shown(value: Any) -> str:
    text = "null" if value is None else f"{type(value).__name__} {value!r}"
    return text if len(text) <= 60 else f"{text[:57]}..."


_CONVERTERS: dict[Check, Callable[[Any], Any]] = {
    "text": _text,
    "title": _title,
    "label": _label,
    "id": _label,
    "number": _number,
}


def _read(source: Source) -> Any:
    if source.path is not None:
        return _read_local(source)
    return _read_hub(source) if source.builtin is None else _read_builtin(source)


def _read_local(source: Source) -> Any:
    path = source.path
    assert path is not None
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{source}: expected a file ending in {', '.join(SUFFIXES)}, got {path.suffix or path.name!r}"
        )
    if not path.is_file():
        what = "is a folder, expected a file" if path.is_dir() else "no such file"
        hint = "" if path.is_absolute() else f" (looked in {Path.cwd()}; --data-dir names another folder)"
        raise ConfigError(f"{source}: {what}{hint}")
    if path.stat().st_size == 0:
        raise ConfigError(f"{source}: the file is empty")
    if path.suffix in (".csv", ".tsv"):
        return _read_csv(source, path)
    from datasets import load_dataset

    # A temporary cache that is dropped at once: the library's own would keep a copy of every file in the home
    # folder, and would serve the old copy of a file that was rewritten with its old modification time.
    with quiet_datasets(), tempfile.TemporaryDirectory() as cache:
        try:
            return load_dataset(
                "parquet" if path.suffix == ".parquet" else "json",
                data_files=glob.escape(str(path.absolute())),
                split="train",
                cache_dir=cache,
                keep_in_memory=True,
            )
        except Exception as error:  # the readers raise whatever pyarrow, pandas or json raise
            raise ConfigError(f"{source}: cannot be read as {path.suffix[1:]} ({first_line(error)})") from None


def _read_csv(source: Source, path: Path) -> Any:
    """Every field as text, read with :mod:`csv`: pandas shifts ragged rows and drops blank ones."""
    from datasets import Dataset

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv_rows(file, "\t" if path.suffix == ".tsv" else ",", where=str(source))
            names = next(reader, [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{source}: cannot be read as UTF-8 {path.suffix[1:]} ({error}); save the file as UTF-8"
        ) from None
    while rows and not rows[-1]:
        rows.pop()
    if len(set(names)) < len(names):
        raise ConfigError(f"{source}: a column name stands twice in the header: {', '.join(names)}")
    for number, row in enumerate(rows, start=1):
        if row and len(row) != len(names):
            raise ConfigError(f"{source}, row {number}: expected {len(names)} fields as in the header, got {len(row)}")
    return Dataset.from_dict({name: [row[i] if row else "" for row in rows] for i, name in enumerate(names)})


def _read_hub(source: Source) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    assert source.hub_id is not None
    try:
        return load_dataset(source.hub_id, name=source.subset, split=source.split, revision=source.revision)
    except DatasetNotFoundError:
        revision = f" at revision {source.revision!r}" if source.revision else ""
        raise ConfigError(
            f"{source}: no such dataset{revision} on the Hub, or it is private or gated "
            "(check the id, or log in with `hf auth login`)"
        ) from None
    except (ConnectionError, TimeoutError) as error:
        raise UnreachableError(
            f"{source}: the Hub cannot be reached and no copy is in the cache ({first_line(error)}); "
            "go online once, or name a local file with `path`"
        ) from None
    except ValueError as error:  # unknown subset or split: the library names those that are there
        raise ConfigError(f"{source}: {first_line(error)}") from None
    except Exception as error:  # network stacks and file readers have no common base class
        raise RunError(f"{source}: cannot be loaded ({first_line(error)})") from None


def _read_builtin(source: Source) -> Any:
    from datasets import Dataset

    from transferkit.data.installed_docs import SPLITS, SUBSETS, table

    for what, got, there in (("split", source.split, SPLITS), ("subset", source.subset, SUBSETS)):
        if got is not None and got not in there:
            close = did_you_mean(got, there)
            raise ConfigError(f"{source}: no {what} {got!r}{close} ({what}s there: {', '.join(there)})")
    return Dataset.from_dict(table(source.split, subset=source.subset))


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """No progress bar and no log line: the errors of a local file become one sentence anyway."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from datasets.utils.logging import get_verbosity, set_verbosity

    verbosity, bars = get_verbosity(), not are_progress_bars_disabled()
    set_verbosity(logging.CRITICAL + 1)
    disable_progress_bars()
    try:
        yield
    finally:
        set_verbosity(verbosity)
        if bars:
            enable_progress_bars()
