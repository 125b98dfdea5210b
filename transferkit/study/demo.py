"""The demo: the whole idea on one machine, from the bundled source to a table at equal seconds."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.config.recipes import recorded_recipe
from transferkit.config.specs import lasting_name
from transferkit.convergence.comparison import Comparison, Row
from transferkit.convergence.series import KIND_NAMES
from transferkit.files.builtin import SHIPPED, TOY, bundled_dir
from transferkit.progress import say
from transferkit.report.formats import count, score, seconds
from transferkit.report.view import View
from transferkit.runs.folder import Run, read_record, read_run
from transferkit.study.plan import Planned, plan
from transferkit.study.schema import read_study
from transferkit.study.state import state_of

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs/demo")
QUESTION = "merge two tables on a key"
_ADAPTED = "transfer"  # name in the studies of the run that the others are measured against, and that searches
_FEWEST_SECONDS = 0.1


def planned_runs(runs: Path, *, decoder: str | None, train: bool) -> list[Planned]:
    """The runs of ``demo.yaml`` on a decoder, or of ``demo_offline.yaml``.

    Args:
        runs: where their folders are made.
        decoder: that embeds; None: the bundled one.
        train: begin with the training of the bundled toy, and carry that one.
    """
    file = Path(__file__).with_name("demo_offline.yaml" if decoder is None else "demo.yaml")
    study = read_study(file)
    if decoder is not None:
        targets = {"targets": [lasting_name(decoder)]}
        study = study.model_copy(update={"runs": [run.model_copy(update=targets) for run in study.runs]})
    planned = plan(study, runs=runs, beside=file.parent)
    if not train:
        return planned
    recipe = recorded_recipe(bundled_dir("toy"))
    source = Planned(name="source", recipe=recipe, source=None, folder=runs / f"source-s{recipe.seed}")
    return [source, *(replace(one, source=source.folder) if one.source in SHIPPED else one for one in planned)]


def run_demo(planned: list[Planned], *, data_dir: Path | None, console: "Console") -> list[Run]:
    """Run what is not done yet; the rows of the table.

    The transfer comes first, and every rival that learns ends when its training has taken as long as the transfer's.

    Raises:
        ConfigError, RunError, Interrupted: see :func:`transferkit.study.run.run_all`.
    """
    from transferkit.study.run import run_all

    first = [one for one in planned if one.is_source or one.name == _ADAPTED]
    rest = [one for one in planned if one not in first]
    say("First the skill is attached to the decoder (step 0), then W and its offsets are refitted.", console)
    run_all(first, data_dir=data_dir, console=console, whole=planned)
    given = _training_seconds(adapted(planned).folder)
    rest = [_limited(one, given) for one in rest]
    say(f"Now the others. Those that learn get the same {given:g} seconds of training.", console)
    run_all(rest, data_dir=data_dir, console=console, whole=[*first, *rest])
    return [read_run(one.folder) for one in planned if not one.is_source]


def adapted(planned: list[Planned]) -> Planned:
    """The transfer among the demo's runs."""
    return next(one for one in planned if one.name == _ADAPTED)


def adapted_checkpoint(runs: Path = RUNS) -> Path:
    """The run folder that the demo adapted, the last one that was done; where none is, the bundled toy."""
    done = [folder for folder in runs.glob(f"{_ADAPTED}-*") if state_of(folder) == "done"]
    return max(done, key=lambda folder: str(read_record(folder).get("finished_at")), default=TOY)


def summary(comparison: Comparison) -> View:
    """Of every row what it cost and what it scores; of one that starts from a source the score at step 0 too."""
    sets = {dev["name"]: dev["reported_rows"] for dev in comparison.runs[0].record["data"]["dev"]}
    seen, unseen = (sum(sets[name] for name in names) for names in (comparison.selecting, comparison.others))
    return View(
        title="At equal seconds of training",
        header=("Method", "Readout", "Seconds", "Steps", "Seen packages", "Unseen packages"),
        rows=tuple(line for row in comparison.rows for line in _lines(row)),
        caption=f"nDCG@10 in percent: a docstring's first line looks for the paragraph below it. {seen} such questions "
        f"are from packages that were trained on, {unseen} from others: so few, and one seed, so ten points may be "
        "chance.",
        stacked=True,
    )


def _lines(row: Row) -> list[tuple[str, ...]]:
    """One a row, and one before it where training began with what a source knew."""
    (run,), (curve,) = row.series.runs, row.series.curves
    start, scores = curve[0], (score(row.best), score(row.other))
    if not run.record["parameters"]["trainable"]:
        return [(row.series.name, row.readout, "0", "0", *scores)]
    spent, steps = seconds(run.record["timings"]["train_seconds"]), count(curve[-1].step)
    lines: list[tuple[str, ...]] = [(row.series.name, row.readout, spent, steps, *scores)]
    if run.record["source"] is not None:
        attached = ("attached, nothing trained", KIND_NAMES[str(start.kind)], "0", "0")
        lines.insert(0, (*attached, score(start.score), score(start.other_score)))
    return lines


def _training_seconds(folder: Path) -> float:
    """What a finished run spent on training and on the readout of its checkpoint."""
    timings = read_record(folder)["timings"]
    spent = timings["train_seconds"] + timings.get("readout_seconds", 0.0)
    return max(round(float(spent), 1), _FEWEST_SECONDS)


def _limited(one: Planned, given: float) -> Planned:
    """A run that learns, with an end to its training."""
    if not one.recipe.facts.learns:
        return one
    optim = one.recipe.optim.model_copy(update={"seconds": given})
    return replace(one, recipe=one.recipe.model_copy(update={"optim": optim}))
