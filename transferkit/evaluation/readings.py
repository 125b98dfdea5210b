"""How the models of an evaluation are read: options as they were typed -> templates and poolings, one row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

from transferkit.config.poolings import Pooling, available_poolings
from transferkit.config.sections import Precision
from transferkit.config.specs import Quantization
from transferkit.config.template import Template, find_template, list_templates, template_text
from transferkit.errors import ConfigError, did_you_mean

TFIDF = "tfidf"  # as a model of ``evaluate``
MAX_LENGTH = 512  # tokens of a text that a frozen backbone reads unless more or fewer are asked for
_ALL = "all"
_VALUES = {
    "--pooling": get_args(Pooling),
    "--poolings": get_args(Pooling),
    "--quantize": get_args(Quantization),
    "--precision": get_args(Precision),
}


class TemplateAndPooling(NamedTuple):
    """What a model reads, as text, and how its states become one vector: what tells its variants apart."""

    template: str
    pooling: Pooling


@dataclass(frozen=True)
class ReadingOptions:
    """How models are read; None is what was not asked for.

    Attributes:
        template: of frozen backbones: texts, or names, a row each; none: the spec's.
        pooling: of frozen backbones, a row each; none: the spec's.
        templates: names; every model with a decoder is read through each of them.
        poolings: every model with a decoder is pooled in each of these ways; ``all``: in those that its template
            allows.
        precision: of frozen backbones; None: auto.
        quantization: of frozen backbones; None: none.
        max_length: tokens of a text that a frozen backbone reads; None: :data:`MAX_LENGTH`.
        layers: last ones of frozen backbones, whose states are averaged before pooling; None: the last alone.
        readout: of checkpoints: ``none`` takes it away; None, or the kind that they hold: their own.
    """

    template: tuple[str, ...] = ()
    pooling: tuple[Pooling, ...] = ()
    templates: tuple[str, ...] = ()
    poolings: tuple[Pooling, ...] | Literal["all"] = ()
    precision: Precision | None = None
    quantization: Quantization | None = None
    max_length: int | None = None
    layers: int | None = None
    readout: str | None = None

    @property
    def several(self) -> str | None:
        """The option that asks for several variants of a model, if one does."""
        return "--templates" if self.templates else "--poolings" if self.poolings else None

    @property
    def frozen_only(self) -> str | None:
        """An option that frozen backbones alone heed, if one was given."""
        options = {
            "--template": self.template or None,
            "--pooling": self.pooling or None,
            "--precision": self.precision,
            "--quantize": self.quantization,
            "--max-length": self.max_length,
            "--layers": self.layers,
        }
        return next((name for name, value in options.items() if value is not None), None)

    def variants(
        self, templates: Sequence[str], poolings: Sequence[Pooling], *, soft: bool, model: str
    ) -> list[TemplateAndPooling]:
        """The variants of a model, the product of both lists, each once; what is its own where there is no list.

        Args:
            templates: the model's own, as text.
            poolings: the model's own.
            soft: whether it has soft tokens; named templates then get ``{soft}`` behind them.
            model: for messages.

        Raises:
            ConfigError: ``soft`` pooling where no soft tokens stand behind the text.
        """
        found: list[TemplateAndPooling] = []
        for text in [template_text(name, soft=soft) for name in self.templates] or templates:
            there = available_poolings(text)
            for one in there if self.poolings == _ALL else self.poolings or poolings:
                if one not in there:
                    problem = f"its template {text!r} has none behind the text" if soft else "it has no soft tokens"
                    raise ConfigError(f"--poolings {one}: {model}: {problem}; use {', '.join(there)}, or all")
                found.append(TemplateAndPooling(text, one))
        return list(dict.fromkeys(found))


def parse_reading(
    *,
    template: Sequence[str],
    templates: str | None,
    pooling: Sequence[str],
    poolings: str | None,
    precision: str | None,
    quantize: str | None,
    max_length: int | None,
    layers: int | None,
    readout: str | None = None,
) -> ReadingOptions:
    """A reading from the options of the same names.

    Raises:
        ConfigError: a value that an option does not know, or an option given beside the one that lists several.
    """
    for name, one, several in (("--template", template, templates), ("--pooling", pooling, poolings)):
        if one and several is not None:
            raise ConfigError(f"{name} and {name}s were both given; give one of the two")
    _check_once("--template", template)
    for text in template:
        _checked("--template", partial(_parsed, text))
    _check_once("--pooling", pooling)
    names = list_templates() if templates == _ALL else _listed("--templates", templates)
    for name in names:
        _checked("--templates", partial(find_template, name))
    listed: Any = _ALL if poolings == _ALL else tuple(_listed("--poolings", poolings))
    for one in [] if listed == _ALL else listed:
        _one_of("--poolings", one)
    return ReadingOptions(
        template=tuple(template),
        pooling=tuple(_one_of("--pooling", one) for one in pooling),
        templates=tuple(names),
        poolings=listed,
        precision=_one_of("--precision", precision),
        quantization=_one_of("--quantize", quantize),
        max_length=max_length,
        layers=layers,
        readout=readout,
    )


def _listed(option: str, given: str | None) -> list[str]:
    """The names in a list with commas; none where it was not given."""
    if given is None:
        return []
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"{option} {given!r}: expected {_ALL}, or names with commas between them")
    _check_once(f"{option} {given}", names)
    return names


def _check_once(option: str, given: Sequence[str]) -> None:
    if twice := [one for one in given if given.count(one) > 1]:
        raise ConfigError(f"{option}: {twice[0]!r} stands twice; give every one once")


def _parsed(given: str) -> Template:
    return Template.parse(template_text(given, soft=False))


def _checked(option: str, look: Callable[[], object]) -> None:
    """Word what is wrong with a template as wrong with the option."""
    try:
        look()
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def _one_of(option: str, value: str | None) -> Any:
    """``value`` where the option knows it."""
    if value is not None and value not in _VALUES[option]:
        close = did_you_mean(value, _VALUES[option])
        raise ConfigError(f"{option} {value}: expected one of {', '.join(_VALUES[option])}{close}")
    return value
