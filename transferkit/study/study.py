"""Studies: the runs of a whole comparison as one YAML file, run one after the other and taken up after a kill."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from transferkit.config.methods import baseline_methods, heeded
from transferkit.config.recipe import Recipe, named_backbones, with_names
from transferkit.config.recipes import read_recipe
from transferkit.config.schema import Strict, parse, read_yaml
from transferkit.config.specs import declared_spec, lasting_name, list_backbones
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.builtin import BUNDLED
from transferkit.files.writable import check_writable
from transferkit.progress import say
from transferkit.runs.folder import Run, read_record, read_run

if TYPE_CHECKING:
    from rich.console import Console


class StudyRun(Strict):
    """One kind of run; it is repeated for every seed and every target."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="names the run folder and, in `source`, the run")
    recipe: str = Field(description="built-in family/task, or a .yaml file relative to the study")
    source: str | None = Field(None, description="name of a run of this study (its own seed), or a checkpoint folder")
    targets: list[str] = Field([], description="one run each, paths relative to the study; none: the recipe's")
    set: dict[str, Any] = Field({}, description="key.path: value, over the recipe")
    seeds: list[int] | None = Field(None, min_length=1, description="instead of the study's")

    @model_validator(mode="after")
    def _set_leaves_the_rest_alone(self) -> "StudyRun":
        if "seed" in self.set:
            raise ValueError("set: 'seed' is not allowed here; `seeds` names them")
        if self.targets and "embedding.backbone" in self.set:
            raise ValueError("set: 'embedding.backbone' is not allowed beside targets, which name the backbones")
        return self


class Study(Strict):
    """A whole comparison. Runs stand in the order in which they are run: a source before what starts from it."""

    seeds: list[int] = Field(min_length=1)
    runs: list[StudyRun] = Field(min_length=1)
    records: list[str] = Field([], description="run folders that stay in the tables and are not run again")

    @model_validator(mode="after")
    def _names(self) -> "Study":
        seen: dict[str, StudyRun] = {}
        for run in self.runs:
            if run.name in seen:
                raise ValueError(f"runs: the name {run.name!r} is used twice")
            earlier = seen.get(run.source or "")
            if earlier is not None and len(earlier.targets) > 1:
                raise ValueError(f"runs: {run.name!r}: its source {run.source!r} has several targets; give it one")
            missing = set(run.seeds or self.seeds) - set(earlier.seeds or self.seeds) if earlier is not None else set()
            if missing:
                raise ValueError(f"runs: {run.name!r}: its source {run.source!r} has no seed {min(missing)}")
            if earlier is None and run.source in {one.name for one in self.runs}:
                raise ValueError(f"runs: {run.name!r}: its source {run.source!r} stands below it; put it above")
            seen[run.name] = run
        return self


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


def read_study(path: Path) -> Study:
    """The study in a YAML file.

    Raises:
        ConfigError: malformed; one sentence.
    """
    return parse(Study, read_yaml(path), where=str(path))


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
            f"{where}: source: {method} starts from nothing, a source is for adapt and prompting-llm-alone; leave it "
            "away"
        )
    source = None if one.source is None else earlier.get(one.source)
    if source is not None and not source.is_source:
        raise ConfigError(
            f"{where}: source: {source.name!r} trains no Prompting LLM, its recipe is of task "
            f"{source.recipe.task!r}; name a run whose recipe is of task 'train'"
        )


def _check_backbones(one: Planned, named: set[str]) -> None:
    """Refuse a backbone that is neither known nor there; whether the hub has one is not asked. ``named`` are sound."""
    try:
        for name in named_backbones(one.recipe):
            if name not in named:
                declared_spec(name)
                named.add(name)
    except ConfigError as error:
        raise ConfigError(f"study, run {one.name!r}: {error}") from None


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
        changes = {"seed": seed, **run.set, **({"embedding.backbone": target} if target else {})}
        overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        yield Planned(
            name=run.name,
            recipe=read_recipe(recipe_name, overrides=overrides),
            source=_source(run, study, runs, beside, seed),
            folder=_folder(run, target, seed, runs),
        )


def _is_model(path: Path) -> bool:
    """Whether a decoder or its spec lies there; the folder of its tables may have a decoder's name too."""
    return (path / "config.json").is_file() or (path.suffix == ".yaml" and path.is_file())


def _folder(run: StudyRun, target: str | None, seed: int, runs: Path) -> Path:
    return runs / "-".join([run.name, *([short_name(target)] if target else []), f"s{seed}"])


def _source(run: StudyRun, study: Study, runs: Path, beside: Path, seed: int) -> Path | None:
    if run.source is None:
        return None
    for other in study.runs:
        if other.name == run.source:
            return _folder(other, next(iter(other.targets), None), seed, runs)
    if Path(run.source) == BUNDLED:
        return BUNDLED
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


