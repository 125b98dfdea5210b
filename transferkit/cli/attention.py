"""``attention``: where the pooled positions of a text look, before and after adaptation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from transferkit.cli.options import Backbone, Column, Device, Instruction, Quiet
from transferkit.config.poolings import FrozenReading
from transferkit.config.schema import parse
from transferkit.errors import ConfigError
from transferkit.progress import plain, say
from transferkit.request.named import check_model

if TYPE_CHECKING:
    from transferkit.attention.report import Report


Model = Annotated[
    str,
    typer.Argument(metavar="CKPT", help="Checkpoint or run folder; or a decoder: name, hub id, folder, .gguf file."),
]
Text = Annotated[str | None, typer.Option("--text", help="One text: the heat map shows its tokens.")]
Texts = Annotated[
    str | None,
    typer.Option("--texts", help="Mean over a text file (a text a line), .jsonl/.csv/.tsv/.parquet, or -."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for attention.png, attention.svg and attention.json.")]
Template = Annotated[
    str | None, typer.Option("--template", help="For a decoder: what it reads, a name or text with {text}.")
]
Pooling = Annotated[
    str | None,
    typer.Option("--pooling", help="For a decoder: last, mean, weighted_mean or max; or X+static."),
]
StopWords = Annotated[
    Path | None, typer.Option("--stop-words", help="File, a word a line; default: scikit-learn's English list.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]


def attention(
    model: Model,
    text: Text = None,
    texts: Texts = None,
    column: Column = "text",
    out: Out = None,
    instruction: Instruction = None,
    template: Template = None,
    pooling: Pooling = None,
    stop_words: StopWords = None,
    backbone: Backbone = None,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Share of attention on template, soft tokens, stop words and content words, for the positions that are pooled.

    A checkpoint is shown beside its decoder without what was learned: no adapters, no soft tokens in its template and,
    where those are pooled, nothing behind them. A decoder alone reads the first 128 tokens of a text.

    Example: transferkit attention runs/lora-... --text "how do I reset my card?" --out attention
    """
    import json as json_module

    from transferkit.data.words import english_stop_words, read_stop_words
    from transferkit.files.writable import check_writable

    _check_text(text, texts)
    if out is not None:
        check_writable(out, option="--out")
    _check_model(model, template, pooling)
    rows = [text] if text is not None else _texts_of(texts or "", column=column)
    words = english_stop_words() if stop_words is None else read_stop_words(stop_words)
    from transferkit.attention.report import measure
    from transferkit.checkpoints.instructions import warn_of_instruction
    from transferkit.checkpoints.open import open_model
    from transferkit.decoder.device import usable_device
    from transferkit.methods.on_backbone import BackboneEmbedder

    console = Console(stderr=True, quiet=quiet)
    place = usable_device(device)
    embedder = open_model(model, template=template, pooling=pooling, backbone=backbone, device=place)
    if not isinstance(embedder, BackboneEmbedder):
        raise ConfigError(f"{model}: no decoder embeds in it, so there is none whose attention could be shown")
    warn_of_instruction(embedder, instruction, console)
    instruction = embedder.usual_instruction() if instruction is None else instruction
    report = measure(embedder, rows, instruction=instruction, stop_words=words, console=console)
    if json:
        print(json_module.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        print_table(report, Console())
    if out is not None:
        from transferkit.attention.written import write_report

        for path in write_report(report, out):
            say(f"wrote {path}", console)


def _check_model(model: str, template: str | None, pooling: str | None) -> None:
    check_model(model)
    if template is not None or pooling is not None:
        parse(FrozenReading, {"template": template or "{text}", "pooling": pooling or "mean"}, where=model)


def _check_text(text: str | None, texts: str | None) -> None:
    if (text is None) == (texts is None):
        raise ConfigError("attention: expected one of --text and --texts, got " + ("none" if text is None else "both"))
    if text is not None and not text.strip():
        raise ConfigError("attention: --text is blank; write a text")


def _texts_of(file: str, *, column: str) -> list[str]:
    from transferkit.files.text_files import TextFile

    texts = list(TextFile.named(file, column=column))
    if not texts:
        raise ConfigError(f"{file}: holds no texts, expected at least one")
    return texts


def print_table(report: "Report", console: Console) -> None:
    """A line a kind of token: its part of the tokens, and its share of attention over all layers and in the last."""
    from transferkit.attention.report import heading, mean_and_error
    from transferkit.attention.shares import GROUPS

    sides, change = report.sides(), report.change()
    for name, side in sides.items():
        say(heading(name, side), console)
    table = Table(
        title="Share of attention in percent: mean over layers, and of the last one",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("kind of token", no_wrap=True)
    for column in ("tokens", *sides, *(["change"] if change else []), *(f"last,\n{name}" for name in sides)):
        table.add_column(column, justify="right", no_wrap=True)
    tokens = dict(zip(GROUPS, (report.after or report.before).tokens.mean(axis=0), strict=True))
    everywhere = {name: side.by_text() for name, side in sides.items()}
    at_last = {name: side.by_text(slice(-1, None)) for name, side in sides.items()}
    for figure in report.figures():
        cells = [f"{100 * tokens[figure]:.1f}" if figure in tokens else ""]
        cells += [f"{100 * mean_and_error(found[figure])[0]:.1f}" for found in everywhere.values()]
        cells += [_change(*change[figure])] if change else []
        cells += [f"{100 * mean_and_error(found[figure])[0]:.1f}" for found in at_last.values()]
        table.add_row(plain(figure), *cells)
    console.print(table)


def _change(mean: float, error: float | None) -> str:
    return f"{100 * mean:+.1f}" + ("" if error is None else f" ± {100 * error:.1f}")
