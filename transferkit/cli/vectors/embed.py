"""``embed``: texts of a file or standard input -> vectors in a file."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from transferkit.cli.options import Backbone, BatchSize, Column, Device, Instruction, Json, Quiet, Readout, Texts
from transferkit.progress import say

Side = Literal["query", "document"]


def embed(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint or run folder.")],
    texts: Texts,
    out: Annotated[Path, typer.Option("--out", help="Where to write: .npy, .parquet or .jsonl.")],
    column: Column = "text",
    instruction: Instruction = None,
    side: Annotated[
        Side | None,
        typer.Option("--side", help="What the texts are: query for questions, document for what is to be found."),
    ] = None,
    backbone: Backbone = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    readout: Readout = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted output.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Embed texts, in their order, streaming. The file says what made it; search and --resume refuse another.

    Example: transferkit embed runs/adapt-... questions.txt --out questions.npy
    """
    from transferkit.embed.files import embed_file

    console = Console(stderr=True, quiet=quiet)
    count = embed_file(
        checkpoint,
        texts,
        out,
        column=column,
        instruction=instruction,
        side=side,
        backbone=backbone,
        batch_size=batch_size,
        device=device,
        readout=readout,
        resume=resume,
        console=console,
    )
    if json:
        _print_json(out)
    say(f"{count} vectors in {out}", console)


def _print_json(out: Path) -> None:
    """The file, and what it says of itself."""
    from dataclasses import asdict

    from transferkit.files.vectors.origin import read_origin
    from transferkit.report.raw import json_text

    origin = read_origin(out, where=str(out))
    print(json_text({"out": str(out), **({} if origin is None else asdict(origin))}), end="")
