"""``search``: questions -> the nearest docstrings of this machine, or lines of a file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from transferkit.cli.options import BatchSize, Column, Device, Instruction, Readout, Space
from transferkit.cli.vectors.asking import as_json, check_question, print_hits, questions, said_of
from transferkit.data.installed_docs import check_packages
from transferkit.embed import INDEX
from transferkit.errors import ConfigError
from transferkit.files.vectors.reading import check_vector_file
from transferkit.files.writable import check_writable
from transferkit.progress import say
from transferkit.request.named import check_embedder, check_texts
from transferkit.runs.checkpoint_folder import checkpoint_folder
from transferkit.study.demo import adapted_checkpoint

if TYPE_CHECKING:
    from transferkit.checkpoints.opening import Opening
    from transferkit.embed.search import Nearest

Question = Annotated[
    str | None,
    typer.Argument(
        help="What to look for, in words; left out: asked for in a loop, or read from a pipe, a line each.",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Checkpoint or run folder; default: the demo's, else bundled-toy."),
]
SearchedTexts = Annotated[
    str | None,
    typer.Option("--texts", help="Search a text file (a text a line), .jsonl/.csv/.tsv/.parquet instead."),
]
SearchedVectors = Annotated[
    Path | None,
    typer.Option("--vectors", help="Search vectors that embed made; for .npy --texts names their texts."),
]
Packages = Annotated[
    list[str] | None,
    typer.Option("--package", help="Only this package's docstrings; repeatable; the standard library is python."),
]
Top = Annotated[int, typer.Option("--top", min=1, help="Results to show.")]
IndexFolder = Annotated[Path, typer.Option("--index", help="Folder that keeps the vectors.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a result, with its question.")]


def search(
    question: Question = None,
    checkpoint: Checkpoint = None,
    texts: SearchedTexts = None,
    column: Column = "text",
    vectors: SearchedVectors = None,
    space: Space = None,
    package: Packages = None,
    instruction: Instruction = None,
    readout: Readout = None,
    top: Top = 5,
    index: IndexFolder = INDEX,
    batch_size: BatchSize = 64,
    device: Device = None,
    json: Json = False,
) -> None:
    """Search the docstrings of the packages on this machine, or a file of texts; other columns of its rows are shown.

    The first search reads all texts, which takes minutes with a real decoder; later ones read only the question.
    Without QUESTION the model stays loaded for one question after the other; Ctrl-D ends.

    A result with * stands out: so near the nearest of as many unrelated texts comes one time in twenty, by the cosines
    of these texts two by two. Without any * what you look for may not be there; of fewer than 20 texts none is marked.

    Example: transferkit search "merge two tables on a key"

    Example: transferkit search "a broken invoice" --checkpoint runs/adapt-... --vectors passages.parquet

    Example: transferkit search --texts tickets.csv --checkpoint runs/adapt-... < questions.txt
    """
    check_question(question, texts=texts)
    _check_places(texts, column, vectors, space, package)
    checkpoint = checkpoint or adapted_checkpoint()
    checkpoint_folder(checkpoint)  # before the docstrings of this machine are read, which takes a minute
    if vectors is None and not index.is_dir():  # in one that is there nothing may be left to write
        check_writable(index, option="--index")
    console = Console(stderr=True)
    opening: Opening = {"device": device, "readout": readout, "space": space}
    nearest = (
        _index(checkpoint, texts, column, package or (), index, instruction, batch_size, opening, console)
        if vectors is None
        else _of_vectors(checkpoint, vectors, texts, column, instruction, opening, console)
    )
    if not json:
        say(f"{len(nearest.entries):,} texts, read by {checkpoint}", console, style="dim")
    for one in questions(question, console):
        _answer(one, nearest, top, console, alone=question is not None, json=json)


def _answer(question: str, nearest: "Nearest", top: int, console: Console, *, alone: bool, json: bool) -> None:
    """Print what is found for a question; what came through a pipe with others is shown above it."""
    from transferkit.checkpoints.instructions import say_cut

    found, out = nearest.search(question, top=top), Console()
    say_cut(nearest.embedder, console)
    if json:
        for hit in found:
            print(as_json(question, hit), flush=True)
        return
    if not alone and not sys.stdin.isatty():
        say(question, out, style="bold")
    print_hits(found, out)
    if (meaning := said_of(found)) is not None:
        say(meaning, console, style="dim")


def _check_places(
    texts: str | None, column: str, vectors: Path | None, space: Path | None, package: Sequence[str] | None
) -> None:
    """Refuse options that do not go together, and files that are not there."""
    if package and (texts is not None or vectors is not None):
        given = f"--texts {texts} searches a file" if vectors is None else f"--vectors {vectors} searches that file"
        raise ConfigError(f"--package chooses among docstrings, and {given}; give one of them")
    check_packages(package or ())
    if space is not None and vectors is None:
        raise ConfigError(f"--space {space}: searches vectors of an older embedder; name them with --vectors FILE")
    if vectors is not None:
        check_vector_file(vectors, where=f"--vectors {vectors}")
    if texts is not None:
        check_texts(texts, column=column)
    if space is not None:
        check_embedder(space)


def _index(
    checkpoint: Path,
    texts: str | None,
    column: str,
    packages: Sequence[str],
    folder: Path,
    instruction: str | None,
    batch_size: int,
    opening: "Opening",
    console: Console,
) -> "Nearest":
    from transferkit.embed.search import Index, docstring_entries, file_entries

    entries = docstring_entries(folder, packages=packages) if texts is None else file_entries(texts, column=column)
    return Index(
        checkpoint,
        entries,
        folder=folder,
        instruction=instruction,
        batch_size=batch_size,
        console=console,
        **opening,
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
