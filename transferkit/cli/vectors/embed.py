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
    append: Annotated[bool, typer.Option("--append", help="Behind those of a .parquet file made likewise.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Embed texts, in their order, streaming. The file says what made it; search, --append and --resume refuse another.

    Example: transferkit embed runs/adapt-... questions.txt --out questions.npy

    Example: transferkit embed runs/adapt-... texts.csv --out texts.parquet --truncate-dim 128 --precision int8

    Example: transferkit embed runs/adapt-... more.csv --out texts.parquet --append
    """
    check_output(out, resume=resume, append=append)
    _check_inputs(checkpoint, space, backbone, texts, column)
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
        append=append,
        console=console,
    )
    _tell(out, count, json=json, console=console)


def _check_inputs(checkpoint: Path, space: Path | None, backbone: str | None, texts: str, column: str) -> None:
    """Refuse those that are not there."""
    checkpoint_folder(checkpoint)
    if space is not None:
        check_embedder(space)
    if backbone is not None:
        check_decoder(backbone)
    check_texts(texts, column=column)


def _tell(out: Path, count: int, *, json: bool, console: Console) -> None:
    """The file, and with ``json`` what it says of itself."""
    if json:
        from dataclasses import asdict

        from transferkit.files.vectors.origin import read_origin
        from transferkit.report.raw import json_text

        origin = read_origin(out, where=str(out))
        print(json_text({"out": str(out), **({} if origin is None else asdict(origin))}), end="")
    say(f"{count} vectors in {out}", console)
