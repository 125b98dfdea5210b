"""What a finished run shows: its score beside what one has without it, whether it was worth it, and what comes next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from transferkit.data.scores import DECIDED
from transferkit.files.builtin import SHIPPED
from transferkit.progress import plain, say
from transferkit.runs.folder import delivered


def show_ending(
    record: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    folder: Path,
    console: Console,
    *,
    source: Path | None,
) -> None:
    """Print it; nothing where the run trained nothing, or an earlier version made it.

    Args:
        record: of the run.
        metrics: its rows.
        folder: of the run.
        console: where.
        source: as the user called it; None: there was none, or a resumed run's is not known.
    """
    found = record.get("verdict")
    if found is None:
        return
    console.print(_table(record["label"], found))
    for sentence in (_worth(found, record), _hurt(record, metrics, found)):
        if sentence is not None:
            say(sentence, console)
    say(f"next: transferkit embed {folder} FILE --out vectors.npy", console)
    say(f"   or: transferkit search QUESTION --checkpoint {folder} --texts FILE", console)
    say(f"   or: transferkit export {folder} --to FOLDER", console)
    given = "" if record["source"] is None else f" --source {source or _source_of(record)}"
    say(f"again: transferkit {record['task']} {folder / 'recipe.yaml'}{given}", console)


def _source_of(record: Mapping[str, Any]) -> str:
    """What to call a resumed run's source: where it lies is not in a record that may be published."""
    name: str = record["source"]["run"]
    return name if Path(name) in SHIPPED else "SOURCE"


def _table(label: str, found: Mapping[str, Any]) -> Table:
    table = Table(title="Score in percent, of rows that chose nothing", title_justify="left", box=None)
    table.add_column("")
    table.add_column("score", justify="right")
    table.add_column("this run is ahead by", justify="right")
    rows = [
        (f"this run: {label}", found["score"], ""),
        *((one["name"], one["score"], _ahead(one)) for one in _by_score(found)),
    ]
    best = max(score for _, score, _ in rows)
    for name, score, ahead in rows:
        table.add_row(plain(name), plain(f"{score:.1f}", style="bold" if score == best else ""), plain(ahead))
    return table


def _by_score(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(found["against"], key=lambda one: -one["score"])


def _ahead(one: Mapping[str, Any]) -> str:
    return f"{one['difference']:+.1f} ± {one['error']:.1f}"


def _worth(found: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """A sentence for each word of the verdict."""
    closest = min(found["against"], key=lambda one: one["difference"])
    match found["word"]:
        case "GAIN":
            return f"Worth it: ahead of everything that needs no training, of {closest['name']} by {_ahead(closest)}."
        case "REGRESSION":
            return f"Not worth it: {closest['name']} is decidedly better ({_ahead(closest)}); use that instead."
        case "NO EFFECT" if record["best"]["step"] == 0:
            most = record["best"]["choosing"] >= 100
            left = "; they leave nothing to gain, so try harder ones, or more" if most else ""
            return f"Training was not worth it: no step was better than the start on the rows that choose{left}."
        case "NO EFFECT":
            return "Not worth it: training moved no vector; raise the learning rate or the steps."
        case _:
            between = (
                f"{closest['name']} is ahead by {-closest['difference']:.1f} ± {closest['error']:.1f}"
                if closest["difference"] < 0
                else f"{_ahead(closest)} against {closest['name']}"
            )
            return f"Not shown to be worth it: {between}, which is within twice the error; more rows would tell."


def _hurt(record: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> str | None:
    """Where the scores fell by the end, which step was kept; errors are those of the difference to the start."""
    kept, last = record["best"], metrics[-1]
    lost = kept["score"] - delivered(last["score"])
    if last["step"] == kept["step"] or lost <= DECIDED * found["against"][0]["error"]:
        return None
    return (
        f"Training on hurt: step {last['step']} has {lost:.1f} less than step {kept['step']}, which was kept; set "
        f"optim.steps={kept['step']}, or lower the learning rate."
    )
