"""Arguments and options that several verbs take in the same words."""

from pathlib import Path
from typing import Annotated

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
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Texts a forward pass.")]
Device = Annotated[str | None, typer.Option("--device", help="For example cuda; default: cuda where there is one.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
