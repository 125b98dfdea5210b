"""One recipe key sends a run's figures to a tracker."""

from pathlib import Path

from helpers.tiny import Tiny
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runs.folder import read_metrics


def test_tensorboard_gets_what_the_metrics_file_gets(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe("baseline", method="prompt-tuning", tracking="tensorboard")
    folder = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, console=Console(quiet=True))
    (events,) = folder.rglob("events.out.tfevents.*")
    logged = EventAccumulator(str(events.parent)).Reload()
    rows = read_metrics(folder)
    seen = [(scalar.step, round(scalar.value, 3)) for scalar in logged.Scalars("dev/sts/plain")]
    assert seen == [(row["step"], round(row["scores"]["sts"]["plain"], 3)) for row in rows]
    assert [scalar.step for scalar in logged.Scalars("dev/score")] == [0, 2, 4]
