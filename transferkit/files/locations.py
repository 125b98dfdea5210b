"""Where a model may lie: a folder with config.json, or an id on the hub."""

from pathlib import Path

from transferkit.errors import ConfigError, did_you_mean


def check_location(location: str) -> None:
    """Refuse what is neither a model folder nor shaped like a hub id.

    Raises:
        ConfigError: the folder has no config.json, the path does not exist, or a folder of runs lacks this one.
    """
    folder = Path(location)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{location}: not a model folder (no config.json in it)")
    elif folder.is_absolute() or location.startswith((".", "~")) or location.count("/") != 1 or folder.exists():
        raise ConfigError(
            f"{location}: no such model folder; expected a folder with config.json, a hub id such as org/model, "
            "or a name of `transferkit backbones list`"
        )
    else:
        _check_is_no_lost_run(folder)


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
