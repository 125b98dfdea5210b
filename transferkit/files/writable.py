"""Whether something could be written, found out before the work that makes it."""

import os
from pathlib import Path

from transferkit.errors import ConfigError


def check_writable(parent: Path, *, option: str = "--runs") -> None:
    """Check, without making anything, that a folder could be made below ``parent``; ``option`` is what names it.

    Raises:
        ConfigError: a file is in the way, or the rights are missing.
    """
    there = next(folder for folder in (parent, *parent.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise ConfigError(f"{parent}: cannot write there ({there} is a file); choose another with {option}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{parent}: cannot write there ({there} is read-only); choose another with {option}")


def check_new_file(out: Path) -> None:
    """Check, without making anything, that ``out`` could be written and does not exist.

    Raises:
        ConfigError: it does, or its folder is read-only or could not be made.
    """
    check_writable(out.parent, option="--out")
    if out.exists():
        raise ConfigError(f"--out {out}: exists already; remove it or choose another name")
