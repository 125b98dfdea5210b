"""What the backbone reads: literal text around ``{text}``, ``{soft}`` and, where wanted, ``{instruction}``.

Templates with a name are one YAML file each in ``templates/`` beside this file, with the paper it is from.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field, field_validator

from transferkit.config.schema import Strict, parse, read_yaml
from transferkit.errors import did_you_mean

_FIELD = re.compile(r"\{([^{}]*)\}")
AUTO = "auto"  # in the place of a template: the best of those with a name, and of variations of that one
_ENDINGS = (":", ': "', ':"', "")
_KNOWN = ("text", "soft", "instruction")
_FOLDER = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Template:
    """A template split at its placeholders; soft tokens before the text, behind it or inside a prompt are one form.

    ``parts`` alternates freely between literals and the placeholders ``{text}``, ``{soft}``, ``{instruction}``;
    :attr:`before` and :attr:`after` are the parts on either side of ``{soft}``.
    """

    source: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, source: str) -> "Template":
        """Split ``source``.

        Raises:
            ValueError: unknown placeholder, ``{text}`` not exactly once, ``{soft}`` or ``{instruction}`` twice.
        """
        names = _FIELD.findall(source)
        for name in names:
            if name not in _KNOWN:
                raise ValueError(
                    f"template {source!r}: unknown placeholder {{{name}}}, allowed: {{text}}, {{soft}}, {{instruction}}"
                )
        if names.count("text") != 1:
            raise ValueError(f"template {source!r}: needs {{text}} exactly once, got it {names.count('text')} times")
        for name in ("soft", "instruction"):
            if names.count(name) > 1:
                raise ValueError(
                    f"template {source!r}: {{{name}}} may stand only once, got it {names.count(name)} times"
                )
        pieces = re.split(r"(\{[^{}]*\})", source)
        return cls(source=source, parts=tuple(piece for piece in pieces if piece))

    @property
    def has_soft(self) -> bool:
        """Whether soft tokens have a place in it."""
        return "{soft}" in self.parts

    @property
    def before(self) -> tuple[str, ...]:
        """Parts before ``{soft}``; all parts where there is none."""
        return self.parts[: self.parts.index("{soft}")] if self.has_soft else self.parts

    @property
    def after(self) -> tuple[str, ...]:
        """Parts after ``{soft}``."""
        return self.parts[self.parts.index("{soft}") + 1 :] if self.has_soft else ()

    @property
    def soft_sees_text(self) -> bool:
        """Whether the text stands before the soft positions, so that a causal model can read it there."""
        return "{text}" in self.before and self.has_soft

    def without_soft(self) -> "Template":
        """The same template for a method that has no soft tokens."""
        return Template.parse(self.source.replace("{soft}", ""))


class NamedTemplate(Strict):
    """A template that a recipe or a command can call by its file's name."""

    template: str = Field(description="what a decoder without soft tokens reads")
    suits: list[str] = Field(min_length=1, description="any, or the kinds of task that it was written for")
    source: str = Field(description="the paper that uses it")

    @field_validator("template")
    @classmethod
    def _has_no_soft_tokens(cls, text: str) -> str:
        if Template.parse(text).has_soft:
            raise ValueError(f"template {text!r}: a named template holds no {{soft}}; methods with soft tokens add it")
        return text


def list_templates() -> list[str]:
    """Names of the templates, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def find_template(name: str) -> NamedTemplate:
    """The template of a name.

    Raises:
        ValueError: no such name.
    """
    if name not in list_templates():
        raise ValueError(
            f"template {name!r}: neither the name of one nor text with {{text}} in it"
            f"{did_you_mean(name, [AUTO, *list_templates()])} (`transferkit templates` shows those with a name)"
        )
    return parse(NamedTemplate, read_yaml(_FOLDER / f"{name}.yaml"), where=f"template {name}")


def template_text(given: str, *, soft: bool) -> str:
    """``given`` itself where it is a template, else the template of that name.

    Args:
        given: text with a placeholder, or a name.
        soft: whether a named template gets ``{soft}`` behind it, where soft tokens can read all of it.

    Raises:
        ValueError: a name that no template has.
    """
    if "{" in given:
        return given
    return find_template(given).template + ("{soft}" if soft else "")


def templates_to_try(*, soft: bool) -> list[str]:
    """Text of every named template, the plain one first; ``soft`` as in :func:`template_text`."""
    return [template_text(name, soft=soft) for name in sorted(list_templates(), key=lambda name: name != "plain")]


def variations(text: str) -> list[str]:
    """Templates that say the same a little differently: another ending, and quotation marks around the text or none.

    They move the state at the end of a prompt, which is what is read, more than they move its meaning.
    """
    soft = "{soft}" if text.endswith("{soft}") else ""
    plain = text.removesuffix("{soft}")
    found = []
    if not plain.endswith("{text}"):
        stem = plain.rstrip(': "')
        stem += '"' if stem.count('"') % 2 else ""  # the quotation mark that closes the text
        found = [stem + ending for ending in _ENDINGS]
    found.append(plain.replace('"{text}"', "{text}") if '"{text}"' in plain else plain.replace("{text}", '"{text}"'))
    return [one + soft for one in dict.fromkeys(found) if one != plain]


def frozen_template(given: str) -> str:
    """Text of a template, given by name or as text, that a frozen backbone can be read with; else a ValueError."""
    text = template_text(given, soft=False)
    if Template.parse(text).has_soft:
        raise ValueError(f"template {text!r}: a frozen backbone gets no {{soft}} tokens")
    return text


def template_name(text: str, *, soft: bool = False) -> str:
    """The name of a template, where it has one; else the template itself.

    Args:
        text: the template.
        soft: whether that of a named one with ``{soft}`` behind it is its name too.
    """
    plain = text.removesuffix("{soft}") if soft else text
    return next((name for name in list_templates() if find_template(name).template == plain), text)
