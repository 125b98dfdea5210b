"""The keys of a recipe as Markdown tables, made from the schema, which alone says what they mean.

``python -m transferkit.config.reference recipes/README.md`` writes them into that file, each between its marks.
"""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from transferkit.config.datasets import ROLES
from transferkit.config.recipe import Recipe
from transferkit.config.schema import Strict, Unit

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false"}


class Key(NamedTuple):
    """One row: all but the name and the type may be empty."""

    name: str
    type: str
    default: str
    unit: str
    meaning: str


def keys(model: type[Strict], prefix: str = "", about: str = "") -> Iterator[Key]:
    """Everything that can be set in a model, in its order; ``[]`` follows the name of a list of sections.

    Args:
        model: the recipe, or a section of it.
        prefix: what stands before its keys.
        about: what a section is for, said before the meaning of each of its keys.
    """
    for name, field in model.model_fields.items():
        plain = _plain(field.annotation)
        is_list = get_origin(plain) is list
        inside = get_args(plain)[0] if is_list else plain
        section = inside if isinstance(inside, type) and issubclass(inside, Strict) else None
        if section is None or is_list:
            meaning = ": ".join(filter(None, [about, field.description]))
            yield Key(prefix + name, _choices(field) or _type(plain), _default(field), _unit(field), meaning)
        if section is not None:
            about_section = "" if is_list else field.description or ""
            yield from keys(section, f"{prefix}{name}{'[].' if is_list else '.'}", about_section)


def keys_table(model: type[Strict] = Recipe) -> str:
    """All keys of a model."""
    rows = [Key("key", "type", "default", "unit", "meaning"), Key(*["---"] * 5)]
    rows += [key._replace(name=f"`{key.name}`") for key in keys(model)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def roles_table() -> str:
    """Which roles each kind of set has; a column in brackets is read where it is not called as the role."""
    kinds: dict[str, list[str]] = {}
    for kind, roles in ROLES.items():
        row = ", ".join(f"`{role}`" + (f" (`{column}`)" if column != role else "") for role, column in roles.items())
        kinds.setdefault(row, []).append(f"`{kind}`")
    rows = [f"| {', '.join(names)} | {roles} |" for roles, names in kinds.items()]
    return "\n".join(["| kind | roles |", "| --- | --- |", *rows])


def with_tables(text: str) -> str:
    """``text`` with each table replaced by today's; a table stands between ``<!-- name -->`` and ``<!-- end -->``."""
    for name, table in (("keys", keys_table()), ("roles", roles_table())):
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        if mark:
            text = f"{before}{mark}{table}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


def _plain(annotation: Any) -> Any:
    """A type without ``None`` and without metadata."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        (plain,) = (part for part in get_args(annotation) if part is not type(None))
        return _plain(plain)
    return annotation


def _type(plain: Any) -> str:
    if get_origin(plain) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(plain))
    if get_origin(plain) is list:
        (item,) = get_args(plain)
        return f"list of {_type(item)}" if get_origin(item) is Literal else "list"
    return "mapping" if get_origin(plain) is dict else _WORDS[plain]


def _choices(field: FieldInfo) -> str:
    """What a field takes that is known when the program runs; empty where its type says it."""
    extra = field.json_schema_extra
    return ", ".join(f"`{choice}`" for choice in extra["choices"]) if isinstance(extra, dict) else ""  # type: ignore[union-attr]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default is None:
        return ""
    written = yaml.safe_dump(field.default, default_flow_style=True)  # a scalar is followed by the mark of an end
    return f"`{written.splitlines()[0]}`"


def _unit(field: FieldInfo) -> str:
    metadata = [*field.metadata, *(one for part in get_args(field.annotation) for one in get_args(part))]
    return next((one.name for one in metadata if isinstance(one, Unit)), "")


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(with_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
