"""Where things are kept: room on the disk, and what the caches hold."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from transferkit.doctor.findings import GIB, Finding, in_words
from transferkit.errors import ConfigError
from transferkit.files.locations import COPIES

_TOO_LITTLE, _LITTLE = GIB, 5 * GIB


def examine_disk(runs: Path) -> Iterator[Finding]:
    """Whether runs and caches can be written, and how much room is left there."""
    from transferkit.decoder.device import CACHE, cache_folder

    yield _folder("runs", runs, "choose another folder with --runs")
    try:
        yield _folder("cache", cache_folder(), f"choose another folder with {CACHE}")
    except ConfigError:
        yield Finding(
            "disk", "cache", "wrong", "this user has no home, and so no folder for caches", f"name one with {CACHE}"
        )
    from huggingface_hub import constants

    yield _folder("hub", Path(constants.HF_HUB_CACHE), "choose another folder with HF_HOME")


def _folder(name: str, folder: Path, advice: str) -> Finding:
    try:
        there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        with TemporaryFile(dir=there):  # the rights alone do not tell of a disk that is mounted to be read
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding("disk", name, "wrong", f"{folder}: cannot be written ({error.strerror or error})", advice)
    found = f"{folder}: {in_words(free)} free"
    if free < _TOO_LITTLE:
        return Finding("disk", name, "wrong", found, f"make room, or {advice}; checkpoints and decoders need some")
    if free < _LITTLE:
        return Finding("disk", name, "note", found, f"large decoders need more; {advice}")
    return Finding("disk", name, "ok", found)


def examine_caches() -> Iterator[Finding]:
    """What lies in the folders that transferkit and the hub's libraries keep, and in that of local copies."""
    from transferkit.decoder.device import cache_folder

    with suppress(ConfigError):  # of a user without a home, as the disk's findings say
        yield _content("transferkit", cache_folder())
    from huggingface_hub import constants

    yield _content("hub", Path(constants.HF_HUB_CACHE))
    yield _content("datasets", Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME, "datasets")))
    if copies := os.environ.get(COPIES):
        if Path(copies).is_dir():
            yield _content(COPIES, Path(copies))
        else:
            advice = f"correct {COPIES}, or unset it"
            yield Finding("caches", COPIES, "wrong", f"{copies}: no such folder", advice)


def _content(name: str, folder: Path) -> Finding:
    try:
        is_there, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        advice = "mend its rights, or name another folder"
        return Finding("caches", name, "wrong", f"{folder}: cannot be looked at ({error.strerror or error})", advice)
    if not is_there:
        return Finding("caches", name, "ok", f"{folder}: not there yet")
    if not is_folder:
        advice = "move the file away, or name another folder"
        return Finding("caches", name, "wrong", f"{folder}: a file where a folder is needed", advice)
    count, size = _size(folder)
    models = len(list(folder.glob("models--*")))
    brought = f", {models} model{'' if models == 1 else 's'}" if models else ""
    return Finding("caches", name, "ok", f"{folder}: {in_words(size)} in {count:,} files{brought}")


def _size(folder: Path) -> tuple[int, int]:
    """Files and bytes below a folder; links, with which the hub's cache names its files, count nothing."""
    count = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                try:
                    size += path.stat().st_size
                except OSError:  # gone meanwhile
                    continue
                count += 1
    return count, size
