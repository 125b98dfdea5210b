"""Folders that are whole or absent: written beside, sealed with the sha256 of every file, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transferkit.errors import ConfigError, RunError
from transferkit.files.json import read_json, write_json

NAME = "manifest.json"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill; it becomes ``target`` when the block ends, and is removed when the block fails.

    The manifest is written last, so a kill leaves either the old folder or the new one, whole; between two renames
    the old one stands as ``.<name>.old`` and is put back by the next call.

    Raises:
        RunError: the disk refused (full, read-only, ...).
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        if old.exists() and not target.exists():  # killed between the two renames below
            old.replace(target)
        beside.mkdir(parents=True)
        yield beside
        seal(beside)
        if target.exists():  # rename cannot replace a folder that is not empty
            shutil.rmtree(old, ignore_errors=True)
            target.replace(old)
            beside.replace(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            beside.replace(target)
    except OSError as error:
        raise RunError(
            f"{target}: could not be written ({error.strerror or error}); nothing else was changed"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write ``manifest.json``: file -> sha256, for every file below ``folder``; all are flushed to disk first."""
    files = {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    for name in files:
        flush(folder / name)
    manifest = folder / NAME
    write_json(manifest, {"format": 1, "files": files})
    flush(manifest)


def verify(folder: Path) -> dict[str, str]:
    """The manifest's file -> sha256, after checking every file against it.

    Raises:
        ConfigError: not a sealed folder, or a file that is missing or differs.
    """
    manifest = folder / NAME
    if not manifest.is_file():
        raise ConfigError(f"{folder}: not a complete checkpoint (no {NAME} in it)")
    try:
        files: dict[str, str] = read_json(manifest)["files"]
    except (ConfigError, KeyError):
        raise ConfigError(f"{manifest}: damaged; restore the checkpoint from a copy") from None
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ConfigError(f"{path}: missing from the checkpoint; restore it from a copy")
        if sha256_file(path) != expected:
            raise ConfigError(f"{path}: differs from what was saved (sha256); restore the checkpoint from a copy")
    return files


def sha256_file(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Have the disk hold what was written to ``path``."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
