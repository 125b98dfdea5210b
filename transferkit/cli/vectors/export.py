"""``export``: a checkpoint -> a folder for sentence-transformers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transferkit.cli.options import Backbone, Quiet
from transferkit.progress import say


def export(
    model: Annotated[Path, typer.Argument(help="Checkpoint or run folder, or bundled-toy.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to make; it must not exist.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the decoder too, LoRA's adapters merged; needs no transferkit.")
    ] = False,
    baked: Annotated[
        bool,
        typer.Option("--baked", help="Write the decoder too, constant soft tokens baked in; needs no transferkit."),
    ] = False,
    instruction: Annotated[
        str | None, typer.Option("--instruction", help="For --merge and --baked: what all texts are read with.")
    ] = None,
    backbone: Backbone = None,
    push: Annotated[
        str | None, typer.Option("--push", help="Upload it to this repository of the hub, NAME/REPOSITORY.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a folder that sentence-transformers loads, and all that loads through it, with prompts and a model card.

    Example: transferkit export runs/adapt-... --to my-embedder

    Example: transferkit export runs/lora-... --to my-embedder --merge
    """
    from transferkit.exports.export import export as write

    console = Console(stderr=True, quiet=quiet)
    print(write(model, to, merge=merge, baked=baked, instruction=instruction, backbone=backbone, push=push))
    flag = "" if merge or baked else ", trust_remote_code=True"
    if push is not None:
        say(f"uploaded to {push}", console)
    say(f'load it: SentenceTransformer("{to}"{flag}); its README.md says more', console)
