"""Arguments and options that several verbs take in the same words."""

from collections.abc import Callable, Collection
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

Texts = Annotated[
    str, typer.Argument(help="Text file (a text a line), .jsonl/.csv/.tsv/.parquet, or - for standard input.")
]
Column = Annotated[str, typer.Option("--column", help="Column that holds the text, in files with columns.")]
Instruction = Annotated[
    str | None,
    typer.Option("--instruction", help="Task instruction; default: the checkpoint's, where it has one alone."),
]
Backbone = Annotated[
    str | None, typer.Option("--backbone", help="Where the checkpoint's backbone lies now, if it moved.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="What relative data paths start from; default: here.")]
Readout = Annotated[
    str | None,
    typer.Option(
        "--readout",
        metavar="none|KIND",
        help="none leaves the checkpoint's readout away; its own kind is the default.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Texts a forward pass.")]
Device = Annotated[str | None, typer.Option("--device", help="For example cuda; default: cuda where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

_Options = TypeVar("_Options")


def options_of(
    kind: type[_Options], *, but: Collection[str] = ()
) -> Callable[[Callable[[_Options], None]], Callable[..., None]]:
    """Make a verb of a function that takes all its options as one object.

    Args:
        kind: a dataclass; each field is an argument or option of typer, with its default.
        but: fields that this verb does not have; they keep their defaults.
    """

    def verb_of(function: Callable[[_Options], None]) -> Callable[..., None]:
        @wraps(function)
        def verb(**given: Any) -> None:
            function(kind(**given))

        made: Any = verb
        made.__signature__ = Signature(  # what typer reads
            [field for name, field in signature(kind).parameters.items() if name not in but], return_annotation=None
        )
        return verb

    return verb_of
