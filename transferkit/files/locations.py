"""Where a model may lie: a folder with config.json, a GGUF file, an id on the hub, or a local copy under its name."""

import os
from pathlib import Path

from transferkit.errors import ConfigError, did_you_mean

COPIES = "TRANSFERKIT_DECODERS"  # environment variable: folder of local copies, each called by its name in the registry
_EXPECTED = (
    "expected a folder with config.json, a .gguf file, a hub id such as org/model, or a name of `transferkit backbones "
    "list`"
)


def is_gguf(location: str) -> bool:
    """Whether ``location`` is called as a GGUF file is, there or not; a folder of such a name is a folder."""
    path = Path(location)
    return path.suffix.lower() == ".gguf" and not path.is_dir()


def local_copy(name: str) -> Path | None:
    """The folder called ``name`` among the local copies, where the user keeps any: it is loaded and not the hub's."""
    copies = os.environ.get(COPIES)
    folder = Path(copies, name).absolute() if copies else None
    return folder if folder is not None and (folder / "config.json").is_file() else None


def check_location(location: str) -> None:
    """Refuse what is neither a model folder nor a GGUF file nor shaped like a hub id.

    Raises:
        ConfigError: the folder has no config.json, the path does not exist, the file is no GGUF, or a folder of runs
            lacks this one.
    """
    folder = Path(location)
    if is_gguf(location):
        _check_is_gguf(folder)
    elif folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{location}: not a model folder (no config.json in it){gguf_inside(folder)}")
    elif folder.is_absolute() or location.startswith((".", "~")) or location.count("/") != 1 or folder.exists():
        raise ConfigError(f"{location}: no such model folder; {_EXPECTED}")
    else:
        _check_is_no_lost_run(folder)


def gguf_inside(folder: Path) -> str:
    """The end of a sentence on a folder that is no model: that a GGUF file in it may be meant; else nothing."""
    found = min((path for path in folder.iterdir() if is_gguf(str(path))), default=None)
    return "" if found is None else f"; name the file that is meant, such as {found}"


def _check_is_gguf(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; {_EXPECTED}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror or error}); {_EXPECTED}") from None
    if start != b"GGUF":
        what = "the file is empty" if not start else "no GGUF file, whatever its name says"
        raise ConfigError(f"{file}: {what}; {_EXPECTED}")


def _check_is_no_lost_run(folder: Path) -> None:
    """Refuse ``runs/x``, which is not there, where ``runs`` holds others: the hub takes half a minute to say no.

    A folder without runs may be called as an owner on the hub is, so it refuses nothing.

    Raises:
        ConfigError: names the closest run.
    """
    runs = [str(record.parent) for record in folder.parent.glob("*/record.json")]
    if runs:
        raise ConfigError(
            f"{folder}: the folder {folder.parent} holds runs, but none of that name{did_you_mean(str(folder), runs)} "
            f"(`ls {folder.parent}` shows them; a hub id of that owner works from another current folder)"
        )
