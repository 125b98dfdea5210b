"""Rows of a file, a Hub dataset or built-in data -> checked columns; a bad row is named by file, row and column."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.cells import CONVERTERS, Check
from transferkit.files.tables import PLAIN, SUFFIXES, no_column, read_table

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


def check_file(source: Source) -> None:
    """Refuse a local table of another kind, or that is not there.

    Raises:
        ConfigError: says which, and where it was looked for.
    """
    path = source.path
    if path is not None and path.suffix.lower() not in (*SUFFIXES, PLAIN):
        raise ConfigError(
            f"{source}: expected a file ending in {', '.join((*SUFFIXES, PLAIN))}, got {path.suffix or path.name!r}"
        )
    if path is None or path.is_file():
        return
    what = "is a folder, expected a file" if path.is_dir() else "no such file"
    hint = "" if path.is_absolute() else f" (looked in {Path.cwd()}; --data-dir names another folder)"
    raise ConfigError(f"{source}: {what}{hint}")


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
    there, values = _read(source, set(columns.values()), limit)
    if not there:
        raise _no_rows(source)
    for role, column in columns.items():
        if column not in there and role not in optional:
            hint = f"; `columns: {{{role}: ...}}` in the recipe names the column that holds the {role}"
            raise no_column(str(source), column, there, way_out=hint if source.in_recipe else "")
    if not any(values.values()):
        raise _no_rows(source)
    return {role: values[column][:limit] for role, column in columns.items() if column in there}


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
    converters = [(role, CONVERTERS[checks[role]]) for role in values]
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


def _no_rows(source: Source) -> ConfigError:
    return ConfigError(f"{source}: holds no rows, expected at least one")


def _read(source: Source, columns: set[str], limit: int | None) -> tuple[list[str], Columns]:
    """Names of all columns, and the values of those of ``columns`` that are there, ``limit`` or more of them."""
    if source.path is not None:
        return _read_local(source, source.path, columns)
    if source.hub_id is not None:
        from transferkit.data.hub import read_hub

        return read_hub(
            source.hub_id,
            columns,
            subset=source.subset,
            split=source.split,
            revision=source.revision,
            limit=limit,
            where=str(source),
        )
    return _read_builtin(source, columns)


def _read_local(source: Source, path: Path, columns: set[str]) -> tuple[list[str], Columns]:
    check_file(source)
    return read_table(path, columns, where=str(source))


def _read_builtin(source: Source, columns: set[str]) -> tuple[list[str], Columns]:
    from transferkit.data.installed_docs import SPLITS, SUBSETS, table

    for what, got, there in (("split", source.split, SPLITS), ("subset", source.subset, SUBSETS)):
        if got is not None and got not in there:
            close = did_you_mean(got, there)
            raise ConfigError(f"{source}: no {what} {got!r}{close} ({what}s there: {', '.join(there)})")
    found = table(source.split, subset=source.subset)
    return list(found), {name: values for name, values in found.items() if name in columns}
