"""Folders that are whole or absent: written beside, sealed with the sha256 of every file, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transferkit.errors import ConfigError
from transferkit.files.json import flush, flush_folder, read_json, write_json
from transferkit.files.writable import writing

NAME = "manifest.json"
_FORMAT = 1
_LONGEST_NAME = 255  # bytes; no file system holds a longer one
# What libraries look for in a model's folder; a note of the user's may lie there.
_READ = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".pt", ".py"})


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill; it becomes ``target`` when the block ends, and is removed when the block fails.

    The manifest is written last, so a kill leaves either the old folder or the new one, whole; between two renames
    the old one stands as ``.<name>.old`` and is put back by the next call.

    Raises:
        RefusedError: the disk refused (full, read-only, ...); a ConfigError where a file is in the way.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(beside, ignore_errors=True)
    way_out = "nothing else was changed, mend that and run it again"
    try:
        with writing(f"{target}: could not be written", way_out=way_out):
            if old.exists() and not target.exists():  # killed between the two renames below
                old.replace(target)
            beside.mkdir(parents=True)
            yield beside
            seal(beside)
            if target.exists():  # rename cannot replace a folder that is not empty
                shutil.rmtree(old, ignore_errors=True)
                target.replace(old)
                try:
                    beside.replace(target)
                except OSError:
                    old.replace(target)
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                beside.replace(target)
            flush_folder(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write ``manifest.json``: file -> sha256, for every file below ``folder``; all are flushed to disk first.

    Whoever may read the manifest may read them too: some libraries write for the owner alone.
    """
    files = {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    for name in files:
        flush(folder / name)
    manifest = folder / NAME
    write_json(manifest, {"format": _FORMAT, "files": files})
    for name in files:
        if (folder / name).stat().st_nlink == 1:  # a file that another checkpoint shares is as it was there
            (folder / name).chmod(manifest.stat().st_mode)
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        flush_folder(inner)


def verify(folder: Path) -> dict[str, str]:
    """The manifest's file -> sha256, after checking every file against it.

    Raises:
        ConfigError: not a sealed folder, a file that is missing or differs, or one that a loader would read unchecked.
    """
    manifest = folder / NAME
    if not manifest.is_file():
        raise ConfigError(f"{folder}: not a complete checkpoint (no {NAME} in it)")
    files = _listed(manifest)
    homes = _homes(folder)
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ConfigError(f"{path}: missing from the checkpoint; restore it from a copy")
        if not any(path.resolve().is_relative_to(home) for home in homes):
            raise ConfigError(f"{path}: leads out of the checkpoint; put the file itself there")
        try:
            found = sha256_file(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); restore it from a copy") from None
        if found != expected:
            raise ConfigError(f"{path}: differs from what was saved (sha256); restore the checkpoint from a copy")
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in files and name != NAME and path.suffix.lower() in _READ:
            raise ConfigError(f"{path}: does not belong to this checkpoint, which was saved without it; remove it")
    return files


def _homes(folder: Path) -> list[Path]:
    """Where its files may lie: in it, or, of a copy in the hub's cache, among the blobs of that repository."""
    whole = folder.resolve()
    return [whole, *(above.parent / "blobs" for above in whole.parents if above.name == "snapshots")]


def _listed(manifest: Path) -> dict[str, str]:
    """File -> sha256, as the manifest says.

    Raises:
        ConfigError: it says something else.
    """
    damaged = ConfigError(f"{manifest}: damaged; restore the checkpoint from a copy")
    try:
        said = read_json(manifest)
    except ConfigError:
        raise damaged from None
    if said.get("format", _FORMAT) != _FORMAT:
        raise ConfigError(
            f"{manifest}: format: expected {_FORMAT}, got {said.get('format')!r}; another version of transferkit wrote "
            "it, read it with that one"
        )
    files = said.get("files")
    if not isinstance(files, dict) or not all(isinstance(sha256, str) for sha256 in files.values()):
        raise damaged
    if not all(_is_name(name) for name in files):
        raise damaged
    return files


def _is_name(name: str) -> bool:
    """Whether a file below a folder could be called so."""
    parts = name.split("/")
    return "\0" not in name and all(
        part not in ("", ".", "..") and len(part.encode()) <= _LONGEST_NAME for part in parts
    )


def sha256_rows(blocks: Iterable[tuple[list[str], bytes]]) -> str:
    """Hex digest of texts and of the bytes that belong to them, however they are cut into blocks."""
    texts, data = hashlib.sha256(), hashlib.sha256()
    for some, their_bytes in blocks:
        for text in some:
            encoded = text.encode()
            texts.update(b"%d:" % len(encoded) + encoded)
        data.update(their_bytes)
    texts.update(data.digest())
    return texts.hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
