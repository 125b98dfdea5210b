"""Recipes: everything a run is decided by, as strict data. ``recipes/<family>/<task>.yaml`` are the built-in ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from transferkit.config.named_templates import template_text
from transferkit.config.schema import Strict, dump_yaml, parse, parse_yaml, read_yaml
from transferkit.config.specs import FrozenPooling, Pooling, Quantization, available_poolings, reads_soft
from transferkit.config.template import Template
from transferkit.errors import ConfigError, did_you_mean, with_article
from transferkit.files.builtin import builtin_dir

Task = Literal["train", "adapt", "baseline"]
Method = Literal["lora", "qlora", "prompt-tuning", "prompting-llm-alone", "frozen", "tfidf"]
Relaxation = Literal["vocabulary", "straight_through", "none"]
Reads = Literal["instruction", "text"]
Builtin = Literal["installed-docs"]


class LoraSection(Strict):
    """`peft` adapters on every linear layer."""

    r: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)


class PromptingSection(Strict):
    """The Prompting LLM. In adapt every key is optional and defaults to the source checkpoint's."""

    backbone: str | None = Field(None, description="spec name, local folder or hub id; train only")
    tokens: int | None = Field(None, ge=1, le=256, description="k, soft tokens a text")
    tau: float | None = Field(None, gt=0, description="softmax temperature of the relaxation")
    relaxation: Relaxation | None = None
    reads: Reads | None = None
    tuning: Literal["full", "lora"] = Field("full", description="train only: what of the Prompting LLM learns")
    lora: LoraSection = LoraSection()
    max_length: int | None = Field(None, ge=8, description="tokens of instruction and text that it reads")


class AlignmentSection(Strict):
    """The matrix W (d_p, d_e) and, with ``offset: position``, one vector a soft position."""

    init: Literal["source", "anchors", "random"] | None = Field(None, description="None: source in adapt, else anchors")
    offset: Literal["none", "position"] = "position"


class EmbeddingSection(Strict):
    """The frozen decoder that embeds, and how it is read."""

    backbone: str | None = Field(None, description="spec name, local folder or hub id; --target overrides it")
    more_backbones: list[str] = Field([], description="train only: further ones, the steps take turns")
    quantization: Quantization = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    template: str | None = Field(None, description="text, or a name; None: the source checkpoint's, then the spec's")
    pooling: Pooling | None = Field(None, description="None: the source checkpoint's, then the spec's")
    layers: int | None = Field(None, ge=1, description="last ones, averaged before pooling; None: the source's, then 1")
    max_length: int = Field(128, ge=1, description="tokens of the text, before the template is put around it")

    @field_validator("template")
    @classmethod
    def _template_is_valid(cls, given: str | None) -> str | None:
        return None if given is None else Template.parse(template_text(given, soft=True)).source

    @model_validator(mode="after")
    def _soft_pooling_can_see_the_text(self) -> "EmbeddingSection":
        if self.template is None or self.pooling is None or not reads_soft(self.pooling):
            return self
        template = Template.parse(self.template)
        if template.has_soft and not template.soft_sees_text:
            raise ValueError(
                f"pooling: {self.pooling!r} reads positions that stand before the text in template "
                f"{self.template!r} and never see it, allowed there: {', '.join(available_poolings(self.template))}"
            )
        return self


def frozen_template(given: str) -> str:
    """Text of a template, given by name or as text, that a frozen backbone can be read with; else a ValueError."""
    text = template_text(given, soft=False)
    if Template.parse(text).has_soft:
        raise ValueError(f"template {text!r}: a frozen backbone gets no {{soft}} tokens")
    return text


class FrozenSection(Strict):
    """Baseline ``frozen`` only: every template x pooling is a variant, and the best one is the row."""

    templates: list[str] = Field(["{text}"], min_length=1)
    poolings: list[FrozenPooling] = Field(["mean"], min_length=1)

    @field_validator("templates")
    @classmethod
    def _no_soft_tokens(cls, templates: list[str]) -> list[str]:
        return [frozen_template(given) for given in templates]


class ReadoutSection(Strict):
    """Closed-form map after pooling, fitted on a fixed sample of unlabelled training texts."""

    kind: Literal["none", "center", "whiten"] = "whiten"
    sample: int = Field(2000, ge=2, description="texts it is fitted on")
    ridge: float = Field(0.1, ge=0, description="in units of the mean eigenvalue")


