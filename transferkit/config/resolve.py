"""Recipe -> resolved recipe: every choice that it leaves to the source checkpoint, the spec or the method is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field

from transferkit.config.datasets import DevSet, TrainSet
from transferkit.config.methods import MethodFacts
from transferkit.config.poolings import Pooling, check_soft_place, of_states, without_soft_tokens
from transferkit.config.recipe import Recipe, with_names
from transferkit.config.sections import (
    AlignmentSection,
    Computed,
    EmbeddingSection,
    PromptingSection,
    Reads,
    Relaxation,
    TeacherSection,
)
from transferkit.config.specs import BackboneSpec, Quantization, lasting_name
from transferkit.config.template import AUTO
from transferkit.errors import ConfigError

_PROMPTING = {"tokens": 5, "tau": 3.0, "relaxation": "vocabulary", "reads": "text", "max_length": 128}


class ResolvedPrompting(PromptingSection):
    """Nothing left to a source."""

    tokens: int
    tau: float
    relaxation: Relaxation
    reads: Reads
    max_length: int


class ResolvedAlignment(AlignmentSection):
    """Its start is chosen."""

    init: Literal["source", "anchors", "random"]


@dataclass(frozen=True)
class ChosenPrecision:
    """In which precision models compute. ``speed``: of bfloat16, in times float32's, where that was measured here."""

    precision: Computed
    speed: float | None = None

    def __str__(self) -> str:
        if self.speed is None:
            return f"precision {self.precision}"
        what = "" if self.precision == "bfloat16" else "bfloat16 is "
        return f"precision {self.precision} (measured: {what}{self.speed:.1f}x float32 here)"


@dataclass(frozen=True)
class Reading:
    """Which decoder embeds, how it is loaded, and how it is read."""

    spec: BackboneSpec
    quantization: Quantization
    dtype: Computed
    template: str
    pooling: Pooling
    layers: int
    max_length: int
    soft_tokens: int  # room for so many is kept free; 0 for a method without


class ResolvedRecipe(Recipe):
    """A recipe in which nothing is left open but a template ``auto``, which a model must be asked for.

    It prints as a recipe with every key.
    """

    # The default is what lineages leave out: runs in float32 keep theirs from the time before there was a choice.
    precision: Computed = "float32"
    prompting: ResolvedPrompting
    alignment: ResolvedAlignment
    chosen: ChosenPrecision = Field(
        ChosenPrecision("float32"), exclude=True, description="the precision, and why it was chosen"
    )
    spec: BackboneSpec | None = Field(None, exclude=True, description="of the backbone; None: none embeds")

    @property
    def reading(self) -> Reading:
        """Of the backbone.

        Raises:
            ConfigError: the method has none.
        """
        one: EmbeddingSection = self.embedding
        if self.spec is None or one.template is None or one.pooling is None or one.layers is None:
            raise ConfigError(f"{self.facts.name}: no backbone embeds in this method, so nothing reads a template")
        return Reading(
            spec=self.spec,
            quantization=one.quantization,
            dtype=self.precision,
            template=one.template,
            pooling=one.pooling,
            layers=one.layers,
            max_length=one.max_length,
            soft_tokens=self.prompting.tokens if self.facts.soft_tokens else 0,
        )


def resolve_recipe(
    recipe: Recipe, *, description: Mapping[str, Any], spec: BackboneSpec | None, chosen: ChosenPrecision
) -> ResolvedRecipe:
    """Fill every choice that the recipe leaves open.

    Local backbones are named by their absolute paths, so that a run can be resumed and compared from every folder.

    Args:
        recipe: as it was written.
        description: of the source checkpoint; empty where the method starts from nothing.
        spec: of the backbone; None where none embeds.
        chosen: in the place of ``auto``, which a measurement decides.

    Raises:
        ConfigError: template and pooling that the method cannot be read with, or texts that nothing teaches.
    """
    facts = recipe.facts
    own = dict(description.get("prompting", {}))
    check_reads(own.get("reads", "text"), where="--source")
    # A Prompting LLM that is measured as it is keeps all of its own; the recipe's are for those that prompt.
    heeds = "prompting" in facts.sections
    inherited = _PROMPTING | own
    open_keys = [key for key in _PROMPTING if getattr(recipe.prompting, key) is None or (key in own and not heeds)]
    prompting = recipe.prompting.model_dump() | {key: inherited[key] for key in open_keys}
    alignment = recipe.alignment.model_dump()
    alignment["init"] = alignment["init"] or ("source" if facts.needs_source and facts.has_backbone else "anchors")
    train = [_with_instructions(one, description) for one in recipe.data.train]
    dev = [_with_instruction_of(one, train) for one in recipe.data.dev]
    if spec is not None:
        recipe = recipe.model_copy(update={"embedding": _embedding(recipe.embedding, facts, description, spec)})
    recipe = with_names(recipe, lasting_name)
    sections = {name: getattr(recipe, name) for name in Recipe.model_fields}
    return ResolvedRecipe(
        **sections
        | {
            "prompting": ResolvedPrompting(**prompting | {"backbone": recipe.prompting.backbone}),
            "alignment": ResolvedAlignment(**alignment),
            "data": recipe.data.model_copy(update={"train": train, "dev": dev}),
            "precision": chosen.precision,
            "chosen": chosen,
            "teacher": _teacher(recipe),
            "spec": spec,
        }
    )


