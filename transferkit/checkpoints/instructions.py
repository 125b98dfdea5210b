"""Which methods read an instruction, and what is said where one was left away or changes nothing."""

from collections.abc import Iterable

from rich.console import Console

from transferkit.config.poolings import of_states
from transferkit.config.template import Template
from transferkit.methods.baselines import PromptingAlone
from transferkit.methods.embedder import BackboneEmbedder, Embedder, PromptEmbedder
from transferkit.progress import warn


def reads_instruction(embedder: Embedder) -> bool:
    """Whether an instruction can change a vector."""
    if isinstance(embedder, BackboneEmbedder) and of_states(embedder.pooling) is None:
        return False
    templates = [embedder.backbone.template.source] if isinstance(embedder, BackboneEmbedder) else []
    return can_read_instruction(templates, prompting=isinstance(embedder, PromptEmbedder | PromptingAlone))


def can_read_instruction(templates: Iterable[str], *, prompting: bool) -> bool:
    """The same of a model that is not loaded: a Prompting LLM reads it, or one of the templates holds it."""
    return prompting or any("{instruction}" in Template.parse(template).parts for template in templates)


def warn_of_instruction(embedder: Embedder, given: str | None, console: Console) -> None:
    """Say that the one given is not read; or, where none was given, which ones a checkpoint was trained with.

    With one alone, that one is taken, and nothing is said.
    """
    known = sorted(set(embedder.instructions.values()))
    if not reads_instruction(embedder):
        message = "this model reads no instruction, so --instruction changes nothing" if given else ""
    else:
        shown = "; ".join(map(repr, known))
        several = given is None and len(known) > 1
        trained = f"this checkpoint was trained with {shown}"
        message = f"no --instruction given; {trained}; none is used; choose one with --instruction" if several else ""
    if message:
        warn(message, console)