class TrainSet(Strict):
    """One training set: a file, a hub dataset or built-in data, and how its columns become pairs."""

    name: str
    kind: Literal["pairs", "triplets", "labelled"]
    path: str | None = Field(None, description="parquet/jsonl/csv/tsv file; relative to --data-dir")
    hub_id: str | None = None
    builtin: Builtin | None = Field(None, description="docstrings of the packages on this machine")
    revision: str | None = None
    subset: str | None = None
    split: str = "train"
    columns: dict[str, str] = Field({}, description="role -> column: anchor, positive, negative, or text, label")
    instruction: str | None = Field(None, description="for anchors; None: the source's for a set of this name, or none")
    document_instruction: str | None = Field(None, description="instruction for the other side; None: the same")
    weight: float = Field(1.0, gt=0, description="share of the batches, relative to the other sets")
    limit: int | None = Field(None, ge=2, description="use only the first rows")

    @model_validator(mode="after")
    def _check(self) -> "TrainSet":
        _one_origin(self.path, self.hub_id, self.builtin)
        _check_roles(self.kind, self.columns)
        return self


class DevSet(Strict):
    """One dev or test set. ``select: false`` is reported but never chooses a step, a learning rate or a template."""

    name: str
    kind: Literal["knn", "sts", "retrieval", "clustering"]
    path: str | None = Field(None, description="file (knn: the texts to classify; retrieval: the queries)")
    train_path: str | None = Field(None, description="knn: labelled texts whose nearest neighbour decides")
    corpus_path: str | None = Field(None, description="retrieval: the documents")
    qrels_path: str | None = Field(None, description="retrieval: query id, document id, relevance")
    hub_id: str | None = None
    builtin: Builtin | None = Field(None, description="docstrings of the packages on this machine")
    revision: str | None = None
    subset: str | None = None
    split: str = "test"
    train_split: str = "train"
    columns: dict[str, str] = Field({}, description="role -> column where a file names them otherwise")
    instruction: str = ""
    document_instruction: str | None = None
    select: bool = True
    limit: int | None = Field(None, ge=2, description="a fixed random sample of so many rows")

    @model_validator(mode="after")
    def _check(self) -> "DevSet":
        _one_origin(self.path, self.hub_id, self.builtin)
        _check_roles(self.kind, self.columns)
        if self.path is not None and self.kind == "knn" and self.train_path is None:
            raise ValueError("train_path: this key is missing (knn needs labelled texts to compare with)")
        if self.path is not None and self.kind == "retrieval" and not (self.corpus_path and self.qrels_path):
            raise ValueError("corpus_path, qrels_path: both are needed for retrieval")
        if self.path is None and (self.train_path or self.corpus_path or self.qrels_path):
            origin = "builtin" if self.hub_id is None else "hub_id"
            raise ValueError(
                f"train_path, corpus_path, qrels_path: not allowed beside {origin}, every part comes from there"
            )
        return self