def _embedding(
    section: EmbeddingSection, facts: MethodFacts, description: Mapping[str, Any], spec: BackboneSpec
) -> EmbeddingSection:
    from_source = description.get("backbone", {})
    template = section.template or from_source.get("template") or spec.template
    pooling: Pooling = section.pooling or from_source.get("pooling") or spec.pooling
    if template == AUTO and not facts.learns:
        template = spec.template
    if template != AUTO:
        template, pooling = _readable(facts, template, pooling)
    changes = {
        "template": template,
        "pooling": pooling,
        "layers": section.layers or from_source.get("layers") or 1,
        "quantization": facts.quantization or section.quantization,
    }
    return section.model_copy(update=changes)


def behind(recipe: ResolvedRecipe, template: str) -> ResolvedRecipe:
    """The recipe with another template in its place, and its pooling as the method can read it there.

    Raises:
        ConfigError: template and pooling that the method cannot be read with.
    """
    section = recipe.embedding
    assert section.pooling is not None  # a resolved recipe has one
    text, pooling = _readable(recipe.facts, template, section.pooling)
    embedding = section.model_copy(update={"template": text, "pooling": pooling})
    return recipe.model_copy(update={"embedding": embedding})


def _readable(facts: MethodFacts, template: str, pooling: Pooling) -> tuple[str, Pooling]:
    if not facts.soft_tokens:
        template, pooling = without_soft_tokens(template, pooling)
    if facts.learns and not of_states(pooling):
        raise ConfigError(
            f"embedding.pooling: {pooling!r} reads no hidden state, so nothing would learn; use soft+static, or "
            "mean+static without soft tokens"
        )
    try:
        check_soft_place(template, pooling, needs_soft=facts.soft_tokens)
    except ValueError as error:
        raise ConfigError(f"embedding.{error}") from None
    return template, pooling


def _with_instructions(one: TrainSet, description: Mapping[str, Any]) -> TrainSet:
    """The source's own, on both sides, of a set that it was trained on and the recipe gives none for.

    Texts alone are read as the source reads any: with its instruction, where it was trained with one alone.
    """
    if one.instruction is not None:
        return one
    known = description.get("instructions", {})
    alone = set(known.values()) if one.kind == "texts" else set()
    instruction = known.get(one.name, alone.pop() if len(alone) == 1 else "")
    document = description.get("document_instructions", known).get(one.name)
    if one.document_instruction is not None or document == instruction:
        document = one.document_instruction  # null says the same as the anchors'
    return one.model_copy(update={"instruction": instruction, "document_instruction": document})


def _with_instruction_of(one: DevSet, train: list[TrainSet]) -> DevSet:
    """Held-out texts are read as those that are trained on."""
    same = next((other for other in train if other.name == one.name and other.kind == one.kind == "texts"), None)
    if same is None or one.instruction:
        return one
    return one.model_copy(update={"instruction": same.instruction})


def _teacher(recipe: Recipe) -> TeacherSection | None:
    """As it is given; texts that it is not given for are taught by the source, and pairs then are not.

    Raises:
        ConfigError: none is named, and there is no source to stand in for it.
    """
    facts, given = recipe.facts, recipe.teacher
    taught = [f"data.dev {one.name!r}" for one in recipe.data.dev if one.kind == "texts"]
    if facts.learns:
        taught = [f"data.train {one.name!r}" for one in recipe.data.train if one.kind == "texts"] + taught
    if given is None and not taught:
        return None
    if not facts.needs_source and (given is None or given.model is given.vectors is None):
        why = f"{taught[0]} holds texts alone" if taught else "it names nobody"
        raise ConfigError(
            f"teacher: {why}, and {facts.name} has no source that could teach; name a teacher.model, or teacher.vectors"
        )
    return given or TeacherSection(weight=0.0)


def check_reads(reads: str, *, where: str) -> None:
    """Refuse a checkpoint whose Prompting LLM reads what this version knows no more.

    Raises:
        ConfigError: opens with ``where``.
    """
    if reads not in get_args(Reads):
        raise ConfigError(
            f"{where}: its Prompting LLM reads {reads!r}, which is no longer offered; use the version of transferkit "
            "that wrote it"
        )