def run_all(
    planned: list[Planned],
    *,
    data_dir: Path | None,
    console: "Console",
    whole: list[Planned] | None = None,
    records: Sequence[Path] = (),
) -> None:
    """Run what is not done yet: a finished run is left as it is, an interrupted one continued.

    Args:
        planned: what is run.
        data_dir: what relative paths of data start from; None: the current folder.
        console: for progress.
        whole: all runs of the study, whose rows share tables with those of ``planned``; None: these are all.
        records: see :func:`comparisons`.

    Raises:
        ConfigError: a run folder that holds a run of another recipe or source, or of what cannot share a table with the
            others (found before anything is run; a source must be there for it), one that another process is running,
            or whatever a run raises.
    """
    from accelerate import PartialState

    from transferkit.convergence.comparable import check_comparable
    from transferkit.runner.prepare import Inputs
    from transferkit.runner.run import resume, start
    from transferkit.training.distributed import from_main, is_main

    whole = planned if whole is None else whole
    PartialState()  # under torchrun or accelerate: the processes meet before the first run
    for runs in {one.folder.parent for one in planned}:
        check_writable(runs)
    states = from_main([state_of(one.folder) for one in planned] if is_main() else None)
    checked = {one.folder for one, state in zip(planned, states, strict=True) if state and _is_same_run(one)}
    for found in comparisons(whole, records=records).values():
        check_comparable(found)
    _check_data([one for one, state in zip(planned, states, strict=True) if state is None], whole, data_dir)
    for number, one in enumerate(planned, start=1):
        state = from_main(state_of(one.folder) if is_main() else None)
        if is_main():
            done = ", done before" if state == "done" else ""
            say(f"[{number}/{len(planned)}] {one.folder.name}{done}", console)
        if state is None:
            inputs = Inputs(source=one.source, data_dir=data_dir)
            start(one.recipe, inputs, runs=one.folder.parent, name=one.folder.name, console=console)
            continue
        if one.folder not in checked:
            _is_same_run(one)  # its source may be there by now
        if state != "done":
            resume(one.folder, console=console)


def _check_data(new: list[Planned], whole: list[Planned], data_dir: Path | None) -> None:
    """Refuse data that differ from those of a run that began and that a new one shares a table with.

    Data are read only where there are both, and once however many runs read them.
    """
    from transferkit.data.dev_sets import load_dev_sets
    from transferkit.data.training_sets import load_training_data
    from transferkit.runner.provenance import data_facts

    begun = [one for one in whole if not one.is_source and state_of(one.folder) is not None]
    recorded = {one.folder: read_record(one.folder)["data"] for one in begun} if new else {}
    known: dict[str, dict[str, Any]] = {}
    for one in new:
        recipe = one.recipe
        others = [] if one.is_source else [other for other in begun if _share_a_table(one, other)]
        if not others:
            continue
        section = recipe.data.model_dump_json()
        if section not in known:
            train = load_training_data(
                recipe.data, data_dir=data_dir, batch_size=recipe.optim.batch_size, seed=recipe.seed
            )
            known[section] = data_facts(train, load_dev_sets(recipe.data, data_dir=data_dir))
        for other in others:
            for what, key in (("training data", "train_sha256"), ("dev sets", "dev_sha256")):
                if recorded[other.folder][key] != known[section][key]:
                    raise ConfigError(
                        f"{other.folder}: its {what} are others than {one.folder.name} would have, and one table is to "
                        "hold both; give the --data-dir that it was run with, or choose another folder with --runs"
                    )


def _share_a_table(one: Planned, other: Planned) -> bool:
    return one.target == other.target or None in (one.target, other.target)


def _is_same_run(one: Planned) -> bool:
    """Whether the folder holds this run; False where its source has no checkpoint, so that nothing can be compared.

    Raises:
        ConfigError: it holds another one.
    """
    from transferkit.files.manifest import NAME
    from transferkit.runner.prepare import resolved
    from transferkit.runs.checkpoint_folder import given_folder, source_facts

    recorded = read_record(one.folder)["source"] or {}
    sha256 = None
    if one.source is not None:
        source = given_folder(one.source)
        # A source that is gone, or not trained yet: a record that names another run still tells.
        if not source.exists() and recorded.get("run") not in (source.name, source.parent.name):
            raise _another("source", one)
        if not any((folder / NAME).is_file() for folder in (source, source / "checkpoint")):
            return False
        sha256 = source_facts(source)["sha256"]
    wanted = resolved(one.recipe, source=one.source)
    recorded_recipe = with_names(read_recipe(str(one.folder / "recipe.yaml")), lasting_name)
    if heeded(recorded_recipe.model_dump()) != heeded(wanted.model_dump()):
        raise _another("recipe", one)
    if recorded.get("sha256") != sha256:
        raise _another("source", one)
    return True


def _another(what: str, one: Planned) -> ConfigError:
    # One that runs, or was killed, is nothing to throw away.
    way = "" if state_of(one.folder) == "running" else "remove it, or "
    return ConfigError(f"{one.folder}: holds a run of another {what}; {way}choose another folder with --runs")


def comparisons(planned: list[Planned], *, records: Sequence[Path] = ()) -> dict[str, list[Run]]:
    """Finished runs by target, each list one comparison; runs without a target of their own stand in all of them.

    A target of which no run is finished is left out.

    Args:
        planned: the runs of a study.
        records: folders of runs that tried what is no longer offered; they stand beside the others.
    """
    done = [one for one in planned if not one.is_source and state_of(one.folder) == "done"]
    kept = [read_run(folder) for folder in records if state_of(folder) == "done"]
    targets = dict.fromkeys(one.target for one in done if one.target is not None)
    return {
        target: [read_run(one.folder) for one in done if one.target in (target, None)]
        + [run for run in kept if run.recipe["embedding"]["backbone"] == lasting_name(target)]
        for target in targets
    }


def record_folders(study: Study, runs: Path) -> list[Path]:
    """Where the study's records lie."""
    return [runs / name for name in study.records]


def short_name(target: str) -> str:
    """What a backbone is called in names of folders: the last part of a path or a hub id."""
    return Path(target).name.removesuffix(".yaml")


def state_of(folder: Path) -> str | None:
    """Status of a run folder; None where no run began."""
    return read_record(folder)["status"] if (folder / "record.json").is_file() else None
