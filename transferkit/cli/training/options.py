"""What ``train``, ``adapt`` and ``baseline`` are given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.options import DataDir
from transferkit.config.methods import baseline_methods
from transferkit.errors import ConfigError
from transferkit.files.vector_files import SUFFIXES
from transferkit.own_data.columns import OPTION

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

    def check(self) -> None:
        """Refuse options that say something about another one that is not there.

        Raises:
            ConfigError: names both.
        """
        if self.column is not None and self.unlabelled is None:
            raise ConfigError(
                "--column says where the text is in the file of --unlabelled; give that, or leave it away"
            )
        about_data = [*(OPTION[role] for role in self.columns), *(["--instruction"] if self.instruction else [])]
        if about_data and self.data is None:
            raise ConfigError(f"{about_data[0]} says something about the file of --data; give that, or leave it away")
        if self.data is not None and self.unlabelled is not None:
            raise ConfigError("--data and --unlabelled both take the place of the recipe's data; give one of them")
        if self.data is not None and self.data_dir is not None:
            raise ConfigError("--data-dir is where a recipe's files lie, and --data takes their place; leave it away")

    @property
    def columns(self) -> dict[str, str]:
        """Role -> column of the file of --data, as far as they are named."""
        named = {"text": self.text, "label": self.label, "anchor": self.query, "positive": self.passage}
        return {role: column for role, column in named.items() if column is not None}

    @property
    def overrides(self) -> list[str]:
        """What is changed in the recipe besides its data, as ``key=value``."""
        changes = [] if self.unlabelled is None else _texts_alone(self.unlabelled, self.column)
        changes += [] if self.teacher is None else _taught_by(self.teacher)
        changes += self.set_ or []
        changes += [f"embedding.backbone={_quoted(self.target)}"] if self.target else []
        changes += [f"embedding.quantization={_quoted(self.quantize)}"] if self.quantize else []
        changes += [f"method={_quoted(self.method)}"] if self.method else []
        return changes


def _texts_alone(file: Path, column: str | None) -> list[str]:
    """Data of one file of texts: what is trained on, and a part that is held out of it."""
    one = f"name: unlabelled, kind: texts, path: {_quoted(str(file.resolve()))}"
    one += "" if column is None else f", columns: {{text: {_quoted(column)}}}"
    return [f"data.{part}=[{{{one}, part: {part}}}]" for part in ("train", "dev")]


def _taught_by(teacher: str) -> list[str]:
    if Path(teacher).suffix.lower() in SUFFIXES:
        return [f"teacher.vectors={_quoted(str(Path(teacher).resolve()))}"]
    return [f"teacher.model={_quoted(teacher)}"]


def _quoted(text: str) -> str:
    """As YAML text, whatever it looks like."""
    return "'" + text.replace("'", "''") + "'"
