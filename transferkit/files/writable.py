"""Whether something could be written, found out before the work that makes it; and the sentence where it could not."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from transferkit.errors import ConfigError, RefusedError

_NUMBER = re.compile(r"\(os error (\d+)\)")  # how libraries in Rust end what the system told them
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


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


def check_new_file(out: Path, *, option: str = "--out") -> None:
    """Check, without making anything, that ``out`` could be written and does not exist; ``option`` names it.

    Raises:
        ConfigError: it does, or its folder is read-only or could not be made.
    """
    check_writable(out.parent, option=option)
    if out.exists():
        raise ConfigError(f"{option} {out}: exists already; remove it or choose another name")


@contextmanager
def writing(what: str, *, way_out: str) -> Iterator[None]:
    """Say in one sentence what the machine refused to write; every write of the package stands in such a block.

    Args:
        what: opens the sentence: where, and what could not be done, as ``out: cannot write the table there``.
        way_out: ends it.

    Raises:
        ConfigError: a file stands where a folder should, or a folder where a file should.
        RefusedError: a full disk, missing rights, a folder that is gone, ...
    """
    try:
        yield
    except Exception as error:
        if (reason := refusal(error)) is None:
            raise
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise ConfigError(f"{what} ({reason}); {way_out}") from None
        raise RefusedError(f"{what} ({reason})", way_out) from None


def refusal(error: Exception) -> str | None:
    """What the system said, where it is what ``error`` is about; None for any other error.

    safetensors and tokenizers have errors of their own for a full disk.
    """
    if found := _NUMBER.search(str(error)):
        return os.strerror(int(found[1]))
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, SafetensorError) else None


def disk_refused(error: Exception) -> bool:
    """Whether the disk is full, read-only or broken: whatever is written there next will be refused too."""
    return isinstance(error, OSError) and error.errno in _DISK
