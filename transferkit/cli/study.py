"""``study``: a file that lists runs -> the runs, and a convergence table a target."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from transferkit.cli.options import DataDir, Json
from transferkit.files.writable import check_writable
from transferkit.progress import say
from transferkit.request.named import check_named

if TYPE_CHECKING:
    from transferkit.convergence.comparison import Comparison
    from transferkit.study.plan import Planned

HELP = "Many runs from one file, and their tables: `study FILE` is `study run FILE`."


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY", help="YAML file that lists runs.")],
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="Where run folders are made; default: runs/ and the name of STUDY's folder."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder that gets a convergence report a target, when all runs are done."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Run no others; repeatable.")] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", help="Run no other seeds; repeatable.")] = None,
    data_dir: DataDir = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the runs and their state, run nothing.")] = False,
    json: Json = False,
) -> None:
    """Run everything that a comparison needs; finished runs are kept, interrupted ones continued.

    Example: transferkit study results/mixture/study.yaml --data-dir DATA --out report
    """
    from transferkit.study.plan import chosen, plan, short_name
    from transferkit.study.schema import read_study
    from transferkit.study.state import comparisons, record_folders, state_of

    read, folder = read_study(file), runs or Path("runs") / file.resolve().parent.name
    everything, records = plan(read, runs=folder, beside=file.parent), record_folders(read, folder)
    planned = chosen(everything, names=only, seeds=seed)
    if list_:
        _list(planned, json=json)
        return
    _check(planned, out, data_dir)
    from transferkit.convergence import compare
    from transferkit.convergence.report import write_comparison
    from transferkit.study.run import run_all
    from transferkit.training.distributed import is_main

    console = Console(stderr=True)
    with taken_up_again(console):
        run_all(planned, data_dir=data_dir, console=console, whole=everything, records=records)
    if not is_main():
        return
    whole = all(state_of(one.folder) == "done" for one in everything)
    if out is not None and not whole:
        say(f"some runs of the study are not done yet, so nothing is written into {out}", console)
    found = {target: compare(runs) for target, runs in comparisons(everything, records=records).items()}
    _print(found, planned, console, json=json)
    if out is not None and whole:
        for target, comparison in found.items():
            for path in write_comparison(comparison, out / short_name(target)):
                say(f"wrote {path}", console)


def _list(planned: "Sequence[Planned]", *, json: bool) -> None:
    from transferkit.report.raw import json_text

    runs = _states(planned)
    if json:
        print(json_text({"runs": runs}), end="")
        return
    for one in runs:
        print(f"{one['folder']}  {one['state']}")


def _states(planned: "Sequence[Planned]") -> list[dict[str, str]]:
    from transferkit.study.state import state_of

    return [{"folder": str(one.folder), "state": state_of(one.folder) or "not begun"} for one in planned]


def _print(found: "Mapping[str, Comparison]", planned: "Sequence[Planned]", console: Console, *, json: bool) -> None:
    """The tables, or one object with the runs and the table of each target."""
    from transferkit.convergence import tables
    from transferkit.report.raw import json_text

    if not found:
        console.print(
            "no table yet: none of the runs that are done embeds with a target, and each table is of one",
            soft_wrap=True,
        )
    if json:
        by_target = {target: tables.as_facts(comparison) for target, comparison in found.items()}
        print(json_text({"runs": _states(planned), "tables": by_target}), end="")
        return
    for comparison in found.values():
        tables.print_table(comparison, Console())


def _check(planned: "Sequence[Planned]", out: Path | None, data_dir: Path | None) -> None:
    """Refuse what is not there before the runs, which take hours."""
    from transferkit.study.state import state_of

    if out is not None:
        check_writable(out, option="--out")
    for one in planned:
        if state_of(one.folder) is None:
            check_named(one.recipe, data_dir=data_dir)


@contextmanager
def taken_up_again(console: Console) -> Iterator[None]:
    """Say, when the user interrupts, that nothing is lost; exit code 130."""
    from transferkit.training.signals import Interrupted

    try:
        yield
    except Interrupted:
        console.print("interrupted; the same command goes on where this one stopped")
        raise typer.Exit(130) from None
