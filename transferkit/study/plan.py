"""A study -> the runs that it stands for, every recipe read and checked before anything is run. No torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transferkit.config.methods import baseline_methods, take_a_source
from transferkit.config.recipe import Recipe, named_backbones, required_encoder
from transferkit.config.recipes import change, read_recipe, recorded_recipe
from transferkit.config.specs import declared_spec, list_backbones
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.builtin import BUNDLED, SHIPPED
from transferkit.files.encoder_folder import is_encoder
from transferkit.files.locations import is_gguf
from transferkit.study.schema import Study, StudyRun


@dataclass(frozen=True)
class Planned:
    """One run of a study."""

    name: str
    recipe: Recipe
    source: Path | None
    folder: Path

    @property
    def is_source(self) -> bool:
        """Whether it trains what others start from; then it is no row of the table."""
        return self.recipe.task == "train"

    @property
    def target(self) -> str | None:
        """The backbone that embeds; None for the rows that use none."""
        return self.recipe.embedding.backbone if self.recipe.facts.has_backbone else None


def plan(study: Study, *, runs: Path, beside: Path) -> list[Planned]:
    """All runs of a study in their order, every recipe read and checked.

    Args:
        study: what is compared.
        runs: folder of the run folders, which are named ``<name>[-<target>]-s<seed>``.
        beside: what recipe files and source folders are relative to, the folder of the study.

    Raises:
        ConfigError: a recipe that does not exist, is malformed or could not run, a backbone that nothing is called, a
            source that is none, is missing or is of no use, or two runs or tables in one folder.
    """
    planned: dict[Path, Planned] = {}
    named: set[str] = set()
    for run in study.runs:
        for seed in run.seeds or study.seeds:
            for one in _planned(run, study, runs, beside, seed):
                if one.folder in planned:
                    raise ConfigError(
                        f"study, run {run.name!r}: {one.folder.name} would be the folder of two runs; give them other "
                        "names, and every seed and target once"
                    )
                _check_source(one, planned)
                _check_backbones(one, named)
                planned[one.folder] = one
    _check_tables(planned.values())
    return list(planned.values())


def _check_source(one: Planned, earlier: dict[Path, Planned]) -> None:
    """Refuse a source that is missing, that the method does not take, or that does not train."""
    recipe, where = one.recipe, f"study, run {one.name!r}"
    method = recipe.method or recipe.task
    if recipe.task == "baseline" and recipe.method is None:
        raise ConfigError(f"{where}: method: this key is missing; set it to one of {', '.join(baseline_methods())}")
    if one.source is None and recipe.facts.needs_source:
        raise ConfigError(
            f"{where}: source: this key is missing, and {method} starts from one; name a run of the study that trains, "
            f"a checkpoint folder, or `{BUNDLED}`"
        )
    if one.source is not None and not recipe.facts.needs_source:
        raise ConfigError(
            f"{where}: source: {method} starts from nothing, a source is for {take_a_source()}; leave it away"
        )
    source = None if one.source is None else earlier.get(one.source)
    if source is not None and not source.is_source:
        raise ConfigError(
            f"{where}: source: {source.name!r} trains no Prompting LLM, its recipe is of task "
            f"{source.recipe.task!r}; name a run whose recipe is of task 'train'"
        )


def _check_backbones(one: Planned, named: set[str]) -> None:
    """Refuse a backbone or an encoder that is neither known nor there; whether the hub has one is not asked.

    ``named`` are sound.
    """
    try:
        if one.recipe.facts.has_encoder and not _began_with_its_encoder(one):
            required_encoder(one.recipe)
        for name in named_backbones(one.recipe):
            if name not in named:
                declared_spec(name)
                named.add(name)
    except ConfigError as error:
        raise ConfigError(f"study, run {one.name!r}: {error}") from None


def _began_with_its_encoder(one: Planned) -> bool:
    """Whether its run is there: that has the encoder's hash, and a table needs the folder no more."""
    return (one.folder / "recipe.yaml").is_file() and (
        recorded_recipe(one.folder).embedding.backbone == one.recipe.embedding.backbone
    )


