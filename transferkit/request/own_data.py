"""A user's file as changes of a recipe: its data, and as many steps as suit so many rows."""

from dataclasses import dataclass

from transferkit.config.datasets import ROLES
from transferkit.config.methods import Task
from transferkit.config.recipes import change
from transferkit.data.scored_rows import CHECKS
from transferkit.data.split import held_out
from transferkit.data.tables import TableReader, local_source
from transferkit.request.columns import Found

SCORED = {"labelled": "knn", "pairs": "pairs", "texts": "texts"}  # kind of training set -> kind of dev set
# As those that the published sources were trained with; --instruction says another one.
INSTRUCTIONS = {"labelled": "Find the category of the text.", "pairs": "Find the text that belongs to this one."}
BATCH, FEWEST_IN_BATCH = 24, 8
EPOCHS, FEWEST_STEPS, MOST_STEPS = 5, 20, 100
EVALUATIONS = 4
SAMPLE = 2_000  # texts of the readout
SCORED_ROWS = 600


@dataclass(frozen=True)
class OwnData:
    """What one file became: ``overrides`` of a recipe, as ``key=value``, and ``said`` to the user."""

    overrides: list[str]
    said: list[str]


def own_data(found: Found, task: Task, *, instruction: str | None = None) -> OwnData:
    """The file's data section and sizes, for a recipe of ``task``.

    Args:
        found: the file and its columns.
        task: adapt gets steps of its own; a baseline keeps its recipe's, for each method needs its own.
        instruction: of its texts; None: a plain one of its kind.

    Raises:
        ConfigError: rows that cannot be used, too few of them, or texts alone where nothing teaches.
    """
    name, path = found.path.stem, str(found.path.resolve())
    asked = INSTRUCTIONS.get(found.kind, "") if instruction is None else instruction
    one = {"name": name, "path": path, "columns": found.columns, "instruction": asked}
    train = {**one, "kind": found.kind, "part": "train"}
    dev: dict[str, object] = {**one, "kind": SCORED[found.kind], "part": "dev"}
    if found.kind != "texts":
        dev["limit"] = SCORED_ROWS
    sets = {"data.train": [train], "data.dev": [dev]}
    learned, out = _count(found)
    sizes = {"readout.sample": min(SAMPLE, learned * (2 if found.kind == "pairs" else 1))}
    if task == "adapt":
        sizes |= _steps(learned)
    return OwnData(
        overrides=[change(key, value) for key, value in {**sets, **sizes}.items()],
        said=[
            found.in_words(),
            f"{found.path.name}: {learned:,} rows to learn from, {out:,} held out, of which one half chooses and the "
            "other reports",
        ],
    )


def _steps(rows: int) -> dict[str, int]:
    """Five times through the rows, within bounds, and four evaluations on the way."""
    batch = min(BATCH, max(FEWEST_IN_BATCH, rows // 10))
    steps = min(MOST_STEPS, max(FEWEST_STEPS, EPOCHS * rows // batch)) // EVALUATIONS * EVALUATIONS
    return {"optim.batch_size": batch, "optim.steps": steps, "eval.every": steps // EVALUATIONS}


def _count(found: Found) -> tuple[int, int]:
    """Rows to learn from and rows that are held out."""
    reader = TableReader(columns={**ROLES[found.kind], **found.columns}, checks=CHECKS, on_bad_row="stop")
    source = local_source("--data", str(found.path), None)
    rows = reader.read(source, tuple(found.columns))
    out = sum(held_out(source, rows))
    return len(next(iter(rows.values()))) - out, out
