"""What a dry run begins with: what would be trained on what, for how long, and what it would write."""

from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from transferkit.progress import in_words
from transferkit.runner.prepare import Prepared

_READ = 16  # texts, which tell how long one takes
_BACKWARD = 3  # times what reading a text takes: forward, and backward as twice that


def outlook(prepared: Prepared, record: dict[str, Any], *, runs: Path) -> list[tuple[str, str]]:
    """Name and value of each line."""
    embedder, recipe = prepared.embedder, prepared.recipe
    learned, steps = record["parameters"]["trainable"], recipe.optim.steps
    on_what = "" if recipe.spec is None else f", on {recipe.spec.name}"
    trains = f"{learned:,} of {record['parameters']['total']:,} parameters" if learned else "nothing: it is measured"
    rows = [("would train", f"{trains}: {record['label']}{on_what}")]
    sets = [f"{one.spec.name} ({len(one.anchors):,} rows)" for one in prepared.data.sets]
    if embedder.trainable():
        rows.append(("with", f"{', '.join(sets)}; {steps:,} steps of {recipe.optim.batch_size:,}"))
    scored = [f"{dev.name} ({len(dev.texts):,} texts)" for dev in prepared.dev_sets]
    rows.append(("scored on", ", ".join(scored)))
    rows.append(("would take", f"about {in_words(_seconds(prepared))} here, by {_READ} of its texts read just now"))
    name = (recipe.method or recipe.task) + ("" if recipe.spec is None else f"-{recipe.spec.name}")
    checkpoint = "checkpoint, " if recipe.facts.kind is not None else ""
    rows.append(("would write", f"{runs / name}-DATE: {checkpoint}record and metrics"))
    return rows


def _seconds(prepared: Prepared) -> float:
    """Of reading and training alone; loading is over when this is asked."""
    embedder, recipe = prepared.embedder, prepared.recipe
    sample = prepared.data.sample_with_pairs(recipe.readout.sample, recipe.seed)
    scored = {pair for dev in prepared.dev_sets for pair in zip(dev.texts, dev.instructions, strict=True)}
    texts = len(scored) + (len(sample.texts) if embedder.takes_readout and recipe.readout.kind != "none" else 0)
    first, again = _seconds_a_text(prepared)
    if not embedder.trainable():
        return first * texts * sum(1 for _ in embedder.variants(recipe))
    optim = recipe.optim
    a_step = len(prepared.data.batch(0).inputs()[0])
    rows = sum(len(one.anchors) + len(one.positives) for one in prepared.data.sets)
    once = max(first - again, 0.0) * (texts + min(rows, optim.steps * a_step))
    evaluations = len({*range(0, optim.steps + 1, recipe.eval.every), optim.steps})
    training = optim.steps * a_step * _BACKWARD * again
    return once + evaluations * texts * again + min(training, optim.seconds or training)


@torch.no_grad()
def _seconds_a_text(prepared: Prepared) -> tuple[float, float]:
    """For the first time, with what is written once of each text, and again."""
    embedder = prepared.embedder
    if not embedder.trainable():
        embedder = next(embedder.variants(prepared.recipe))[0]
    pairs = [(text, task) for dev in prepared.dev_sets for text, task in zip(dev.texts, dev.instructions, strict=True)]
    some, training = pairs[:: max(1, len(pairs) // (2 * _READ))][: 2 * _READ], embedder.training
    embedder.eval()
    seconds = []
    for half in (some[::2], some[1::2], some[1::2]):  # with the first ones all is done that is done once
        started = perf_counter()
        embedder.pooled([text for text, _ in half], [task for _, task in half], batch_size=max(1, len(half)))
        seconds.append((perf_counter() - started) / max(1, len(half)))
    embedder.train(training)
    return seconds[1], seconds[2]
