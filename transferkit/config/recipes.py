"""Recipes by name: ``recipes/<family>/<task>.yaml`` are the built-in ones; a file may build on a base."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transferkit.config.methods import Task
from transferkit.config.recipe import Recipe
from transferkit.config.schema import parse, parse_yaml, read_yaml
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.builtin import builtin_dir

BASE = "base"  # the key that names a base, and the folder of the built-in ones
FILE_ENDINGS = (".yaml", ".yml")

# Keys that recipes once had, and the value under which they change nothing: that one is let through, in copies that
# users keep and in run folders; another one asks for what is gone.
RETIRED: dict[str, Any] = {"prompting.tau_start": None, "alignment.basis": "own"}


_DTYPE = ("embedding", "dtype")  # what `precision` was called when it was the backbone's alone


def list_recipes() -> list[str]:
    """Names ``family/task`` of the built-in recipes, sorted."""
    return [name for name in _names() if not name.startswith(f"{BASE}/")]


def _names() -> list[str]:
    folder = builtin_dir("recipes")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))


def recipe_path(name: str) -> Path:
    """File of a recipe: a path when ``name`` ends in .yaml, a built-in ``family/task`` otherwise.

    Raises:
        ConfigError: no such recipe; the message names the closest one.
    """
    if name.endswith(FILE_ENDINGS):
        return Path(name)
    known = list_recipes()
    if name not in known:
        beside = next((file for ending in FILE_ENDINGS if Path(file := name + ending).is_file()), None)
        close = did_you_mean(name, known) if beside is None else f"; did you mean {beside!r}?"
        raise ConfigError(
            f"unknown recipe {name!r}{close} "
            "(`transferkit recipes list` shows the built-in ones; a file must end in .yaml)"
        )
    return builtin_dir("recipes") / f"{name}.yaml"


def read_recipe(
    name: str,
    *,
    overrides: list[str] | None = None,
    task: Task | None = None,
    changed: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe called ``name`` (see :func:`recipe_path`) with its base below it and overrides on top.

    Args:
        name: built-in name or .yaml file.
        overrides: ``key.path=value``, applied in this order.
        task: what the recipe must be for.
        changed: key path of an override -> what names it in errors; None: the file is named.

    Raises:
        ConfigError: no such recipe, a malformed file, base or override, or a recipe of another task.
    """
    path = recipe_path(name)
    own = read_yaml(path)
    base, mapping = own.get(BASE), _on_base(path, own)
    where = str(path) if base is None else f"{path} on {base}"  # a mistake may stand in either
    for override in overrides or []:
        set_key(mapping, override)
    if task is not None and mapping.get("task") not in (None, task):
        raise ConfigError(f"{path}: task: expected {task!r} for this command, got {mapping['task']!r}")
    drop_retired(mapping, where=where)
    return parse(Recipe, mapping, where=where, changed=changed)


def by_option(typed: Iterable[str]) -> dict[str, str]:
    """Key path -> what names the value there, of what a user gave with ``--set``."""
    return {override.partition("=")[0]: f"--set {override}" for override in typed}


def recorded_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder. One of an earlier version says ``embedding.dtype`` where this one has ``precision``.

    Raises:
        ConfigError: as :func:`read_recipe`.
    """
    file = folder / "recipe.yaml"
    mapping = read_yaml(file)
    section, key = _DTYPE
    if isinstance(mapping.get(section), dict) and key in mapping[section]:
        mapping.setdefault("precision", mapping[section].pop(key))
    drop_retired(mapping, where=str(file))
    return parse(Recipe, mapping, where=str(file))


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys of a recipe file over those of its base.

    Raises:
        ConfigError: a file or base that is not there or malformed, or a base on a base.
    """
    return _on_base(path, read_yaml(path))


def _on_base(path: Path, mapping: dict[str, Any]) -> dict[str, Any]:
    below = base_path(path, mapping)
    own = {key: value for key, value in mapping.items() if key != BASE}
    return own if below is None else _merged(read_mapping(below), own)


