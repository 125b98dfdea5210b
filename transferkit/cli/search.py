"""``search``: a question -> the nearest docstrings of this machine, or lines of a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from transferkit.cli.options import BatchSize, Column, Instruction
from transferkit.progress import say

if TYPE_CHECKING:
    from transferkit.embed.search import Hit

INDEX = Path("runs/search")  # where vectors are kept unless --index says otherwise


def search(
    question: Annotated[str, typer.Argument(help="What to look for, in words.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="Checkpoint or run folder; default: the demo's, else the bundled one."),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option("--texts", help="Search a text file (a text a line), .jsonl/.csv/.tsv/.parquet instead."),
    ] = None,
    column: Column = "text",
    package: Annotated[
        list[str] | None,
        typer.Option("--package", help="Only this package's docstrings; repeatable; the standard library is python."),
    ] = None,
    instruction: Instruction = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Results to show.")] = 5,
    index: Annotated[Path, typer.Option("--index", help="Folder that keeps the vectors.")] = INDEX,
    batch_size: BatchSize = 64,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a result.")] = False,
) -> None:
    """Search the docstrings of the packages on this machine, or a file of texts.

    The first search reads all texts, which takes minutes with a real decoder; later ones read only the question.

    Example: transferkit search "merge two tables on a key"
    """
    import json as json_module

    from transferkit.errors import ConfigError
    from transferkit.runs.checkpoint_folder import checkpoint_folder
    from transferkit.study.demo import adapted_checkpoint

    if not question.strip():
        raise ConfigError("search: the question is empty; write what to look for")
    if package and texts is not None:
        raise ConfigError(f"--package chooses among docstrings, and --texts {texts} searches a file; give one of them")
    from transferkit.embed.search import Index, docstring_entries, file_entries

    console = Console(stderr=True)
    checkpoint = checkpoint or adapted_checkpoint()
    checkpoint_folder(checkpoint)  # before the docstrings of this machine are read, which takes a minute
    entries = docstring_entries(index, packages=package or ()) if texts is None else file_entries(texts, column=column)
    vectors = Index(checkpoint, entries, folder=index, instruction=instruction, batch_size=batch_size, console=console)
    found = vectors.search(question, top=top)
    if json:
        for hit in found:
            print(json_module.dumps({"score": round(hit.score, 4), "name": hit.entry.name, "text": hit.entry.text}))
        return
    say(f"{len(entries):,} texts, read by {checkpoint}", console, style="dim")
    print_hits(found, Console())


def print_hits(hits: "list[Hit]", console: Console) -> None:
    """A line a result: cosine, name, text."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="dim")
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for hit in hits:
        table.add_row(f"{hit.score:.2f}", escape(hit.entry.name), escape(hit.entry.text))
    console.print(table)
