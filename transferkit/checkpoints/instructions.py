"""What is said where an instruction was left away or changes nothing, and of texts that were too long."""

from rich.console import Console

from transferkit.decoder.tokens import cut_in_words
from transferkit.methods.base import Embedder
from transferkit.methods.described import Side
from transferkit.progress import warn


def warn_of_instruction(
    embedder: Embedder, given: str | None, console: Console, *, side: Side | None = "query"
) -> None:
    """Say that the one given is not read; or, where none was given, which ones a checkpoint was trained with.

    With one alone, that one is taken, and nothing is said, but where ``side`` is None and the other one has another.
    """
    both = {"query": embedder.instructions, "document": embedder.document_instructions}
    known = sorted(set(both[side or "query"].values()))
    if given is None and side is None and embedder.has_sides:
        warn(
            "this checkpoint reads questions and documents with different instructions; the texts are taken for "
            "questions; for texts that are to be found: --side document",
            console,
        )
    if not embedder.reads_instruction:
        message = "this model reads no instruction, so --instruction changes nothing" if given else ""
    else:
        several = given is None and len(known) > 1
        shown = f"{known[0]!r} and {len(known) - 1} more" if several else ""
        trained = f"this checkpoint was trained with {shown}; choose one with --instruction"
        message = f"no --instruction given, so none is used; {trained}" if several else ""
    if message:
        warn(message, console)


def say_cut(embedder: Embedder, console: Console) -> None:
    """Say how many texts were longer than its models read, since this was said last."""
    for sentence in cut_in_words([one.take() for one in embedder.cut_texts()]):
        warn(sentence, console)