def _check_tables(planned: Iterable[Planned]) -> None:
    """Refuse two targets whose tables would be one folder."""
    targets = dict.fromkeys(one.target for one in planned if not one.is_source and one.target is not None)
    seen: dict[str, str] = {}
    for target in targets:
        other = seen.setdefault(short_name(target), target)
        if other != target:
            raise ConfigError(
                f"study: the tables of the targets {other!r} and {target!r} would both go to the folder "
                f"{short_name(target)}; rename one of the two, or give each a study of its own"
            )


def _planned(run: StudyRun, study: Study, runs: Path, beside: Path, seed: int) -> Iterator[Planned]:
    recipe_name = str(beside / run.recipe) if run.recipe.endswith((".yaml", ".yml")) else run.recipe
    targets: list[str | None] = [*run.targets] or [None]
    for target in targets:
        if target is not None and target not in list_backbones() and _is_model(beside / target):
            target = str(beside / target)
        changes = {"seed": seed, **study.set, **run.set, **({"embedding.backbone": target} if target else {})}
        overrides = [change(key, value) for key, value in changes.items()]
        yield Planned(
            name=run.name,
            recipe=read_recipe(recipe_name, overrides=overrides),
            source=_source(run, study, runs, beside, seed),
            folder=_folder(run, target, seed, runs),
        )


def _is_model(path: Path) -> bool:
    """Whether a model or its spec lies there; the folder of its tables may have a decoder's name too."""
    return (
        (path / "config.json").is_file()
        or is_encoder(str(path))
        or ((path.suffix == ".yaml" or is_gguf(str(path))) and path.is_file())
    )


def _folder(run: StudyRun, target: str | None, seed: int, runs: Path) -> Path:
    return runs / "-".join([run.name, *([short_name(target)] if target else []), f"s{seed}"])


def _source(run: StudyRun, study: Study, runs: Path, beside: Path, seed: int) -> Path | None:
    if run.source is None:
        return None
    for other in study.runs:
        if other.name == run.source:
            return _folder(other, next(iter(other.targets), None), seed, runs)
    if Path(run.source) in SHIPPED:
        return Path(run.source)
    if not (beside / run.source).is_dir():
        names = [one.name for one in study.runs]
        raise ConfigError(
            f"study, run {run.name!r}: source: {run.source!r} is neither a run of the study nor a folder"
            f"{did_you_mean(run.source, names)}"
        )
    return beside / run.source


def chosen(planned: list[Planned], *, names: list[str] | None, seeds: list[int] | None) -> list[Planned]:
    """Those of the given names and seeds; None: all.

    Raises:
        ConfigError: a name or seed that the study does not have, or no run that has both.
    """
    for option, given, there in (
        ("--only", names, {one.name for one in planned}),
        ("--seed", seeds, {one.recipe.seed for one in planned}),
    ):
        for value in given or []:
            if value not in there:
                known = ", ".join(map(str, sorted(there, key=str)))
                raise ConfigError(f"{option} {value}: the study has no such run; it has {known}")
    found = [
        one for one in planned if one.name in (names or [one.name]) and one.recipe.seed in (seeds or [one.recipe.seed])
    ]
    if not found:
        options = [*(f"--only {name}" for name in names or []), *(f"--seed {seed}" for seed in seeds or [])]
        other = ", ".join(f"{one.name} with seed {one.recipe.seed}" for one in planned if one.name in (names or []))
        raise ConfigError(f"{' '.join(options)}: the study has no such run; it has {other}")
    return found


def short_name(target: str) -> str:
    """What a backbone is called in names of folders: the last part of a path or a hub id, of ``..`` where it leads.

    Raises:
        ConfigError: a path without a name.
    """
    name = Path(target).name
    if name in ("", ".."):
        name = Path(target).resolve().name
    if not name:
        raise ConfigError(f"targets: {target!r} has no name that a folder could have; give the decoder's own folder")
    return name.removesuffix(".yaml")
