"""How far a study is: the state of each run, and the comparisons that the finished ones make. No torch."""

from collections.abc import Sequence
from pathlib import Path

from transferkit.config.specs import lasting_name
from transferkit.runs.folder import Run, read_record, read_run
from transferkit.study.plan import Planned
from transferkit.study.schema import Study


def state_of(folder: Path) -> str | None:
    """Status of a run folder; None where no run began."""
    return read_record(folder)["status"] if (folder / "record.json").is_file() else None


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
