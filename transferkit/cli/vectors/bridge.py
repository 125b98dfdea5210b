"""``bridge``: a map from a new embedder's vectors to an old one's, so that an index need not be embedded again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from transferkit.cli.options import BatchSize, Column, Device, Json, Quiet
from transferkit.embed import INDEX
from transferkit.files.writable import check_new_file, check_writable
from transferkit.progress import say
from transferkit.request.named import check_embedder, check_texts
from transferkit.runs.checkpoint_folder import checkpoint_folder

if TYPE_CHECKING:
    from transferkit.bridges.build import Bridge


def bridge(
    old: Annotated[
        Path, typer.Argument(help="Checkpoint or run folder whose index you keep, or a file of vectors that it made.")
    ],
    new: Annotated[Path, typer.Argument(help="Checkpoint or run folder that reads from now on.")],
    texts: Annotated[
        str | None,
        typer.Option("--texts", help="Texts of the kind that you search; left out: those that the file carries."),
    ] = None,
    column: Column = "text",
    to: Annotated[
        Path | None, typer.Option("--to", help="New folder for the map; default: in the new run folder.")
    ] = None,
    index: Annotated[Path, typer.Option("--index", help="Folder that keeps the vectors.")] = INDEX,
    batch_size: BatchSize = 64,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep an index when the decoder changes: fit a linear map from NEW's vectors to OLD's on texts without labels.

    It says how much of OLD's ranking is kept of texts that it was not fitted on.

    Example: transferkit bridge runs/adapt-old... runs/adapt-new... --texts passages.txt

    Example: transferkit bridge passages.parquet runs/adapt-new...
    """
    import json as json_module

    check_embedder(old)
    checkpoint_folder(new)
    if texts is not None:
        check_texts(texts, column=column)
    if to is not None:
        check_new_file(to, option="--to")
    check_writable(index, option="--index")
    from transferkit.bridges.build import bridge as build

    console = Console(stderr=True, quiet=quiet)
    made = build(
        old, new, texts=texts, column=column, to=to, index=index, batch_size=batch_size, device=device, console=console
    )
    if json:
        print(json_module.dumps({"folder": str(made.folder), **made.space.model_dump()}))
        return
    _show(made, old, new, console, given=to is not None)


def _show(made: "Bridge", old: Path, new: Path, console: Console, *, given: bool) -> None:
    from transferkit.bridges.build import advice

    kept = made.space.kept
    say(f"map in {made.folder}: fitted on {made.space.texts:,} texts, ridge {made.space.ridge:g}", console)
    say(
        f"of {kept.texts:,} other texts' ten nearest {kept.nearest:.1f} % are kept (error {kept.nearest_error:.1f}), "
        f"the nearest of all {kept.first:.1f} % (error {kept.first_error:.1f})",
        console,
    )
    say(advice(made.space), console)
    space = made.folder if given else old
    say(f"next: transferkit embed {new} FILE --space {space} --side document --out more.parquet", console)
    say(f"   or: transferkit search QUESTION --checkpoint {new} --space {space} --vectors OLD_VECTORS", console)
