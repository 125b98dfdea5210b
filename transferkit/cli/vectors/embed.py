"""``embed``: texts of a file or standard input -> vectors in a file."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from transferkit.cli.options import (
    Backbone,
    BatchSize,
    Column,
    Device,
    Instruction,
    Json,
    Quiet,
    Readout,
    Space,
    Texts,
)
from transferkit.files.vectors.output import check_output
from transferkit.files.vectors.precision import Precision
from transferkit.progress import say
from transferkit.request.named import check_decoder, check_embedder, check_texts
from transferkit.runs.checkpoint_folder import checkpoint_folder

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
    space: Space = None,
    backbone: Backbone = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    truncate_dim: Annotated[
        int | None,
        typer.Option("--truncate-dim", min=1, help="Keep so many numbers of each vector, those that count most."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of the numbers; binary and ubinary pack eight signs into a byte.")
    ] = "float32",
    readout: Readout = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted output.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Embed texts, in their order, streaming. The file says what made it; search and --resume refuse another.

    Example: transferkit embed runs/adapt-... questions.txt --out questions.npy

    Example: transferkit embed runs/adapt-... texts.csv --out texts.parquet --truncate-dim 128 --precision int8
    """
    check_output(out, resume=resume)
    _check_models(checkpoint, space, backbone)
    check_texts(texts, column=column)
    from transferkit.embed.files import embed_file

    console = Console(stderr=True, quiet=quiet)
    count = embed_file(
        checkpoint,
        texts,
        out,
        column=column,
        instruction=instruction,
        side=side,
        space=space,
        backbone=backbone,
        batch_size=batch_size,
        device=device,
        truncate_dim=truncate_dim,
        precision=precision,
        readout=readout,
        resume=resume,
        console=console,
    )
    if json:
        _print_json(out)
    say(f"{count} vectors in {out}", console)


def _check_models(checkpoint: Path, space: Path | None, backbone: str | None) -> None:
    """Refuse those that are not there."""
    checkpoint_folder(checkpoint)
    if space is not None:
        check_embedder(space)
    if backbone is not None:
        check_decoder(backbone)


def _print_json(out: Path) -> None:
    """The file, and what it says of itself."""
    from dataclasses import asdict

    from transferkit.files.vectors.origin import read_origin
    from transferkit.report.raw import json_text

    origin = read_origin(out, where=str(out))
    print(json_text({"out": str(out), **({} if origin is None else asdict(origin))}), end="")
