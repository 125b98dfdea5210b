"""``compare``: run folders -> convergence table, pictures and report."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transferkit.progress import say, warn


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of one target and one data set.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for table.md/.csv/.json, curves, scores and report.html.")
    ] = None,
    allow_unfinished: Annotated[
        bool, typer.Option("--allow-unfinished", help="Take runs that are not done, marked.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Convergence table over runs: steps, examples, tokens, seconds and memory to fractions of LoRA's best score.

    Example: transferkit compare runs/adapt-* runs/lora-* runs/frozen-* --out report
    """
    from transferkit.convergence import compare as compare_runs
    from transferkit.convergence import tables
    from transferkit.runs.folder import read_run

    console = Console(stderr=True)
    # `runs/*` also names the index of a search, and what a kill left before a run wrote of itself.
    others = [folder for folder in runs if folder.is_dir() and not (folder / "record.json").exists()]
    if others and len(others) < len(runs):
        warn(f"left out, for no run is in it: {', '.join(map(str, others))}", console)
        runs = [folder for folder in runs if folder not in others]
    comparison = compare_runs([read_run(folder) for folder in runs], allow_unfinished=allow_unfinished)
    if json:
        print(tables.to_json(comparison), end="")
    else:
        tables.print_table(comparison, Console())
    if out is not None:
        from transferkit.convergence.report import write_comparison

        for path in write_comparison(comparison, out):
            say(f"wrote {path}", console)
