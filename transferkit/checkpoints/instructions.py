"""What is said where an instruction was left away or changes nothing."""

from rich.console import Console

from transferkit.methods.base import Embedder
from transferkit.progress import warn


def warn_of_instruction(embedder: Embedder, given: str | None, console: Console) -> None:
    """Say that the one given is not read; or, where none was given, which ones a checkpoint was trained with.

    With one alone, that one is taken, and nothing is said.
    """
    known = sorted(set(embedder.instructions.values()))
    if not embedder.reads_instruction:
        message = "this model reads no instruction, so --instruction changes nothing" if given else ""
    else:
        shown = "; ".join(map(repr, known))
        several = given is None and len(known) > 1
        trained = f"this checkpoint was trained with {shown}"
        message = f"no --instruction given; {trained}; none is used; choose one with --instruction" if several else ""
    if message:
        warn(message, console)
