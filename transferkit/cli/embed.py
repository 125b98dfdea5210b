"""``embed``: texts of a file or standard input -> vectors in a file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def embed(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint or run folder.")],
    texts: Annotated[
        str, typer.Argument(help="Text file (a text a line), .jsonl/.csv/.tsv/.parquet, or - for standard input.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Where to write: .npy, .parquet or .jsonl.")],
    column: Annotated[
        str, typer.Option("--column", help="Column that holds the text, in files with columns.")
    ] = "text",
    instruction: Annotated[
        str | None,
        typer.Option("--instruction", help="Task instruction; default: the checkpoint's, where it has one alone."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the same backbone lies now, if it moved.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts a forward pass.")] = 64,
    device: Annotated[
        str | None, typer.Option("--device", help="For example cuda; default: cuda where there is one.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Embed texts, in their order, streaming.

    Example: transferkit embed runs/adapt-... questions.txt --out questions.npy
    """
    from transferkit.embed_files import embed_file

    console = Console(stderr=True, quiet=quiet)
    count = embed_file(
        checkpoint,
        texts,
        out,
        column=column,
        instruction=instruction,
        backbone=backbone,
        batch_size=batch_size,
        device=device,
        resume=resume,
        console=console,
    )
    console.print(f"{count} vectors in {out}", markup=False, highlight=False)
