"""Arguments and options of ``evaluate`` alone."""

from pathlib import Path
from typing import Annotated

import typer

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Checkpoint or run folder, `bundled-toy`, a folder of sentence-transformers, a backbone to read as it is "
        "(registry name, folder, .gguf file, hub id), or `tfidf`, the floor.",
    ),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        "--tasks", metavar="A,B", help="mteb's tasks by name; beside the two below: only these of their tasks."
    ),
]
Benchmark = Annotated[
    str | None, typer.Option("--benchmark", help='One of mteb\'s benchmarks, for example "MTEB(eng, v2)".')
]
TasksFrom = Annotated[
    Path | None,
    typer.Option("--tasks-from", metavar="DIR", help="Folder KIND/SET/test.parquet with your own sets."),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help="Gets scores in mteb's layout, which are kept, and the last call's tables: table.md and matrix.csv.",
    ),
]
Instruction = Annotated[
    list[str] | None,
    typer.Option(
        "--instruction",
        metavar="TASK=TEXT",
        help="Instead of the task's own; a task, a type of task, or either with -document; repeatable.",
    ),
]
PromptingAlone = Annotated[
    bool, typer.Option("--prompting-alone", help="Also the Prompting LLM alone of every transfer checkpoint.")
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="What frozen backbones read: a template's name, or text with {text}; repeatable, a row each.",
    ),
]
Pooling = Annotated[
    list[str] | None,
    typer.Option(
        "--pooling",
        help="Of frozen backbones: last, mean, weighted_mean, max, static, X+static; repeatable, a row each.",
    ),
]
Templates = Annotated[
    str | None,
    typer.Option(
        "--templates",
        metavar="all|A,B",
        help="Named templates: a row each for every model with a decoder, and the spread over them.",
    ),
]
Poolings = Annotated[
    str | None,
    typer.Option(
        "--poolings",
        metavar="all|A,B",
        help="A row each for every model with a decoder: last, mean, weighted_mean, max, static, X+static, soft.",
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option("--max-length", min=8, help="Of frozen backbones: tokens of a text that are read; default: 512."),
]
Layers = Annotated[
    int | None,
    typer.Option("--layers", min=1, help="Of frozen backbones: last ones, whose states are averaged; default: 1."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Of frozen backbones: auto, the default (bfloat16 where it is faster here), float32 or bfloat16.",
    ),
]
Quantize = Annotated[
    str | None, typer.Option("--quantize", help="Of frozen backbones: nf4 loads them in 4 bits; default: none.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "--list", help="Show what would run, run nothing, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print matrix, rows and means as JSON.")]
