"""Methods by name: the classes in the files of this folder, and those that were registered."""

from importlib import import_module

from transferkit.config.methods import MethodFacts, all_methods, module_of, register_facts
from transferkit.errors import ConfigError
from transferkit.methods.base import Embedder

_registered: dict[str, type[Embedder]] = {}


def register(method: type[Embedder]) -> type[Embedder]:
    """Make a method known that stands outside of this folder; a class decorator."""
    _registered[method.facts.name] = method
    register_facts(method.facts)
    return method


def method_class(facts: MethodFacts) -> type[Embedder]:
    """The class of a method.

    Raises:
        ConfigError: none is known by that name.
    """
    if facts.name in _registered:
        return _registered[facts.name]
    module = import_module(f"transferkit.methods.{module_of(facts.name)}")
    return next(
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Embedder) and getattr(one, "facts", None) == facts
    )


def class_of_kind(kind: str) -> type[Embedder]:
    """The class that opens checkpoints of a kind; of several methods that share it, one that loads any.

    Raises:
        ConfigError: a kind that no method has.
    """
    found = [facts for facts in all_methods().values() if facts.kind == kind]
    if not found:
        known = ", ".join(dict.fromkeys(one.kind for one in all_methods().values() if one.kind))
        raise ConfigError(f"checkpoint of kind {kind!r}: no method is called so; known kinds: {known}")
    return method_class(max(found, key=lambda facts: facts.needs_source))
