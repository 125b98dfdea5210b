"""Poolings: which states become one vector, which of them a template allows, and where soft tokens must stand."""

from typing import Annotated, Literal, cast, get_args

from pydantic import AfterValidator

from transferkit.config.schema import Strict
from transferkit.config.template import Template, frozen_template

STATIC = "static"  # the text's mean token embedding; X+static: beside what X makes of the hidden states
SOFT = "soft"
BEFORE = "before"  # the last state that has read nothing of the soft tokens; it stands beside theirs
FrozenPooling = Literal[
    "last",
    "mean",
    "weighted_mean",
    "max",
    "static",
    "last+static",
    "mean+static",
    "weighted_mean+static",
    "max+static",
]
Pooling = Literal["soft", "soft+static", "before+soft", "before+soft+static", FrozenPooling]


class FrozenReading(Strict):
    """How a decoder alone is read; a template may be given by its name."""

    template: Annotated[str, AfterValidator(frozen_template)]
    pooling: FrozenPooling


def parts_of(pooling: str) -> list[str]:
    """The vectors that a pooling puts side by side: ``soft+static`` is ``soft`` and ``static``."""
    return pooling.split("+")


def of_states(pooling: str) -> list[str]:
    """The parts of a pooling that read hidden states."""
    return [part for part in parts_of(pooling) if part != STATIC]


def reads_soft(pooling: str) -> bool:
    """Whether a pooling reads the soft positions."""
    return SOFT in parts_of(pooling)


def reads_instruction(template: str, pooling: str, *, prompting: bool) -> bool:
    """Whether an instruction can change a vector of a decoder that is read so.

    Args:
        template: text with placeholders.
        pooling: how it is read; one that reads no hidden state sees neither the template nor soft tokens.
        prompting: whether a Prompting LLM, which reads the instruction too, writes the soft tokens.
    """
    return bool(of_states(pooling)) and (prompting or "{instruction}" in Template.parse(template).parts)


def without_soft_tokens(template: str, pooling: Pooling) -> tuple[str, FrozenPooling]:
    """How a method without soft tokens reads what was chosen for one with them.

    ``last`` stands in the place of the soft positions, and of the state before them, where the template says something
    after the text, for there a prompt has been read to its end; else ``mean``.
    """
    plain = Template.parse(template).without_soft()
    states = "mean" if plain.parts[-1] == "{text}" else "last"
    if reads_soft(pooling):
        pooling = cast(Pooling, "+".join([states, *(part for part in parts_of(pooling) if part == STATIC)]))
    return plain.source, cast(FrozenPooling, pooling)


def available_poolings(template: str) -> list[Pooling]:
    """The poolings that a template allows: those of soft positions only where soft tokens stand behind the text."""
    soft = Template.parse(template).soft_sees_text
    return [pooling for pooling in get_args(Pooling) if soft or not reads_soft(pooling)]


def check_soft_place(template: str, pooling: str, *, needs_soft: bool) -> None:
    """Refuse soft tokens that have no place, and a pooling of soft positions that never see the text.

    Args:
        template: text with placeholders.
        pooling: how it is read.
        needs_soft: whether the method has soft tokens, so that the template must hold ``{soft}``.

    Raises:
        ValueError: one sentence that opens with the key at fault, ``template:`` or ``pooling:``; callers put the
            section before it.
    """
    parsed = Template.parse(template)
    if needs_soft and not parsed.has_soft:
        raise ValueError(
            f"template: {template!r} has no {{soft}}, so the soft tokens have no place; write for example "
            "'{text}{soft}'"
        )
    if not reads_soft(pooling) or parsed.soft_sees_text:
        return
    allowed = ", ".join(available_poolings(template))
    if not parsed.has_soft:
        raise ValueError(f"pooling: {pooling!r} reads soft tokens, and template {template!r} has none; use {allowed}")
    raise ValueError(
        f"pooling: {pooling!r} reads positions that stand before the text in template {template!r} and never see it; "
        f"use {allowed}, or put {{soft}} after {{text}}"
    )
