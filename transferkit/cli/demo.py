"""``demo``: the whole idea in minutes, offline, on the docstrings of this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transferkit.progress import say


def demo(
    train: Annotated[
        bool,
        typer.Option("--train", help="Train the source first instead of taking the bundled one (needs --data-dir)."),
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="With --train: folder of the source's training data.")
    ] = None,
    runs: Annotated[
        Path,
        typer.Option("--runs", help="Where run folders and the report are made; another folder gets the index too."),
    ] = Path("runs/demo"),
) -> None:
    """Carry the bundled skill to a decoder that it never saw, beside LoRA and every other row, then search with it.

    Needs no network and no GPU. Run it again after an interruption: what is done is kept.

    Example: transferkit demo
    """
    import shlex

    from transferkit.errors import ConfigError

    if train and data_dir is None:
        raise ConfigError(
            "--train: the source was trained on files; name their folder with --data-dir (results/README.md lists them)"
        )
    from transferkit.cli.search import INDEX, print_hits
    from transferkit.cli.study import taken_up_again
    from transferkit.convergence import compare, tables
    from transferkit.convergence.report import write_comparison
    from transferkit.embed.search import Index, docstring_entries
    from transferkit.files.writable import check_writable
    from transferkit.study.demo import QUESTION, RUNS, adapted_checkpoint, planned_runs, run_demo
    from transferkit.training.distributed import is_main

    console = Console(stderr=True)
    index = INDEX if runs == RUNS else runs / "search"
    for folder in (runs, index):  # before the runs, which take minutes
        check_writable(folder)
    with taken_up_again(console):
        rows = run_demo(planned_runs(runs, train=train), data_dir=data_dir, console=console)
    if not is_main():
        return
    comparison = compare(rows)
    report = write_comparison(comparison, runs / "report")
    tables.print_table(comparison, Console())
    checkpoint = adapted_checkpoint(runs)
    command = f'transferkit search "{QUESTION}"'
    if runs != RUNS:
        command += f" --checkpoint {shlex.quote(str(checkpoint))} --index {shlex.quote(str(index))}"
    found = Index(checkpoint, docstring_entries(index), folder=index, again=f"`{command}`", console=console)
    out = Console()
    say(f"\nWith the adapted decoder: {command}", out)
    print_hits(found.search(QUESTION), out)
    say(f"\nreport: {report[-1]}", out)