ROLES: dict[str, dict[str, str]] = {  # kind -> role -> the column it is read from where `columns` does not say
    "pairs": {"anchor": "anchor", "positive": "positive"},
    "triplets": {"anchor": "anchor", "positive": "positive", "negative": "negative"},
    "labelled": {"text": "text", "label": "label"},
    "knn": {"text": "text", "label": "label"},
    "clustering": {"text": "text", "label": "label"},
    "sts": {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"},
    "retrieval": {  # queries (id, text), corpus (id, title where there is one, text), relevance judgements
        "id": "_id",
        "text": "text",
        "title": "title",
        "query_id": "query-id",
        "corpus_id": "corpus-id",
        "relevance": "score",
    },
}


def _one_origin(*origins: str | None) -> None:
    if len([origin for origin in origins if origin is not None]) != 1:
        raise ValueError("needs exactly one of path, hub_id and builtin")


def _check_roles(kind: str, columns: dict[str, str]) -> None:
    for role in columns:
        if role not in ROLES[kind]:
            raise ValueError(f"columns: unknown role {role!r} for kind {kind!r}, allowed: {', '.join(ROLES[kind])}")


class DataSection(Strict):
    """What is trained on and what is measured."""

    train: list[TrainSet] = Field(min_length=1)
    dev: list[DevSet] = Field(min_length=1)
    on_bad_row: Literal["stop", "skip"] = Field("stop", description="empty, null or wrongly typed rows")

    @model_validator(mode="after")
    def _names_and_selection(self) -> "DataSection":
        for kind, names in (("train", [s.name for s in self.train]), ("dev", [s.name for s in self.dev])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind}: the name {twice[0]!r} is used twice")
        if not any(s.select for s in self.dev):
            raise ValueError("dev: no set has select: true, so nothing could choose a step")
        return self


class LossSection(Strict):
    """InfoNCE over cosine similarities."""

    temperature: float = Field(0.05, gt=0, description="logits are cosine / temperature")
    symmetric: bool = Field(True, description="also score anchors against each positive")


class OptimSection(Strict):
    """AdamW with linear warm-up, constant, and a linear cool-down to zero where one is asked for."""

    steps: int = Field(ge=0, description="optimizer steps")
    batch_size: int = Field(48, ge=2, description="examples a step over all processes; sets the in-batch negatives")
    micro_batch_size: int | None = Field(None, ge=1, description="texts a forward pass (gradient caching); None: all")
    lr: float = Field(1.0e-3, gt=0, description="of all that learns outside the alignment")
    lr_alignment: float = Field(3.0e-3, gt=0, description="W")
    lr_offset: float = Field(1.0e-2, gt=0, description="offsets of the soft positions")
    warmup_steps: int = Field(0, ge=0)
    cooldown_steps: int = Field(0, ge=0, description="the last steps, in which the learning rates fall to zero")
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _warmup_ends(self) -> "OptimSection":
        if self.steps and self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps: expected fewer than steps ({self.steps}), got {self.warmup_steps}")
        left = self.steps - self.warmup_steps
        if self.steps and self.cooldown_steps > left:
            raise ValueError(
                f"cooldown_steps: expected at most what warm-up leaves of the steps ({left}), got {self.cooldown_steps}"
            )
        return self


class EvalSection(Strict):
    """When the dev sets are scored."""

    every: int = Field(50, ge=1, description="optimizer steps; also the resolution of steps-to-target")
    keep: Literal["best", "last"] = Field("best", description="step whose weights are kept; best: by the dev score")
    batch_size: int = Field(64, ge=1, description="texts a forward pass")
    keep_states_gib: float = Field(0.0, ge=0, description="memory for dev texts that a frozen backbone has read")


class Recipe(Strict):
    """A whole run. ``task`` must match the command."""

    task: Task
    method: Method | None = Field(None, description="baseline only; --method overrides it")
    seed: int = Field(17, ge=0)
    prompting: PromptingSection = PromptingSection()
    alignment: AlignmentSection = AlignmentSection()
    embedding: EmbeddingSection = EmbeddingSection()
    lora: LoraSection = LoraSection()
    frozen: FrozenSection = FrozenSection()
    readout: ReadoutSection = ReadoutSection()
    data: DataSection
    loss: LossSection = LossSection()
    optim: OptimSection
    eval: EvalSection = EvalSection()
    save_every: int = Field(100, ge=1, description="optimizer steps between resumable checkpoints")
    tracking: Literal["none", "tensorboard", "wandb", "trackio"] = "none"

    @model_validator(mode="after")
    def _sections_fit_the_task(self) -> "Recipe":
        if self.task == "train" and self.prompting.backbone is None:
            raise ValueError("prompting.backbone: this key is missing (train needs a Prompting LLM)")
        if self.task == "adapt" and self.prompting.backbone is not None:
            raise ValueError("prompting.backbone: not allowed in adapt, --source decides it")
        if self.task != "train" and self.embedding.more_backbones:
            raise ValueError("embedding.more_backbones: only in train do several backbones share a Prompting LLM")
        if self.task != "adapt" and self.alignment.init == "source":
            raise ValueError("alignment.init: 'source' is for adapt, only there is a source to start from")
        if self.task != "baseline" and self.method is not None:
            raise ValueError(f"method: only a baseline has one, this is {with_article(self.task)} recipe")
        return self


_METHODS_OF_SECTION: dict[str, tuple[str | None, ...]] = {
    "frozen": ("frozen",),
    "lora": ("lora", "qlora"),
    "alignment": (None,),
    "embedding": (None, "lora", "qlora", "prompt-tuning", "frozen"),
}


def heeded(mapping: dict[str, Any]) -> dict[str, Any]:
    """A recipe's mapping without the sections that only other methods than its own read."""
    method = mapping.get("method")
    return {key: value for key, value in mapping.items() if method in _METHODS_OF_SECTION.get(key, (method,))}


# Keys that recipes once had, and the value under which they change nothing: that one is let through, in copies that
# users keep and in run folders; another one asks for what is gone.
RETIRED: dict[str, Any] = {"prompting.tau_start": None, "alignment.basis": "own"}


def drop_retired(mapping: dict[str, Any], *, where: str) -> None:
    """Take :data:`RETIRED` keys out of a recipe's mapping, in place.

    Raises:
        ConfigError: one of them with a value that changed something.
    """
    for path, unused in RETIRED.items():
        section, key = path.split(".")
        place = mapping.get(section)
        if isinstance(place, dict) and key in place and (value := place.pop(key)) != unused:
            raise ConfigError(
                f"{where}: {path}: {value!r} is no longer offered, it was worth nothing; remove this key, or use the "
                "version of transferkit that wrote it"
            )


def required_backbone(recipe: Recipe) -> str:
    """What the recipe calls its backbone.

    Raises:
        ConfigError: it names none, and ``--target`` did not either.
    """
    if recipe.embedding.backbone is None:
        raise ConfigError(
            "embedding.backbone: this key is missing; name a backbone there, with --target, or in a study's targets"
        )
    return recipe.embedding.backbone


def has_backbone(recipe: Recipe) -> bool:
    """Whether a backbone embeds; in the other rows words or the Prompting LLM's own soft tokens do."""
    return recipe.method not in ("tfidf", "prompting-llm-alone")


def named_backbones(recipe: Recipe) -> list[str]:
    """What the recipe calls the decoders that its run loads; a source's Prompting LLM is not named there.

    Raises:
        ConfigError: as :func:`required_backbone`.
    """
    if not has_backbone(recipe):
        return []
    prompting = [recipe.prompting.backbone] if recipe.task == "train" and recipe.prompting.backbone else []
    return [required_backbone(recipe), *recipe.embedding.more_backbones, *prompting]


def with_names(recipe: Recipe, rename: Callable[[str], str]) -> Recipe:
    """The recipe with ``rename`` applied to everything that it calls a backbone."""
    prompting, embedding = (
        section.model_copy(update={"backbone": None if section.backbone is None else rename(section.backbone)})
        for section in (recipe.prompting, recipe.embedding)
    )
    more = [rename(name) for name in recipe.embedding.more_backbones]
    embedding = embedding.model_copy(update={"more_backbones": more})
    return recipe.model_copy(update={"prompting": prompting, "embedding": embedding})


def takes_source(recipe: Recipe) -> bool:
    """Whether the run starts from a checkpoint of `train`; it needs one then, and all others refuse it."""
    return recipe.task == "adapt" or recipe.method == "prompting-llm-alone"


def list_recipes() -> list[str]:
    """Names ``family/task`` of the built-in recipes, sorted."""
    folder = builtin_dir("recipes")
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.glob("*/*.yaml"))


