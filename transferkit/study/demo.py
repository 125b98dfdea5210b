"""The demo: the whole idea on one machine, without network, from the bundled source to a search that works."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.config.recipes import recorded_recipe
from transferkit.files.builtin import BUNDLED, bundled_dir
from transferkit.runs.folder import Run, read_run
from transferkit.study.plan import Planned, plan
from transferkit.study.schema import read_study
from transferkit.study.state import state_of

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs/demo")
QUESTION = "merge two tables on a key"
_ADAPTED = "transfer"  # name in demo.yaml of the run that the search uses


def planned_runs(runs: Path, *, train: bool) -> list[Planned]:
    """The runs of ``demo.yaml``.

    Args:
        runs: where their folders are made.
        train: begin with the training of the bundled source, and carry that one.
    """
    study = Path(__file__).with_name("demo.yaml")
    planned = plan(read_study(study), runs=runs, beside=study.parent)
    if not train:
        return planned
    recipe = recorded_recipe(bundled_dir("source"))
    source = Planned(name="source", recipe=recipe, source=None, folder=runs / f"source-s{recipe.seed}")
    return [source, *(replace(one, source=source.folder) if one.source == BUNDLED else one for one in planned)]


def run_demo(planned: list[Planned], *, data_dir: Path | None, console: "Console") -> list[Run]:
    """Run what is not done yet; the rows of the convergence table.

    Raises:
        ConfigError, RunError, Interrupted: see :func:`transferkit.study.run.run_all`.
    """
    from transferkit.study.run import run_all

    run_all(planned, data_dir=data_dir, console=console)
    return [read_run(one.folder) for one in planned if not one.is_source]


def adapted_checkpoint(runs: Path = RUNS) -> Path:
    """The run folder that the demo adapted, where it is done; else the bundled source."""
    done = [folder for folder in sorted(runs.glob(f"{_ADAPTED}-s*")) if state_of(folder) == "done"]
    return done[0] if done else BUNDLED
