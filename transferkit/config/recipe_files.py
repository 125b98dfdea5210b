"""Recipe files for users: copies of the built-in ones, and the three of a family that has none yet."""

import json
import math
import re
from contextlib import suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import get_args

from transferkit.config.methods import Task
from transferkit.config.recipe import Recipe
from transferkit.config.recipe_text import whole_text
from transferkit.config.recipes import FILE_ENDINGS, list_recipes, read_recipe, recipe_path
from transferkit.config.schema import parse, parse_yaml
from transferkit.config.specs import BackboneSpec, all_specs, find_spec, list_backbones
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.json import write_text
from transferkit.files.locations import is_gguf
from transferkit.files.writable import writing

TASKS: tuple[Task, ...] = get_args(Task)
_PLAIN_SCALAR = re.compile(r"[A-Za-z][\w./-]*")  # needs no quotes in YAML
_YAML_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


def list_families() -> list[str]:
    """Names of the folders of built-in recipes, sorted."""
    return sorted({name.split("/")[0] for name in list_recipes()})


def copy_recipe(name: str, target: Path) -> Path:
    """Copy built-in recipes to edit them: whole, with what their base says and with all comments.

    Args:
        name: ``family/task`` for one recipe, ``family`` for all of a family.
        target: folder that gets ``family/task.yaml``; for one recipe also a file ending in .yaml.

    Returns:
        The file that was written, or the family's folder.

    Raises:
        ConfigError: no such recipe or family, or a file that is there already; then nothing is written.
    """
    if name in list_families():
        if _is_yaml(target):
            raise ConfigError(f"{target}: expected a folder for the family {name!r}, got a file name")
        recipes = [one for one in list_recipes() if one.startswith(f"{name}/")]
        _write_new({target / f"{one}.yaml": whole_text(recipe_path(one)) for one in recipes})
        return target / name
    if name not in list_recipes():
        known = [*list_families(), *list_recipes()]
        raise ConfigError(
            f"unknown recipe or family {name!r}{did_you_mean(name, known)} "
            "(`transferkit recipes list` shows the built-in ones)"
        )
    file = target if _is_yaml(target) else target / f"{name}.yaml"
    _write_new({file: whole_text(recipe_path(name))})
    return file


def new_family(family: str, *, backbone: str, target: Path) -> list[Path]:
    """Write train.yaml, adapt.yaml and baseline.yaml for a family without recipes, ready to run.

    They are the whole text of the closest built-in family, comments included, with its name and backbone replaced.
    Closest is the same architecture, then the nearest width; without a spec of the backbone, the most similar
    name.

    Args:
        family: lower-case letters, digits, dots and hyphens.
        backbone: name of a spec, a spec file, a local folder, a .gguf file or a hub id.
        target: folder below which ``family/`` is made.

    Returns:
        The three files, in the order train, adapt, baseline.

    Raises:
        ConfigError: a family that has built-in recipes, an impossible name, an unknown backbone, or a file
            that is there already; then nothing is written.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.\-]*", family):
        raise ConfigError(f"family: expected lower-case letters, digits, dots and hyphens, got {family!r}")
    if family in list_families():
        raise ConfigError(
            f"family: {family!r} has built-in recipes; `transferkit recipes copy {family}` copies them, "
            "and --target takes another backbone"
        )
    if len(backbone.splitlines()) > 1:  # it goes into comments too
        raise ConfigError(f"backbone: expected a name on one line, got {backbone!r}; rename the folder or link to it")
    model = _closest_family(family, _known_spec(backbone))
    old = read_recipe(f"{model}/train").embedding.backbone
    assert old is not None  # _closest_family sees to it
    texts: dict[Path, str] = {}
    for task in TASKS:
        file = target / family / f"{task}.yaml"
        text = whole_text(recipe_path(f"{model}/{task}"))
        for one in TASKS:
            text = _replace_word(text, f"{model}/{one}", str(target / family / f"{one}.yaml"))
        texts[file] = _replace_backbone(text, old, backbone)
        parse(Recipe, parse_yaml(texts[file], where=str(file)), where=str(file))
    _write_new(texts)
    return list(texts)


def _closest_family(family: str, spec: BackboneSpec | None) -> str:
    """The built-in family, among those that name a backbone, whose recipes fit best."""

    def distance(other: str) -> tuple[float, float, str]:
        similarity = SequenceMatcher(None, family, other).ratio()
        if spec is None:
            return -similarity, 0.0, other
        theirs = find_spec(backbones[other])
        ratio = abs(math.log(theirs.hidden_size / spec.hidden_size))
        return float(theirs.model_type != spec.model_type), ratio, other

    backbones: dict[str, str] = {}
    for name in list_recipes():
        other, task = name.split("/")
        backbone = read_recipe(name).embedding.backbone if task == "train" else None
        if backbone is not None and not find_spec(backbone).bundled:
            backbones[other] = backbone
    return min(backbones, key=distance)


def _known_spec(backbone: str) -> BackboneSpec | None:
    """Spec of a built-in name, a hub id that has one, or a spec file; None for what has to be probed."""
    if backbone.endswith(".yaml") or backbone in list_backbones():
        return find_spec(backbone)
    spec = next((one for one in all_specs() if one.hub_id == backbone), None)
    if spec is None and "/" not in backbone and not (Path(backbone).is_dir() or is_gguf(backbone)):
        find_spec(backbone)  # raises, with the closest name
    return spec


def _replace_word(text: str, old: str, new: str) -> str:
    """``text`` with ``old`` replaced wherever it is not part of a longer name."""
    return re.sub(rf"(?<![\w./-]){re.escape(old)}(?![\w/-]|\.\w)", lambda _: new, text)


def _replace_backbone(text: str, old: str, new: str) -> str:
    """``text`` with the backbone ``old`` replaced: as a YAML value where it is one, as it is in comments."""
    key = f"  backbone: {old} "
    lines = [
        line.replace(key, f"  backbone: {_scalar(new)} ") if line.startswith(key) else _replace_word(line, old, new)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def _scalar(value: str) -> str:
    """``value`` as YAML text, in quotes where it needs them."""
    plain = _PLAIN_SCALAR.fullmatch(value) and value.lower() not in _YAML_WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)


def _is_yaml(path: Path) -> bool:
    return path.suffix in FILE_ENDINGS


def _write_new(texts: dict[Path, str]) -> None:
    for file in texts:
        if file.exists():
            raise ConfigError(f"{file}: exists already; remove it or choose another folder, nothing was written")
    try:
        for file, text in texts.items():
            with writing(f"{file}: cannot be written", way_out="mend that, or choose another folder"):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_text(file, text)
    except BaseException:  # half of them would be in the way of the next try
        for file in texts:
            with suppress(OSError):
                file.unlink()
        raise
