"""``export``: a checkpoint -> a folder for sentence-transformers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transferkit.cli.options import Quiet
from transferkit.progress import say


def export(
    model: Annotated[Path, typer.Argument(help="Checkpoint or run folder, or bundled.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to make; it must not exist.")],
    quiet: Quiet = False,
) -> None:
    """Write a folder that sentence-transformers loads, and all that loads through it, with prompts and a model card.

    Example: transferkit export runs/adapt-... --to my-embedder
    """
    from transferkit.exports.export import export as write

    console = Console(stderr=True, quiet=quiet)
    print(write(model, to))
    say(f'load it: SentenceTransformer("{to}", trust_remote_code=True); its README.md says more', console)
