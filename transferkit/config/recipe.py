"""A recipe: everything a run is decided by, as strict data, and what can be asked of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from transferkit.config.datasets import DataSection
from transferkit.config.methods import MethodFacts, Task, baseline_methods, method_facts
from transferkit.config.schema import Strict, dump_yaml
from transferkit.config.sections import (
    AlignmentSection,
    EmbeddingSection,
    EvalSection,
    FrozenSection,
    LoraSection,
    LossSection,
    OptimSection,
    Precision,
    PromptingSection,
    ReadoutSection,
    Steps,
    TeacherSection,
)
from transferkit.errors import ConfigError, with_article
from transferkit.files.builtin import SHIPPED
from transferkit.files.encoder_folder import check_encoder


class Recipe(Strict):
    """A whole run. ``task`` must match the command."""

    task: Task = Field(description="what the recipe is for; must match the command")
    method: str | None = Field(
        None,
        description="baseline only: the row to make; `--method` overrides it",
        json_schema_extra={"choices": [*baseline_methods()]},
    )
    seed: int = Field(
        17, ge=0, le=2**32 - 1, description="order of the data, draws at the start; one run per seed, report three"
    )
    precision: Precision = Field(
        "auto",
        description="in which every model computes; `auto`: bfloat16 where it is at least 1.5 times as fast on this "
        "machine, which is measured once (a GPU is asked), else float32. What learns is stored in float32 always",
    )
    prompting: PromptingSection = PromptingSection()
    alignment: AlignmentSection = AlignmentSection()
    embedding: EmbeddingSection = EmbeddingSection()
    lora: LoraSection = Field(LoraSection(), description="methods lora and qlora")
    frozen: FrozenSection = Field(FrozenSection(), description="method frozen")
    readout: ReadoutSection = ReadoutSection()
    data: DataSection
    loss: LossSection = LossSection()
    teacher: TeacherSection | None = None
    optim: OptimSection
    eval: EvalSection = EvalSection()
    save_every: Steps = Field(100, ge=1, description="between resumable states")
    tracking: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        "none", description="also send the curves there; the run folder has them always"
    )

    @property
    def facts(self) -> MethodFacts:
        """Of its method.

        Raises:
            ConfigError: a baseline that names none.
        """
        try:
            return method_facts(self.task, self.method)
        except ValueError as error:
            raise ConfigError(f"method: {error}") from None

    @field_validator("method")
    @classmethod
    def _method_is_known(cls, name: str | None) -> str | None:
        return name if name is None else method_facts("baseline", name).name

    @model_validator(mode="after")
    def _sections_fit_the_task(self) -> "Recipe":
        if self.task == "train" and self.prompting.backbone is None:
            raise ValueError("prompting.backbone: this key is missing (train needs a Prompting LLM)")
        if self.task == "adapt" and self.prompting.backbone is not None:
            raise ValueError("prompting.backbone: not allowed in adapt, --source decides it")
        if self.task != "train" and self.embedding.more_backbones:
            raise ValueError("embedding.more_backbones: only in train do several backbones share a Prompting LLM")
        if self.readout.in_loss and self.embedding.more_backbones:
            raise ValueError("readout.in_loss: a readout is one backbone's, and embedding.more_backbones has others")
        alone, steps = self.prompting.alone_steps, self.optim.steps
        if self.task != "train" and alone:
            raise ValueError("prompting.alone_steps: only in train does the Prompting LLM learn")
        if self.task != "train" and self.prompting.contrast is not None:
            raise ValueError("prompting.contrast: only in train, later the source decides it")
        if self.prompting.contrast is not None and self.prompting.reads == "instruction":
            raise ValueError("prompting.contrast: a prompt of the instruction alone is the same for every text")
        if steps and alone >= steps:
            raise ValueError(
                f"prompting.alone_steps: expected fewer than optim.steps ({steps}), so that W learns too, got {alone}"
            )
        if self.task != "adapt" and self.alignment.init == "source":
            raise ValueError("alignment.init: 'source' is for adapt, only there is a source to start from")
        if self.task != "baseline" and self.method is not None:
            raise ValueError(f"method: only a baseline has one, this is {with_article(self.task)} recipe")
        named = self.task != "baseline" or self.method is not None
        if self.optim.seconds is not None and named and not self.facts.learns:
            raise ValueError(f"optim.seconds: {self.facts.name} trains nothing that could end early; leave it away")
        return self


def required_backbone(recipe: Recipe) -> str:
    """What the recipe calls its backbone.

    Raises:
        ConfigError: it names none, and ``--target`` did not either.
    """
    if recipe.embedding.backbone is None:
        raise ConfigError(
            "no decoder is named; give --target (`transferkit backbones list`), a study's targets or embedding.backbone"
        )
    return recipe.embedding.backbone


def required_encoder(recipe: Recipe) -> Path:
    """The folder of the ready-made encoder that the recipe names in a backbone's place.

    Raises:
        ConfigError: it names none, or one that is not there or not safe to load.
    """
    if recipe.embedding.backbone is None:
        raise ConfigError(
            f"embedding.backbone: this key is missing, and {recipe.facts.name} needs a folder of sentence-transformers "
            "there; name it with --target, or in a study's targets"
        )
    return check_encoder(recipe.embedding.backbone)


def check_data_dir(recipe: Recipe, data_dir: Path | None) -> None:
    """Refuse a folder of data that no file of the recipe is looked up in.

    Raises:
        ConfigError: says what the recipe reads.
    """
    vectors = None if recipe.teacher is None else recipe.teacher.vectors
    if data_dir is None or recipe.data.relative_paths() or (vectors and not Path(vectors).is_absolute()):
        return
    raise ConfigError(
        f"--data-dir {data_dir}: the recipe reads nothing there, its data are {recipe.data.in_words()}; give --data "
        "FILE, or a recipe whose paths start there"
    )


def check_target(recipe: Recipe) -> None:
    """Refuse a recipe that does not name what embeds.

    Raises:
        ConfigError: as :func:`required_backbone` or :func:`required_encoder`, whichever its method needs.
    """
    if recipe.facts.has_backbone:
        required_backbone(recipe)
    elif recipe.facts.has_encoder:
        required_encoder(recipe)


def named_backbones(recipe: Recipe) -> list[str]:
    """What the recipe calls the decoders that its run loads; a source's Prompting LLM is not named there.

    Raises:
        ConfigError: as :func:`required_backbone`.
    """
    if not recipe.facts.has_backbone:
        return []
    prompting = [recipe.prompting.backbone] if recipe.task == "train" and recipe.prompting.backbone else []
    return [required_backbone(recipe), *recipe.embedding.more_backbones, *prompting]


def with_names(recipe: Recipe, rename: Callable[[str], str]) -> Recipe:
    """The recipe with ``rename`` applied to everything that it calls a backbone, or a teacher."""
    prompting, embedding = (
        section.model_copy(update={"backbone": None if section.backbone is None else rename(section.backbone)})
        for section in (recipe.prompting, recipe.embedding)
    )
    more = [rename(name) for name in recipe.embedding.more_backbones]
    embedding = embedding.model_copy(update={"more_backbones": more})
    teacher = recipe.teacher
    if teacher is not None:
        named = {"model": teacher.model, "backbone": teacher.backbone, "vectors": teacher.vectors}
        renamed = {key: rename(name) for key, name in named.items() if name and Path(name) not in SHIPPED}
        teacher = teacher.model_copy(update=renamed)
    return recipe.model_copy(update={"prompting": prompting, "embedding": embedding, "teacher": teacher})


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML: every key with the value that was used."""
    return dump_yaml(recipe.model_dump())
