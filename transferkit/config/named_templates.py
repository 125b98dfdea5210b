"""Templates with a name: one YAML file each in ``templates/`` beside this file, with the paper it is from."""

from functools import cache
from pathlib import Path

from pydantic import Field, field_validator

from transferkit.config.schema import Strict, parse, read_yaml
from transferkit.config.template import Template
from transferkit.errors import did_you_mean

_FOLDER = Path(__file__).resolve().parent / "templates"


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
            f"{did_you_mean(name, list_templates())} (`transferkit templates` shows those with a name)"
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