def base_path(path: Path, mapping: dict[str, Any]) -> Path | None:
    """File of the base that a recipe file names; None: it is whole.

    A built-in recipe is a base as ``recipes show`` prints it, whole. Any other base is one file, and has no base.

    Args:
        path: the recipe file.
        mapping: what it holds.

    Raises:
        ConfigError: no such base, or one that has a base itself.
    """
    if BASE not in mapping:
        return None
    name, where = mapping[BASE], f"{path}: {BASE}"
    if not isinstance(name, str):
        raise ConfigError(
            f"{where}: expected a built-in recipe or a .yaml file, got {'nothing' if name is None else repr(name)}"
        )
    if not name.endswith(FILE_ENDINGS):
        if name not in _names():
            raise ConfigError(
                f"{where}: no built-in recipe {name!r}{did_you_mean(name, _names())} (`transferkit recipes list` shows "
                "them; a file must end in .yaml)"
            )
        return builtin_dir("recipes") / f"{name}.yaml"
    below = path.parent / name
    if not below.is_file():
        raise ConfigError(f"{where}: no file {below}; a base is named relative to the file that names it")
    if BASE in read_yaml(below):
        raise ConfigError(
            f"{where}: {below} has a base itself, and there is one level alone; `transferkit recipes show {below}` "
            "prints it whole, for a base without one"
        )
    return below


def _merged(below: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``own`` over ``below``: mappings key by key, anything else (lists too) replaces what was there."""
    both = dict(below)
    for key, value in own.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def drop_retired(mapping: dict[str, Any], *, where: str) -> None:
    """Take :data:`RETIRED` keys out of a recipe's mapping, in place.

    Raises:
        ConfigError: one of them with a value that changed something, or a key that has another name now.
    """
    section, key = _DTYPE
    if isinstance(mapping.get(section), dict) and key in mapping[section]:
        raise ConfigError(
            f"{where}: {section}.{key}: is the key `precision` now, at the top level, for every model of a run; remove "
            f"this one and write precision: {mapping[section][key]}, or precision: auto"
        )
    for path, unused in RETIRED.items():
        section, key = path.split(".")
        place = mapping.get(section)
        if isinstance(place, dict) and key in place and (value := place.pop(key)) != unused:
            raise ConfigError(
                f"{where}: {path}: {value!r} is no longer offered, it was worth nothing; remove this key, or use the "
                "version of transferkit that wrote it"
            )


def change(key: str, value: Any) -> str:
    """``key=value`` as :func:`set_key` reads it: JSON, which is YAML whatever text it holds."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def set_key(mapping: dict[str, Any], override: str) -> None:
    """Apply one ``a.b=value`` in place; list items are reached by position (``data.train.0.weight=2``).

    The value is read as YAML, so numbers, lists and null can be written.

    Raises:
        ConfigError: no ``=``, a path through something that is not a mapping or list, or a position out of range.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {override}: expected key.path=value")
    if path == BASE:
        raise ConfigError(f"--set {override}: a base is named in a file; name the recipe to start from instead")
    keys = path.split(".")
    place: Any = mapping
    for key in keys[:-1]:
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = {}  # a section that is left out, as in a copy of a resolved recipe
        place = place[key] if isinstance(place, dict) else place[_position(place, key, override)]
    try:
        value = parse_yaml(f"value: {text}", where=f"--set {override}")["value"]
    except ConfigError as error:
        raise ConfigError(
            f"{error}; text with braces, colons or # needs quotes inside: --set \"{path}='...'\""
        ) from None
    if isinstance(place, dict):
        place[keys[-1]] = value
    else:
        place[_position(place, keys[-1], override)] = value


def _position(place: Any, key: str, override: str) -> int:
    if not isinstance(place, list):
        raise ConfigError(f"--set {override}: {key!r} stands below a value that has no keys")
    if not key.isdecimal() or int(key) >= len(place):
        raise ConfigError(f"--set {override}: expected a position from 0 to {len(place) - 1}, got {key!r}")
    return int(key)
