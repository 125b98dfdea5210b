"""What the files of a run folder must hold for a reader: the keys that others look up. Further ones are let through."""

from typing import Any, Literal

from pydantic import ConfigDict, field_validator, model_validator

from transferkit.config.methods import Task, all_methods, baseline_methods, method_facts
from transferkit.config.schema import Model, Strict, parse
from transferkit.errors import ConfigError, did_you_mean, one_of

RESTORE = "restore it from a copy, or run it again"


class Open(Strict):
    """Keys of other versions pass, and a score that is no number is a score."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=True)


class _Source(Open):
    run: str
    sha256: str
    lineage: str | None = None


class _Backbone(Open):
    name: str
    config_sha256: str
    tokenizer_sha256: str
    weights_sha256: str


class _Encoder(Open):
    name: str
    sha256: str


class _Dev(Open):
    name: str
    kind: str
    select: bool


class _Train(Open):
    name: str
    rows: int


class _Data(Open):
    train_sha256: str
    dev_sha256: str
    train: list[_Train]
    dev: list[_Dev]


class _Parameters(Open):
    trainable: int
    total: int


class _Asked(Open):
    template: str
    pooling: str | None = None


class _TemplateChoice(Open):
    asked: _Asked
    tried: dict[str, float]


class _Best(Open):
    step: int
    variant: str | None = None


class _Git(Open):
    commit: str


class Record(Open):
    """``record.json``."""

    run: str
    task: Task
    method: str
    label: str
    status: Literal["running", "interrupted", "failed", "done"]
    seed: int
    source: _Source | None
    backbone: _Backbone | None
    encoder: _Encoder | None = None
    data: _Data
    parameters: _Parameters
    steps: int | None = None
    best: _Best | None = None
    template_choice: _TemplateChoice | None = None
    git: _Git | None = None
    inputs: dict[str, str | None] | None = None
    sha256: dict[str, str] | None = None

    @field_validator("method")
    @classmethod
    def _is_known(cls, name: str) -> str:
        known = list(dict.fromkeys([*baseline_methods(), *all_methods()]))
        if name not in known:
            raise ValueError(f"expected {one_of(known)}, got {name!r}{did_you_mean(name, known)}")
        return name

    @model_validator(mode="after")
    def _stands_with_a_row(self) -> "Record":
        if self.status == "done" and self.best is None:
            raise ValueError("best: this key is missing, though the run is done")
        return self


class _Scores(Open):
    plain: float | None
    readout: float | None = None  # as delivered
    whiten: float | None = None
    pairs: float | None = None


class EvaluationRow(Open):
    """What an evaluation says."""

    score: _Scores
    choosing: _Scores | None = None  # of the rows that choose; None: of rows from before there were halves
    readout: dict[str, Any] | None = None
    scores: dict[str, _Scores]


class Row(EvaluationRow):
    """A line of ``metrics.jsonl``."""

    step: int
    examples: int
    seconds: float
    tokens: int | None = None
    readout_seconds: float | None = None
    variant: str | None = None


class _OutcomesOfSet(Open):
    name: str
    values: list[float]
    gold: list[float] | None


class Outcomes(Open):
    """``outcomes.json``."""

    sets: list[_OutcomesOfSet]


class _Steps(Open):
    steps: int


class _Named(Open):
    name: str


class _DevSets(Open):
    dev: list[_Named]


class ResolvedRecipe(Open):
    """``recipe.yaml``, which a later version may no longer take as a recipe, but still compare."""

    task: Task
    method: str | None = None
    optim: _Steps
    data: _DevSets

    @model_validator(mode="after")
    def _method_is_known(self) -> "ResolvedRecipe":
        try:
            method_facts(self.task, self.method)
        except ValueError as error:
            raise ValueError(f"method: {error}") from None
        return self


def check(model: type[Model], mapping: dict[str, Any], *, where: str) -> None:
    """Check that ``mapping`` has what readers look up.

    Raises:
        ConfigError: it has not; one sentence.
    """
    try:
        parse(model, mapping, where=where)
    except ConfigError as error:
        raise ConfigError(f"{error}; {RESTORE}") from None
