"""What a study file may say: the runs of a whole comparison. No torch."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from transferkit.config.schema import Strict, parse, read_yaml


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
    set: dict[str, Any] = Field({}, description="key.path: value, over the recipe of every run, whose own wins")
    runs: list[StudyRun] = Field(min_length=1)
    records: list[str] = Field([], description="run folders that stay in the tables and are not run again")

    @field_validator("set")
    @classmethod
    def _leaves_seeds_and_targets_alone(cls, keys: dict[str, Any]) -> dict[str, Any]:
        for key in ("seed", "embedding.backbone"):
            if key in keys:
                raise ValueError(f"{key!r} is not allowed here; `seeds` and `targets` name them")
        return keys

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


def read_study(path: Path) -> Study:
    """The study in a YAML file.

    Raises:
        ConfigError: malformed; one sentence.
    """
    return parse(Study, read_yaml(path), where=str(path))
