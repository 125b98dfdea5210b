"""Datasets of the Hub: read by id, subset, split and revision; what can go wrong is one sentence."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from transferkit.errors import ConfigError, RunError, UnreachableError, first_line


def read_hub(
    hub_id: str,
    columns: Collection[str],
    *,
    subset: str | None,
    split: str,
    revision: str | None,
    limit: int | None,
    where: str,
) -> tuple[list[str], dict[str, list[Any]]]:
    """Names of all columns of a split, and the values of those of ``columns`` that are there, one a row.

    Args:
        hub_id: of the dataset.
        columns: their names.
        subset: one of the dataset's; None: its only one.
        split: one of the subset's.
        revision: a commit, tag or branch; None: the newest.
        limit: read only the first rows.
        where: opens messages.

    Raises:
        ConfigError: no such dataset, revision, subset or split.
        RunError: the Hub cannot be reached, or sends what cannot be read.
    """
    dataset = _load(hub_id, subset, split, revision, where=where)
    there: list[str] = dataset.column_names
    if limit is not None and limit < len(dataset):
        dataset = dataset.select(range(limit))
    values = dataset.select_columns([name for name in there if name in columns])[:]
    return there, {name: list(column) for name, column in values.items()}


def _load(hub_id: str, subset: str | None, split: str, revision: str | None, *, where: str) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load_dataset(hub_id, name=subset, split=split, revision=revision)
    except DatasetNotFoundError:
        at_revision = f" at revision {revision!r}" if revision else ""
        raise ConfigError(
            f"{where}: no such dataset{at_revision} on the Hub, or it is private or gated "
            "(check the id, or log in with `hf auth login`)"
        ) from None
    except (ConnectionError, TimeoutError) as error:
        raise UnreachableError(
            f"{where}: the Hub cannot be reached and no copy is in the cache ({first_line(error)}); "
            "go online once, or name a local file with `path`"
        ) from None
    except ValueError as error:  # unknown subset or split: the library names those that are there
        raise ConfigError(f"{where}: {first_line(error)}") from None
    except Exception as error:  # network stacks and file readers have no common base class
        raise RunError(f"{where}: cannot be loaded ({first_line(error)})") from None


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """No progress bar and no log line of ``datasets``: its errors become one sentence anyway."""
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
