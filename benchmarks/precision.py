"""What bfloat16 is worth on this machine, and what it costs: training steps beside float32's, and dev scores.

    python benchmarks/precision.py --target FOLDER --data-dir DATA --out precision.json
    python benchmarks/precision.py --target FOLDER --data-dir DATA --prompting FOLDER --set prompting.tuning=lora
    python benchmarks/precision.py --target bundled-gptneox-5m --data-dir DATA --steps 0 --score-after 100

Both precisions are built from one recipe, and every batch is a step of both, in turn, the first one by turns too: the
whole step, with loss and optimizer. Printed are medians of seconds, and of the ratio of each pair; and all steps
together, which is what a run takes, because batches of long texts weigh more in it. With
`--score-after N` each precision is also trained for N steps as `transferkit train` and `baseline` do, and the scores of
the dev sets stand beside each other with float32's standard error: of an accuracy that of a share of n texts, of a
rank correlation (1 - r^2) / sqrt(n - 1).
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import torch
from rich.console import Console

from transferkit.config.recipe import Recipe
from transferkit.config.recipes import read_recipe
from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.training_sets import TrainingData
from transferkit.decoder.device import bfloat16_speed
from transferkit.methods.base import Embedder
from transferkit.runner.prepare import Inputs, prepare, resolved
from transferkit.runner.provenance import device_name
from transferkit.runner.run import start
from transferkit.runs.folder import read_run
from transferkit.training.schedule import make_optimizer, set_learning_rates
from transferkit.training.step import training_step

PRECISIONS = ("float32", "bfloat16")


class Row(NamedTuple):
    """One line of the table; the ratio is float32's over bfloat16's."""

    method: str
    what: str
    float32: float
    bfloat16: float
    ratio: float


class Trained:
    """A method as its run builds it, and its steps."""

    def __init__(self, recipe: ResolvedRecipe, embedder: Embedder, data: TrainingData) -> None:
        self.recipe, self.embedder, self.data = recipe, embedder, data
        groups = embedder.trainable()
        self.parameters = [p for group in groups.values() for p in group]
        self.optimizer = make_optimizer(groups, recipe.optim, self.embedder.rate_unit)

    def step(self, number: int) -> tuple[float, float]:
        """Seconds of one step on the clock, and of the processor."""
        clock, cpu = perf_counter(), process_time()
        set_learning_rates(self.optimizer, self.recipe.optim, number)
        training_step(
            self.embedder,
            self.data.batch(number),
            self.optimizer,
            self.parameters,
            optim=self.recipe.optim,
            loss=self.recipe.loss,
            seed=self.recipe.seed,
            step=number,
        )
        return perf_counter() - clock, process_time() - cpu


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    given = _parsed(arguments)
    torch.set_num_threads(given.threads)
    found: dict[str, Any] = {
        "device": device_name(torch.device("cpu")),
        "threads": given.threads,
        "torch": torch.__version__,
        "target": given.target,
        "batch_size": given.batch_size,
        "products": bfloat16_speed(torch.device("cpu")),
        "steps": {},
        "scores": {},
    }
    print(f"products of a decoder layer: bfloat16 is {found['products']:.2f}x float32")
    for method in given.methods:
        if given.steps:
            found["steps"][method] = seconds(method, given)
            for row in step_rows(method, found["steps"][method]):
                print(f"{row.method:8s} {row.what:16s} {row.float32:8.2f} {row.bfloat16:8.2f}   {row.ratio:.2f}x")
        if given.score_after:
            found["scores"][method] = scores(method, given)
            for one in found["scores"][method]:
                print(
                    f"{method:8s} {one['set']:28s} {one['float32']:6.1f} {one['bfloat16']:6.1f}   "
                    f"difference {one['bfloat16'] - one['float32']:+.1f}, standard error {one['standard_error']:.1f}"
                )
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def seconds(method: str, given: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each step in each precision, the step that warms up left aside."""
    trained = {}
    for precision in PRECISIONS:
        recipe = resolved(_recipe(method, precision, given), source=None)
        prepared = prepare(recipe, Inputs(data_dir=given.data_dir))
        trained[precision] = Trained(recipe, prepared.embedder, prepared.data)
    found: dict[str, list[tuple[float, float]]] = {precision: [] for precision in PRECISIONS}
    for number in range(given.steps + 1):
        for precision in PRECISIONS if number % 2 else PRECISIONS[::-1]:
            taken = trained[precision].step(number)
            if number:
                found[precision].append(taken)
    return found


def step_rows(method: str, found: dict[str, list[tuple[float, float]]]) -> list[Row]:
    """Medians of the clock and of the processor, and the clock's sums."""
    rows = []
    for place, what in enumerate(("seconds a step", "of the processor")):
        slow, fast = ([one[place] for one in found[precision]] for precision in PRECISIONS)
        ratio = median(a / b for a, b in zip(slow, fast, strict=True))
        rows.append(Row(method, what, median(slow), median(fast), ratio))
    all_slow, all_fast = (sum(one[0] for one in found[precision]) for precision in PRECISIONS)
    return [*rows, Row(method, "all together", all_slow, all_fast, all_slow / all_fast)]


def scores(method: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Dev scores after training in each precision, plain and with the readout, with float32's standard error."""
    both = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            steps = [f"optim.steps={given.score_after}", f"eval.every={given.score_after}", "eval.keep=last"]
            steps += ["optim.warmup_steps=0", "optim.cooldown_steps=0"]
            recipe = _recipe(method, precision, given, *steps)
            inputs = Inputs(data_dir=given.data_dir)
            made = start(recipe, inputs, runs=Path(folder), name=f"{method}-{precision}", console=Console(quiet=True))
            both[precision] = read_run(made)
    slow, fast = (both[precision].metrics[-1]["scores"] for precision in PRECISIONS)
    sets = {one["name"]: one for one in both["float32"].record["data"]["dev"]}
    rows = []
    for name, kinds in slow.items():
        for kind, score in kinds.items():
            error = _standard_error(score, rows=sets[name]["reported_rows"], correlation=sets[name]["kind"] == "sts")
            rows.append(
                {
                    "set": f"{name}, {kind}",
                    "float32": score,
                    "bfloat16": fast[name][kind],
                    "standard_error": error,
                }
            )
    return rows


def _standard_error(score: float, *, rows: int, correlation: bool) -> float:
    """Of a score over so many texts, or pairs of texts."""
    share = score / 100
    return 100 * ((1 - share**2) / sqrt(rows - 1) if correlation else sqrt(share * (1 - share) / rows))


def _recipe(method: str, precision: str, given: argparse.Namespace, *more: str) -> Recipe:
    name = given.train if method == "source" else given.baseline
    changes = [f"precision={precision}", f"embedding.backbone='{given.target}'"]
    changes += [f"optim.batch_size={given.batch_size}"]
    changes += [f"prompting.backbone='{given.prompting}'"] if method == "source" else [f"method={method}"]
    return read_recipe(name, overrides=[*changes, *more, *given.set])


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True, help="the backbone: a name, a folder or a hub id")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=["lora", "source"])
    parser.add_argument("--prompting", default="bundled-qwen3-2m", help="the Prompting LLM of `source`")
    parser.add_argument("--train", default="mixture/train", help="recipe of `source`")
    parser.add_argument("--baseline", default="mixture/baseline", help="recipe of all others")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="in every recipe; repeatable")
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--steps", type=int, default=5, help="measured pairs of steps; 0: none")
    parser.add_argument("--score-after", type=int, default=0, metavar="STEPS", help="0: no scores")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
