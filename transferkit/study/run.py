"""Run what a study plans, one run after the other; what is done is kept, what was interrupted goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from rich.console import Console

from transferkit.config.methods import heeded
from transferkit.config.recipe import with_names
from transferkit.config.recipes import recorded_recipe
from transferkit.config.specs import lasting_name
from transferkit.convergence.comparable import check_comparable
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.training_sets import load_training_data
from transferkit.errors import ConfigError
from transferkit.files.manifest import NAME as MANIFEST
from transferkit.files.writable import check_writable
from transferkit.progress import say
from transferkit.runner.prepare import Inputs, resolved
from transferkit.runner.provenance import data_facts
from transferkit.runner.run import resume, start
from transferkit.runs.checkpoint_folder import as_sealed_now, given_folder, source_facts
from transferkit.runs.folder import as_asked, read_record
from transferkit.study.plan import Planned
from transferkit.study.state import comparisons, state_of
from transferkit.training.distributed import from_main, is_main


def run_all(
    planned: list[Planned],
    *,
    data_dir: Path | None,
    console: Console,
    whole: list[Planned] | None = None,
    records: Sequence[Path] = (),
) -> None:
    """Run what is not done yet: a finished run is left as it is, an interrupted one continued.

    Args:
        planned: what is run.
        data_dir: what relative paths of data start from; None: the current folder.
        console: for progress.
        whole: all runs of the study, whose rows share tables with those of ``planned``; None: these are all.
        records: see :func:`transferkit.study.state.comparisons`.

    Raises:
        ConfigError: a run folder that holds a run of another recipe or source, or of what cannot share a table with the
            others (found before anything is run; a source must be there for it), one that another process is running,
            or whatever a run raises.
    """
    whole = planned if whole is None else whole
    PartialState()  # under torchrun or accelerate: the processes meet before the first run
    for runs in {one.folder.parent for one in planned}:
        check_writable(runs)
    states = from_main([state_of(one.folder) for one in planned] if is_main() else None)
    checked = {one.folder for one, state in zip(planned, states, strict=True) if state and is_same_run(one)}
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
            is_same_run(one)  # its source may be there by now
        if state != "done":
            resume(one.folder, anywhere=True, console=console)


def _check_data(new: list[Planned], whole: list[Planned], data_dir: Path | None) -> None:
    """Refuse data that differ from those of a run that began and that a new one shares a table with.

    Data are read only where there are both, and once however many runs read them.
    """
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


def is_same_run(one: Planned) -> bool:
    """Whether the folder holds this run; False where its source has no checkpoint, so that nothing can be compared.

    Raises:
        ConfigError: it holds another one.
    """
    record = read_record(one.folder)
    recorded = record["source"] or {}
    sha256 = None
    if one.source is not None:
        source = given_folder(one.source)
        # A source that is gone, or not trained yet: a record that names another run still tells.
        if not source.exists() and recorded.get("run") not in (source.name, source.parent.name):
            raise _another("source", one)
        if not any((folder / MANIFEST).is_file() for folder in (source, source / "checkpoint")):
            return False
        sha256 = source_facts(source)["sha256"]
    began = with_names(recorded_recipe(one.folder), lasting_name)
    asked = one.recipe
    if asked.precision == "auto":  # a run that began keeps what it began with, whatever this machine would choose
        asked = asked.model_copy(update={"precision": began.precision})
    if heeded(as_asked(began.model_dump(), record)) != heeded(resolved(asked, source=one.source).model_dump()):
        raise _another("recipe", one)
    if as_sealed_now(recorded.get("sha256")) != sha256:
        raise _another("source", one)
    return True


def _another(what: str, one: Planned) -> ConfigError:
    # One that runs, or was killed, is nothing to throw away.
    way = "" if state_of(one.folder) == "running" else "remove it, or "
    return ConfigError(f"{one.folder}: holds a run of another {what}; {way}choose another folder with --runs")
