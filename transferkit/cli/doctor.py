"""``doctor``: whether this machine can do the work, and what to do where it cannot."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from transferkit.progress import plain, say

if TYPE_CHECKING:
    from transferkit.doctor.findings import Finding

_STYLES = {"ok": "green", "note": "yellow", "wrong": "bold red", "skipped": "dim"}


def doctor(
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which runs are to be made.")] = Path("runs"),
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing of the network.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a finding.")] = False,
) -> None:
    """Look at versions, devices, 4-bit kernels, memory, disk, caches and network; exit 1 where something is wrong.

    Takes a few seconds and reads no model. Being offline is no fault.

    Example: transferkit doctor
    """
    import json as json_module
    from dataclasses import asdict

    from transferkit.doctor.examine import examine

    found: list[Finding] = []
    for finding in examine(runs=runs, offline=offline):
        found.append(finding)
        if json:
            print(json_module.dumps(asdict(finding)), flush=True)
    if not json:
        Console().print(_table(found))
        _advise(found, Console())
    if any(one.state == "wrong" for one in found):
        raise typer.Exit(1)


def _table(found: "Sequence[Finding]") -> Table:
    """A line a finding; packages of the tested versions share one."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    as_tested = [one for one in found if one.area == "versions" and one.state == "ok"]
    if as_tested:
        named = ", ".join(f"{one.name} {one.found}" for one in as_tested)
        table.add_row("[green]ok[/]", "versions", plain(f"as tested: {named}"))
    for one in found:
        if one not in as_tested:
            style = _STYLES[one.state]
            table.add_row(f"[{style}]{one.state}[/]", plain(f"{one.area}: {one.name}"), plain(one.found))
    return table


def _advise(found: "Sequence[Finding]", console: Console) -> None:
    """What to do, the faults first, and the sum of it."""
    for state in ("wrong", "note"):
        for one in found:
            if one.state == state and one.advice is not None:
                say(f"{one.area}: {one.name}: {one.advice}", console, style=_STYLES[state])
    counts = Counter(one.state for one in found)
    wrong = counts["wrong"]
    say(
        f"{wrong} thing{'' if wrong == 1 else 's'} to mend" if wrong else "nothing is wrong here",
        console,
        style=_STYLES["wrong" if wrong else "ok"],
    )
