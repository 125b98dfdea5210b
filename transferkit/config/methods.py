"""What is known of the methods without importing one: the folder ``transferkit/methods/`` is the registry.

A method's class says its facts as ``facts = MethodFacts(...)``, with nothing but literals between the brackets. They
are read from the text of its file, because the file itself needs torch, and recipes, studies and tables do not.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from transferkit.errors import ConfigError, did_you_mean, one_of

Task = Literal["train", "adapt", "baseline"]
# Recipe keys that change neither what is learned nor how it is measured.
_WITHOUT_EFFECT = ("seed", "save_every", "tracking", "eval.batch_size", "eval.keep_states_gib")
_FOLDER = Path(__file__).resolve().parents[1] / "methods"


@dataclass(frozen=True)
class MethodFacts:
    """One method.

    Attributes:
        name: in records and tables, and as ``method`` of a baseline.
        task: the command that runs it.
        place: among the rows of a table; the lowest comes first.
        title: what sentences call it.
        kind: what its checkpoints are called; None: it leaves none.
        sections: of the recipe that it reads, of those that not every method reads.
        has_backbone: whether a frozen decoder embeds.
        has_encoder: whether a ready-made encoder does, a folder that the recipe names in a backbone's place.
        needs_source: whether it starts from a checkpoint of `train`.
        soft_tokens: whether it puts soft tokens into the template.
        learns: whether anything is trained.
        rereads: whether a checkpoint of it can be read behind other templates and in other poolings.
        alone: what rows call the part of it that embeds without its decoder; None: there is none.
        quantization: of its backbone, whatever the recipe says; None: the recipe's.
    """

    name: str
    task: Task
    place: int
    title: str
    kind: str | None
    sections: tuple[str, ...] = ()
    has_backbone: bool = True
    has_encoder: bool = False
    needs_source: bool = False
    soft_tokens: bool = False
    learns: bool = True
    rereads: bool = False
    alone: str | None = None
    quantization: Literal["nf4"] | None = None


_registered: dict[str, MethodFacts] = {}  # of classes that stand in no file of the folder


def register_facts(facts: MethodFacts) -> None:
    """Make a method known that stands outside of the folder."""
    _registered[facts.name] = facts


def all_methods() -> dict[str, MethodFacts]:
    """Name -> facts, in the order of tables."""
    found = {facts.name: facts for _, facts in _in_files()} | _registered
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def baseline_methods() -> list[str]:
    """Names that ``baseline --method`` takes."""
    return [name for name, facts in all_methods().items() if facts.task == "baseline"]


def method_facts(task: str, method: str | None) -> MethodFacts:
    """The method of a recipe: a baseline names it, ``train`` and ``adapt`` have one each.

    Raises:
        ValueError: a baseline without a method, or one that is not known; names the closest.
    """
    for name, facts in all_methods().items():
        if facts.task == task and (task != "baseline" or name == method):
            return facts
    known = baseline_methods()
    close = did_you_mean(method, known) if method is not None else ""
    raise ValueError(f"expected {one_of(known)}, got {method!r}{close}")


def leaves_checkpoint(name: str | None) -> bool:
    """Whether a run of the method of this name ends with a checkpoint; one that is not known is taken to."""
    facts = all_methods().get(name or "")
    return facts is None or facts.kind is not None


def facts_of_kind(kind: str) -> MethodFacts:
    """The method that opens checkpoints of a kind; of several that share it, one that loads any.

    Raises:
        ConfigError: a kind that no method has.
    """
    found = [facts for facts in all_methods().values() if facts.kind == kind]
    if not found:
        known = ", ".join(dict.fromkeys(one.kind for one in all_methods().values() if one.kind))
        raise ConfigError(f"checkpoint of kind {kind!r}: no method is called so; known kinds: {known}")
    return max(found, key=lambda facts: facts.needs_source)


def module_of(name: str) -> str | None:
    """Name of the module in ``transferkit/methods/`` that a method stands in; None: in none of them."""
    return next((module for module, facts in _in_files() if facts.name == name), None)


def take_a_source() -> str:
    """What sentences call the methods that start from a checkpoint of ``train``."""
    takers = [facts for facts in all_methods().values() if facts.needs_source]
    return " and ".join(facts.name if facts.task == "baseline" else facts.task for facts in takers)


def heeded(mapping: dict[str, Any]) -> dict[str, Any]:
    """A recipe's mapping without the sections that only other methods than its own read."""
    facts = method_facts(mapping["task"], mapping.get("method"))
    others = {section for other in all_methods().values() for section in other.sections} - set(facts.sections)
    return {key: value for key, value in mapping.items() if key not in others}


def what_counts(mapping: dict[str, Any]) -> dict[str, Any]:
    """What tells one experiment from another: :func:`heeded` without keys that change no vector and no score."""
    found = heeded(mapping)
    for key in _WITHOUT_EFFECT:
        section, _, name = key.partition(".")
        if not name:
            found.pop(section, None)
        elif isinstance(found.get(section), dict):
            found[section] = {inner: value for inner, value in found[section].items() if inner != name}
    return found


@cache
def _in_files() -> tuple[tuple[str, MethodFacts], ...]:
    """Module and facts of every ``MethodFacts(...)`` in the folder."""
    found = []
    for file in sorted(_FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == MethodFacts.__name__:
                values = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
                found.append((file.stem, MethodFacts(**values)))
    return tuple(found)