def recipe_path(name: str) -> Path:
    """File of a recipe: a path when ``name`` ends in .yaml, a built-in ``family/task`` otherwise.

    Raises:
        ConfigError: no such recipe; the message names the closest one.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    known = list_recipes()
    if name not in known:
        beside = next((file for file in (f"{name}.yaml", f"{name}.yml") if Path(file).is_file()), None)
        close = did_you_mean(name, known) if beside is None else f"; did you mean {beside!r}?"
        raise ConfigError(
            f"unknown recipe {name!r}{close} "
            "(`transferkit recipes list` shows the built-in ones; a file must end in .yaml)"
        )
    return builtin_dir("recipes") / f"{name}.yaml"


def read_recipe(name: str, *, overrides: list[str] | None = None, task: Task | None = None) -> Recipe:
    """The recipe called ``name`` (see :func:`recipe_path`) with ``key.path=value`` overrides applied.

    Raises:
        ConfigError: no such recipe, a malformed file or override, or a recipe of another task.
    """
    path = recipe_path(name)
    mapping = read_yaml(path)
    for override in overrides or []:
        set_key(mapping, override)
    if task is not None and mapping.get("task") not in (None, task):
        raise ConfigError(f"{path}: task: expected {task!r} for this command, got {mapping['task']!r}")
    drop_retired(mapping, where=str(path))
    return parse(Recipe, mapping, where=str(path))


def set_key(mapping: dict[str, Any], override: str) -> None:
    """Apply one ``a.b=value`` in place; list items are reached by position (``data.train.0.weight=2``).

    The value is read as YAML, so numbers, lists and null can be written; 1e-3 counts as a number here.

    Raises:
        ConfigError: no ``=``, a path through something that is not a mapping or list, or a position out of range.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {override}: expected key.path=value")
    keys = path.split(".")
    place: Any = mapping
    for key in keys[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[_position(place, key, override)]
    try:
        value = parse_yaml(f"value: {text}", where=f"--set {override}")["value"]
    except ConfigError as error:
        raise ConfigError(
            f"{error}; text with braces, colons or # needs quotes inside: --set \"{path}='...'\""
        ) from None
    if isinstance(value, str):
        value = _as_float(value)
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


def _as_float(text: str) -> Any:
    """YAML 1.1 reads 1e-3 as text; on a command line a number is meant."""
    try:
        return float(text) if "e" in text.lower() else text
    except ValueError:
        return text


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML: every key with the value that was used."""
    return dump_yaml(recipe.model_dump())
