"""Methods by name: the classes in the files of this folder, and those that were registered."""

from importlib import import_module

from transferkit.config.methods import MethodFacts, all_methods, facts_of_kind, module_of, register_facts
from transferkit.errors import ConfigError
from transferkit.methods.base import Embedder

_registered: dict[str, type[Embedder]] = {}


def register(method: type[Embedder]) -> type[Embedder]:
    """Make a method known that stands outside of this folder; a class decorator.

    The same class again, as a notebook defines it, takes the place of the one before.

    Raises:
        ConfigError: another method has its name, the kind of its checkpoints or its command.
    """
    _check_free(method)
    _registered[method.facts.name] = method
    register_facts(method.facts)
    return method


def _check_free(method: type[Embedder]) -> None:
    own, before = method.facts, _registered.get(method.facts.name)
    again = before is not None and (before.__module__, before.__qualname__) == (method.__module__, method.__qualname__)
    if own.task != "baseline":
        raise ConfigError(f"{method.__name__}: `{own.task}` has its method already; the task must be 'baseline'")
    for other in all_methods().values():
        if again and other.name == own.name:
            continue
        for what, mine, taken in (("name", own.name, other.name), ("kind", own.kind, other.kind)):
            if mine is not None and mine == taken:
                raise ConfigError(
                    f"{method.__name__}: the {what} {mine!r} is taken by the method {other.name}; choose another one"
                )


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


def floors() -> list[type[Embedder]]:
    """Methods that ask for no model, neither a backbone nor a source: what any model must beat."""
    return [
        method_class(one)
        for one in all_methods().values()
        if not (one.has_backbone or one.has_encoder or one.needs_source or one.learns)
    ]


def class_of_kind(kind: str) -> type[Embedder]:
    """The class that opens checkpoints of a kind; see :func:`facts_of_kind`."""
    return method_class(facts_of_kind(kind))
