"""An output belongs to one process at a time: a lock beside it, freed by the system when the process dies."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from transferkit.errors import ConfigError
from transferkit.files.writable import writing


@contextmanager
def sole_use(folder: Path, *, option: str = "--runs") -> Iterator[None]:
    """Keep other processes out of a folder or file until the block ends; it need not exist yet. ``option`` names it.

    The lock is a file beside it, so that work that cannot begin leaves no folder, nor one above it. Only processes that
    ask for it are kept out. It goes with the block; one that a kill left behind locks nothing.

    Raises:
        ConfigError: another process has it, or a file is in the way.
        RefusedError: nothing can be written there.
    """
    made = [parent for parent in folder.parents if not parent.exists()]  # nearest first
    file = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(file, timeout=0)
    with writing(f"{folder}: cannot write there", way_out=f"mend that, or choose another with {option}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not _acquired(lock) and not _acquired(lock):  # the other one may just be leaving
            if not file.exists():  # what cannot be made looks like what cannot be had
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
            raise ConfigError(
                f"{folder}: another process is writing to it; wait for it, or choose another with {option}"
            )
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # before the release: afterwards it may be another process's lock
        lock.release()
        for parent in made:
            with suppress(OSError):
                parent.rmdir()  # where nothing came of the work


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    return True
