"""YAML text -> validated frozen object, every mistake reported as one sentence with file and key path."""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from transferkit.errors import ConfigError, did_you_mean, with_article


class Strict(BaseModel):
    """Base of specs and recipes: immutable, no unknown keys, no silent conversion (text is never a number)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Unit:
    """What a number counts, as ``Annotated`` metadata of a key: the reference of the keys names it."""

    name: str


Model = TypeVar("Model", bound=Strict)
_MOST_VALUES, _DEEPEST = 100_000, 50  # of a YAML file; the largest recipe has some three hundred, ten levels deep


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice; plain YAML would keep the last one without a word.

    What is nested too deeply is refused while it is read: to read on takes ever longer.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth > _DEEPEST:
            problem = f"nested deeper than {_DEEPEST} levels"
            raise yaml.constructor.ConstructorError(None, None, problem, self.peek_event().start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`: what is written beside it wins
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                problem = f"key {key!r} is written twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Writes what :class:`_UniqueKeyLoader` reads back, so text that looks like a number gets quotes."""


_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")
# A date without quotes is text, and what JSON has no word for is refused: recipes and studies are handed on as JSON.
_NOT_IN_JSON = {f"tag:yaml.org,2002:{name}" for name in ("binary", "omap", "pairs", "set", "timestamp")}
_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_IN_JSON]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.yaml_constructors = {
    tag: construct for tag, construct in yaml.SafeLoader.yaml_constructors.items() if tag not in _NOT_IN_JSON
}

for _class in (_UniqueKeyLoader, _Dumper):  # YAML 1.1 reads 1e-3 as text, YAML 1.2 as the number that is meant
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, a folder, not UTF-8, not YAML (with line and column), a key twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; check its name and folder") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, expected a YAML file; name the one that you mean in it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return parse_yaml(text, where=str(path))


def parse_yaml(text: str, *, where: str) -> dict[str, Any]:
    """The mapping in YAML text; ``where`` names it in errors (see :func:`read_yaml`)."""
    try:
        value = deepcopy(_loaded(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two from numbers that are none
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    except (LookupError, AttributeError, TypeError):  # what PyYAML stumbles over in `!!int _`, `!!bool x`
        raise ConfigError(
            f"{where}: not valid YAML: a value does not fit its tag (!!...); leave the tag away"
        ) from None
    except RecursionError:
        raise ConfigError(f"{where}: not valid YAML: nested too deeply") from None
    if not isinstance(value, dict):
        got = "an empty file" if value is None else with_article(type(value).__name__)
        raise ConfigError(f"{where}: expected a mapping of keys to values, got {got}")
    return value


@lru_cache(maxsize=512)  # PyYAML is slow, and a study reads one recipe for every run, seed and target
def _loaded(text: str) -> Any:
    loader = _UniqueKeyLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _unfolded(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _unfolded(node: yaml.Node, known: dict[int, int]) -> int:
    """Values that a node stands for once every alias is written out: a few lines can stand for billions.

    Raises:
        yaml.constructor.ConstructorError: too many, or a node inside itself.
    """
    if id(node) in known:
        count = known[id(node)]
        if not count:
            raise yaml.constructor.ConstructorError(
                None, None, "an alias stands inside of what it names", node.start_mark
            )
        return count
    known[id(node)] = 0  # until it is known
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [one for pair in node.value for one in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    count = 1 + sum(_unfolded(one, known) for one in inner)
    if count > _MOST_VALUES:
        problem = f"stands for more than {_MOST_VALUES:,} values once its aliases are written out"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    known[id(node)] = count
    return count


def dump_yaml(mapping: dict[str, Any]) -> str:
    """YAML text of a mapping, keys in their own order, readable back by :func:`parse_yaml`."""
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def parse(
    model: type[Model], mapping: dict[str, Any], *, where: str, changed: Mapping[str, str] | None = None
) -> Model:
    """``mapping`` as a validated ``model``.

    Args:
        model: of the mapping.
        mapping: keys to values.
        where: names it in errors.
        changed: key path -> what names the value there instead.

    Raises:
        ConfigError: one sentence for the first mistake (where, key path, what was expected, what it got) and
            the number of further mistakes.
    """
    try:
        return model.model_validate(mapping)
    except ValidationError as error:
        # An unknown key first: it is often the misspelt name of one that is then missing.
        problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        place = _changed_at([str(part) for part in problems[0]["loc"]], changed or {}) or where
        raise ConfigError(f"{place}: {_sentence(model, dict(problems[0]))}{more}") from None


def _changed_at(path: list[str], changed: Mapping[str, str]) -> str | None:
    """What names a value there, above it, or, of a section that does not go together, in it."""
    above = (".".join(path[:depth]) for depth in range(len(path), 0, -1))
    inside = (key for key in changed if key.startswith(".".join([*path, ""])))
    return next((changed[key] for key in (*above, *inside) if key in changed), None)


_EXPECTED = {  # pydantic's error type -> words
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def _sentence(model: type[Strict], problem: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    kind, got, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = keys_at(model, problem["loc"][:-1])
        key = str(problem["loc"][-1])
        allowed = "" if did_you_mean(key, known) else f"; allowed: {', '.join(known)}"
        return f"{path}: unknown key {key!r}{did_you_mean(key, known)}{allowed}"
    if kind == "missing":
        return f"{path}: this key is missing"
    if kind == "literal_error":
        allowed_values = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        close = did_you_mean(got, allowed_values) if isinstance(got, str) else ""
        return f"{path}: expected {context['expected']}, got {got!r}{close}"
    if kind == "value_error":
        return f"{path}: {context['error']}" if path else str(context["error"])
    if kind in _EXPECTED:
        return f"{path}: expected {_EXPECTED[kind]}, got {_describe(got)}"
    return f"{path}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {got!r}"


def _describe(value: Any) -> str:
    return f"the text {value!r}" if isinstance(value, str) else "nothing" if value is None else repr(value)


def keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names of the keys allowed at ``location`` inside ``model``; list positions and union branches are skipped."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = _model_inside(field.annotation) or model
    return list(model.model_fields)


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_inside(argument)) is not None:
            return found
    return None


def flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """``section.key`` -> value; items of a list by their position."""
    return dict(_flat("", mapping))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and value:
        items = enumerate(value)
    else:
        yield prefix, value
        return
    for key, item in items:
        yield from _flat(f"{prefix}.{key}" if prefix else str(key), item)
