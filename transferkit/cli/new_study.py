"""``study init``: a user's own file -> the study that holds the carried skill against its rivals on it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from transferkit.cli.training.options import Instruction, Label, Passage, Query, Text
from transferkit.files.builtin import BUNDLED
from transferkit.progress import say
from transferkit.request.columns import named_columns


class RunsByItself(TyperGroup):
    """``study FILE`` is ``study run FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` before what is no other command."""
        given = args if not args or args[0] in self.commands or args[0] == "--help" else ["run", *args]
        return super().parse_args(ctx, given)


def init(
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="Your own texts, labelled or in pairs.")],
    target: Annotated[list[str], typer.Option("--target", help="Decoder, as for adapt; repeatable.")],
    source: Annotated[
        Path, typer.Option("--source", help="Checkpoint or run folder of a `train`; `bundled` ships with transferkit.")
    ] = BUNDLED,
    out: Annotated[Path, typer.Option("--out", help="The study that is written.")] = Path("study.yaml"),
    text: Text = None,
    label: Label = None,
    query: Query = None,
    passage: Passage = None,
    instruction: Instruction = None,
) -> None:
    """Write a study of your own file: the carried skill beside every rival, three seeds.

    Example: transferkit study init --data tickets.csv --target ./my-decoder
    """
    from transferkit.study.own import write_study

    columns = named_columns({"text": text, "label": label, "query": query, "passage": passage})
    written = write_study(out, data=data, targets=target, source=source, columns=columns, instruction=instruction)
    console = Console(stderr=True)
    for line in written.said:
        say(line, console)
    runs = sum(max(1, len(one.targets)) for one in written.study.runs) * len(written.study.seeds)
    say(f"wrote {out}: {runs} runs; look at it, then: transferkit study {out} --out {out.with_name('report')}", console)
