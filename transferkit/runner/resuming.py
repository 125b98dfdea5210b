"""What an interrupted run may go on with: the recipe, data and models that it began with, in its own folder."""

from pathlib import Path
from typing import Any

from transferkit.config.methods import what_counts
from transferkit.config.recipe import Recipe
from transferkit.config.schema import flat
from transferkit.errors import ConfigError
from transferkit.runs.checkpoint_folder import as_sealed_now
from transferkit.runs.folder import read_metrics
from transferkit.training.state import recipe_of_states

_UNCHANGED = (
    ("training data", "data", "train_sha256"),
    ("dev sets", "data", "dev_sha256"),
    ("source checkpoint", "source", "sha256"),
    ("teacher", "teacher", "sha256"),
    ("backbone's config", "backbone", "config_sha256"),
    ("backbone's tokenizer", "backbone", "tokenizer_sha256"),
    ("backbone's weights", "backbone", "weights_sha256"),
    ("backbone's weights", "backbone", "all_weights_sha256"),
    ("Prompting LLM", "prompting_weights_sha256"),
    ("encoder", "encoder", "sha256"),
    ("other backbones' weights", "alignment", "more_backbones", "weights_sha256"),
)


def check_as_begun(
    folder: Path, begun: dict[str, Any], recipe: Recipe, *, force: bool, anywhere: bool = False
) -> dict[str, Any]:
    """Refuse a recipe or a folder that is not the one that this run began with, unless ``force``.

    Args:
        folder: of the run.
        begun: its record.
        recipe: that lies in the folder now.
        force: go on, and let the record say so.
        anywhere: a folder of the same name in another one will do.

    Returns:
        What differs, for the record: key -> [as it was, as it is].

    Raises:
        ConfigError: names the differences.
    """
    differs: dict[str, Any] = {"diverged": [begun["diverged"], None]} if "diverged" in begun else {}
    place = folder.resolve()
    if begun["run"] != place.name:
        differs["run"] = [begun["run"], place.name]
    elif not anywhere and (was := (begun.get("inputs") or {}).get("folder")) not in (None, str(place)):
        differs["folder"] = [was, str(place)]
    if (before := recipe_of_states(folder)) is not None:
        now = recipe.model_dump(mode="json")
        was, is_ = (flat(what_counts(one) | {"seed": one["seed"]}) for one in (before, now))
        differs |= {key: [was.get(key), is_.get(key)] for key in was | is_ if was.get(key) != is_.get(key)}
    if differs and not force:
        shown = "; ".join(f"{key} was {was!r} and is {is_!r}" for key, (was, is_) in differs.items())
        raise ConfigError(
            f"{folder}: is not as it was when this run began ({shown}); put it back, start a new run, or go on all the "
            "same with --force-resume"
        )
    return differs


def diverged(folder: Path, outcome: dict[str, Any]) -> str:
    """Where a run diverged, what is left of it, and the ways out, none of which diverges again."""
    best = outcome["best"]
    return (
        f"{outcome['diverged']}; the weights of step {best['step']} (dev {best['score']:.1f}) are kept in "
        f"{folder / 'checkpoint'}, a checkpoint as any other; start a new run with that changed"
    )


def check_goes_on(folder: Path, begun: dict[str, Any], *, force: bool) -> None:
    """Refuse to continue a run that would not come to another end, or to one that can be compared.

    That is one that diverged, unless ``force``, and one from before dev sets had halves: its evaluations chose and
    reported on the same rows.

    Raises:
        ConfigError: says so.
    """
    if "diverged" in begun and not force:
        raise ConfigError(
            f"{folder}: this run diverged and would do so again ({begun['diverged']}); start a new run with that "
            "changed, or change its recipe.yaml and go on from its last state with --force-resume"
        )
    sets, rows = begun["data"]["dev"], read_metrics(folder)
    if any("reported_rows" not in dev for dev in sets) or any("choosing" not in row for row in rows):
        raise ConfigError(
            f"{folder}: an earlier version of transferkit began this run, in which a dev set chose by the rows that it "
            "reports, so its evaluations cannot be continued; finish it with that version, or start a new run"
        )


def check_unchanged(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to continue a run on anything but what it began with.

    Raises:
        ConfigError: names what differs between the two records.
    """
    for what, *path in _UNCHANGED:
        if path[-1] == "all_weights_sha256" and _at(old, path) is None:
            continue  # begun by a version that sampled them
        if as_sealed_now(_at(old, path)) != _at(new, path):
            raise ConfigError(f"{folder}: the {what} changed since this run began; put it back, or start a new run")


def _at(record: dict[str, Any], path: list[str]) -> Any:
    """What stands there, of every item of a list; None where nothing does."""
    found: Any = record
    for key in path:
        found = [_of(one, key) for one in found] if isinstance(found, list) else _of(found, key)
    return found


def _of(mapping: Any, key: str) -> Any:
    return mapping.get(key) if isinstance(mapping, dict) else None


def continued(record: dict[str, Any], begun: dict[str, Any], *, forced: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that another process began: what that one said of itself stands, this one is noted.

    ``forced``: what differs from how it began.
    """
    here = {key: record[key] for key in ("command", "git", "versions")}
    kept = {key: begun[key] for key in ("created_at", *here)}
    kept["bfloat16_speed"] = begun.get("bfloat16_speed")
    if kept["git"] is not None and here["git"] is not None:
        kept["git"] |= {"dirty": kept["git"]["dirty"] or here["git"]["dirty"]}  # one step under such code is enough
    again = {"at": record["created_at"], **here, **({"forced": forced} if forced else {})}
    return record | kept | {"resumed": [*begun.get("resumed", []), again]}
