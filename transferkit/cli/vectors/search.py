"""``search``: a question -> the nearest docstrings of this machine, or lines of a file."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from transferkit.cli.options import BatchSize, Column, Instruction, Readout, Space
from transferkit.embed import INDEX
from transferkit.errors import ConfigError
from transferkit.progress import plain, say

if TYPE_CHECKING:
    from transferkit.checkpoints.opening import Opening
    from transferkit.embed.search import Hit, Nearest


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
    vectors: Annotated[
        Path | None,
        typer.Option("--vectors", help="Search vectors that embed made; for .npy --texts names their texts."),
    ] = None,
    space: Space = None,
    package: Annotated[
        list[str] | None,
        typer.Option("--package", help="Only this package's docstrings; repeatable; the standard library is python."),
    ] = None,
    instruction: Instruction = None,
    readout: Readout = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Results to show.")] = 5,
    index: Annotated[Path, typer.Option("--index", help="Folder that keeps the vectors.")] = INDEX,
    batch_size: BatchSize = 64,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a result.")] = False,
) -> None:
    """Search the docstrings of the packages on this machine, or a file of texts.

    The first search reads all texts, which takes minutes with a real decoder; later ones read only the question.

    Example: transferkit search "merge two tables on a key"

    Example: transferkit search "a broken invoice" --checkpoint runs/adapt-... --vectors passages.parquet
    """
    from transferkit.checkpoints.instructions import say_cut
    from transferkit.runs.checkpoint_folder import checkpoint_folder
    from transferkit.study.demo import adapted_checkpoint

    _check(question, texts, vectors, package, space)
    console = Console(stderr=True)
    checkpoint = checkpoint or adapted_checkpoint()
    checkpoint_folder(checkpoint)  # before the docstrings of this machine are read, which takes a minute
    nearest = (
        _index(checkpoint, texts, column, package or (), index, instruction, readout, batch_size, console)
        if vectors is None
        else _of_vectors(checkpoint, vectors, texts, column, instruction, {"readout": readout, "space": space}, console)
    )
    found = nearest.search(question, top=top)
    say_cut(nearest.embedder, console)
    if json:
        _print_json(found)
        return
    say(f"{len(nearest.entries):,} texts, read by {checkpoint}", console, style="dim")
    print_hits(found, Console())


def _check(
    question: str, texts: str | None, vectors: Path | None, package: Sequence[str] | None, space: Path | None
) -> None:
    """Refuse what does not go together."""
    if not question.strip():
        raise ConfigError("search: the question is empty; write what to look for")
    if package and (texts is not None or vectors is not None):
        given = f"--texts {texts} searches a file" if vectors is None else f"--vectors {vectors} searches that file"
        raise ConfigError(f"--package chooses among docstrings, and {given}; give one of them")
    if space is not None and vectors is None:
        raise ConfigError(f"--space {space}: searches vectors of an older embedder; name them with --vectors FILE")


def _index(
    checkpoint: Path,
    texts: str | None,
    column: str,
    packages: Sequence[str],
    folder: Path,
    instruction: str | None,
    readout: str | None,
    batch_size: int,
    console: Console,
) -> "Nearest":
    from transferkit.embed.search import Index, docstring_entries, file_entries

    entries = docstring_entries(folder, packages=packages) if texts is None else file_entries(texts, column=column)
    return Index(
        checkpoint,
        entries,
        folder=folder,
        instruction=instruction,
        readout=readout,
        batch_size=batch_size,
        console=console,
    )


def _of_vectors(
    checkpoint: Path,
    vectors: Path,
    texts: str | None,
    column: str,
    instruction: str | None,
    opening: "Opening",
    console: Console,
) -> "Nearest":
    from transferkit.embed.kept_vectors import KeptIndex, read_kept

    kept = read_kept(vectors, texts=texts, column=column)
    return KeptIndex(checkpoint, kept, instruction=instruction, console=console, **opening)


def _print_json(hits: "list[Hit]") -> None:
    for hit in hits:
        print(dumps({"score": round(hit.score, 4), "name": hit.entry.name, "text": hit.entry.text}))


def print_hits(hits: "list[Hit]", console: Console) -> None:
    """A line a result: cosine, name, text."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="dim")
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for hit in hits:
        table.add_row(f"{hit.score:.2f}", plain(hit.entry.name), plain(hit.entry.text))
    console.print(table)
