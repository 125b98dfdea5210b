"""On how many texts a readout should be fitted, and which vectors should stand beside each other.

    python benchmarks/readout_sample.py RUN --source SOURCE --data-dir DATA --out readout_sample.json

RUN is a finished run of `adapt`. Its dev sets and as many training texts as the greatest size are read once. Then every
pooling gets a readout from the first so many of them, chosen and scored as the run itself does it. `before+static` is
the decoder as it is: no soft token has a part in it.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from transferkit.checkpoints.checkpoint import load
from transferkit.config.recipes import recorded_recipe
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.training_sets import load_training_data
from transferkit.methods.on_backbone import SeveralPoolings
from transferkit.runner.prepare import resolved
from transferkit.runs.folder import delivered
from transferkit.training.scoring import Scorer

POOLINGS = ("before+static", "soft+static", "before+soft", "before+soft+static")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write all that was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="finished run of adapt, with its checkpoint")
    parser.add_argument("--source", type=Path, required=True, help="that the run started from")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--sizes", default="1000,2000,4000,8000", help="texts of a readout")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    sizes = sorted(int(size) for size in given.sizes.split(","))
    rows = []
    for row in measured(given.run, given.source, given.data_dir, sizes=sizes, batch_size=given.batch_size):
        rows.append(row)
        print(
            "  ".join(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()), flush=True
        )
    if given.out:
        given.out.write_text(json.dumps({"run": given.run.name, "rows": rows}, indent=2) + "\n")


def measured(
    run: Path, source: Path, data_dir: Path, *, sizes: Sequence[int], batch_size: int
) -> Iterator[dict[str, Any]]:
    """A row a pooling and size: scores in percent of what a checkpoint of them would be delivered with."""
    recipe = resolved(recorded_recipe(run), source=source)
    data = load_training_data(recipe.data, data_dir=data_dir, batch_size=recipe.optim.batch_size, seed=recipe.seed)
    dev_sets = load_dev_sets(recipe.data, data_dir=data_dir)
    samples = [data.sample_with_pairs(size, recipe.seed) for size in sizes]  # each is the first ones of the next
    scorers = [Scorer(dev_sets, sample=one, readout=recipe.readout, batch_size=batch_size) for one in samples]
    several = SeveralPoolings(load(run), poolings=POOLINGS)
    vectors = scorers[-1].read(several)
    for pooling in POOLINGS:
        part = vectors.part(partial(several.part, pooling=pooling))
        assert part.sample is not None
        for sample, scorer in zip(samples, scorers, strict=True):
            own = part.sample[: len(sample.texts)]
            found = scorer.score(replace(part, sample=own))
            others = [delivered(found.scores[dev.name]) for dev in dev_sets if not dev.select]
            yield {
                "pooling": pooling,
                "texts": len(sample.texts),
                "width": own.shape[1],
                "score": delivered(found.score),
                "other sets": mean(others) if others else None,
                "readout": None if found.readout is None else found.readout.settings.as_facts(),
            }


if __name__ == "__main__":
    main()
