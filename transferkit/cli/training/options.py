"""What ``train``, ``adapt`` and ``baseline`` are given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.options import DataDir
from transferkit.config.methods import Task, baseline_methods
from transferkit.request.columns import named_columns
from transferkit.request.request import Request

METHODS = baseline_methods()
RecipeName = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE]", help="Built-in name such as qwen3/adapt, or a .yaml file.", show_default=False),
]
Method = Annotated[str | None, typer.Option("--method", help=f"{', '.join(METHODS[:-1])} or {METHODS[-1]}.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe; repeatable.")
]
Runs = Annotated[
    Path | None, typer.Option("--runs", help="Where run folders are made; default: runs/.", show_default=False)
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Backbone: registry name, hub id, local folder or .gguf file; of the method encoder a local folder of "
        "sentence-transformers.",
    ),
]
Source = Annotated[
    Path | None,
    typer.Option("--source", help="Checkpoint or run folder of a `train`; `bundled` ships with transferkit."),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        "--unlabelled",
        metavar="FILE",
        help="Texts to learn from, no pairs: .txt (a text a line), .jsonl, .csv, .tsv or .parquet.",
    ),
]
Column = Annotated[
    str | None, typer.Option("--column", help="Column that holds the text in the file of --unlabelled; default: text.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Your own texts, in the place of the recipe's data: labelled, in pairs or alone; a part is held out and "
        "scored. Its columns are guessed and shown.",
    ),
]
Text = Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="With --data: the column of the texts.")]
Label = Annotated[
    str | None, typer.Option("--label", metavar="COLUMN", help="With --data: the column of their labels.")
]
Query = Annotated[
    str | None, typer.Option("--query", metavar="COLUMN", help="With --data: the column of questions, titles and such.")
]
Passage = Annotated[
    str | None, typer.Option("--passage", metavar="COLUMN", help="With --data: the column of what belongs to them.")
]
Instruction = Annotated[
    str | None,
    typer.Option("--instruction", help="With --data: what is asked of the texts; default: a plain one of their kind."),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="Who teaches: a checkpoint, decoder or sentence-transformers folder, or vectors that embed made of the "
        "texts; adapt --unlabelled: the source, unless given.",
    ),
]
Quantize = Annotated[str | None, typer.Option("--quantize", help="nf4 loads the backbone in 4 bits; none does not.")]
Resume = Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Continue an interrupted run folder.")]
ForceResume = Annotated[
    bool,
    typer.Option(
        "--force-resume",
        help="With --resume: go on though the recipe was edited, the folder copied or moved, or the run diverged; the "
        "record says so.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run, train nothing, write nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the run folder alone.")]
Json = Annotated[bool, typer.Option("--json", help="Print the finished record as JSON.")]


@dataclass(frozen=True)
class Options:
    """What the three verbs are given, in the order in which ``--help`` shows it."""

    recipe: RecipeName = None
    method: Method = None
    source: Source = None
    target: Target = None
    quantize: Quantize = None
    data: Data = None
    text: Text = None
    label: Label = None
    query: Query = None
    passage: Passage = None
    instruction: Instruction = None
    unlabelled: Unlabelled = None
    column: Column = None
    teacher: Teacher = None
    set_: Set = None
    data_dir: DataDir = None
    runs: Runs = None
    resume: Resume = None
    force_resume: ForceResume = False
    dry_run: DryRun = False
    quiet: Quiet = False
    json: Json = False

    @property
    def of_a_new_run(self) -> bool:
        """Whether any was given that decides what a run is, or where it lies."""
        of_any = ("resume", "force_resume", "quiet", "json")
        return any(value for name, value in vars(self).items() if name not in of_any)

    def asked(self, task: Task) -> Request:
        """The run that they describe."""
        same = ("recipe", "method", "source", "target", "quantize", "data", "instruction", "unlabelled", "column")
        return Request(
            task,
            columns=named_columns(vars(self)),
            teacher=self.teacher,
            changes=tuple(self.set_ or ()),
            data_dir=self.data_dir,
            **{name: getattr(self, name) for name in same},
        )
