"""What a recipe would do, as text: everything is read, loaded and counted as in a run; nothing trains or is written."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from transferkit.config.recipe import Recipe, recipe_yaml
from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.training_sets import TrainingData
from transferkit.decoder.loading import num_parameters
from transferkit.methods.base import Embedder
from transferkit.runner.choose_template import candidates, leaves_template_open
from transferkit.runner.memory_estimate import MemoryEstimate, estimate_memory
from transferkit.runner.outlook import outlook
from transferkit.runner.prepare import Inputs, Prepared, prepare, resolved
from transferkit.runner.record import first_record
from transferkit.training.distributed import world
from transferkit.training.lessons import lesson_texts

_EXAMPLES = 3
_NAME_WIDTH = 24


def describe(recipe: Recipe, inputs: Inputs, *, runs: Path = Path("runs")) -> str:
    """The plan of ``recipe``: what would run and how long, then counts, memory, data and examples, then the recipe.

    Args:
        recipe: what would run.
        inputs: source checkpoint and data folder.
        runs: where the run folder would be made.

    Raises:
        ConfigError, RunError: whatever :func:`transferkit.runner.run.start` would raise before its first step.
    """
    complete = resolved(recipe, source=inputs.source)
    prepared = prepare(complete, inputs)
    record, embedder = first_record(prepared, Path("dry-run")), prepared.embedder
    more = embedder.sections(complete, prepared.data.batch(0))
    sections: list[tuple[str, list[str]]] = [
        ("what would run", _table(outlook(prepared, record, runs=runs))),
        (f"method: {record['label']}", embedder.outline(complete)),
        ("parameters", _parameters(embedder)),
        (f"memory on {record['device']} (estimate)", _memory(prepared)),
        *([("template: auto", _templates(complete))] if leaves_template_open(complete) else []),
        ("steps", _steps(prepared)),
        ("data", _data(prepared, record["data"])),
        *_teacher(prepared),
        *((title, _table(rows)) for title, rows in more),
        (embedder.examples_title(), _examples(prepared)),
        ("recipe, resolved", recipe_yaml(complete).rstrip().splitlines()),
    ]
    blocks = [f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections]
    return "\n\n".join(blocks) + "\n\nNothing was trained, nothing was written."


def _templates(recipe: ResolvedRecipe) -> list[str]:
    number = len(candidates(recipe))
    return [
        f"{number} named ones, then variations of the best: one pass each over the rows that choose, no training; what",
        "stands below is the plan for the first of them",
    ]


def _learns(prepared: Prepared) -> bool:
    return bool(prepared.embedder.trainable())


def _parameters(embedder: Embedder) -> list[str]:
    groups = {name: num_parameters(parameters) for name, parameters in embedder.trainable().items()}
    learned, total = sum(groups.values()), num_parameters(embedder.parameters())
    if not total:
        return ["none"]
    rows = [("trainable", f"{learned:,} of {total:,} ({learned / total:.3%})")]
    rows += [(f"  {name}", f"{count:,}") for name, count in groups.items()]
    return _table(rows)


def _memory(prepared: Prepared) -> list[str]:
    if (note := prepared.embedder.memory_note()) is not None:
        return [note]
    distinct = {text for one in prepared.data.sets for text in (*one.anchors, *one.positives, *one.negatives)}
    distinct.update(text for dev in prepared.dev_sets for text in dev.texts)
    estimate = estimate_memory(
        prepared.embedder,
        prepared.data.batch(0).slice(*world()),
        micro_batch_size=prepared.recipe.optim.micro_batch_size,
        num_distinct_texts=len(distinct),
    )
    rows = [("computed in", str(prepared.recipe.chosen)), *_memory_rows(estimate, learns=_learns(prepared))]
    return _table(rows)


def _memory_rows(estimate: MemoryEstimate, *, learns: bool) -> list[tuple[str, str]]:
    rows = [("weights", f"{_mebibytes(estimate.weights)}  parameters and buffers as loaded")]
    if learns:
        rows += [
            (
                "gradients, optimizer",
                f"{_mebibytes(estimate.optimizer)}  3 x bytes of what learns: gradient and two AdamW moments",
            ),
            (
                "kept for backward",
                f"{_mebibytes(estimate.saved)}  measured on the {estimate.measured} longest texts of the first batch, "
                f"x {estimate.texts_a_pass} / {estimate.measured} for the texts of a forward pass",
            ),
        ]
    if estimate.soft_tokens:
        note = "texts x soft tokens x width x 4 bytes, kept so that each text is written once"
        rows.append(("soft tokens", f"{_mebibytes(estimate.soft_tokens)}  {note}"))
    note = "the sum; without what a pass needs for a moment, evaluation, and the allocator's own"
    return [*rows, ("together", f"{_mebibytes(estimate.total)}  {note}")]


def _steps(prepared: Prepared) -> list[str]:
    if not _learns(prepared):
        return ["none: every dev set is scored once a variant"]
    optim, every = prepared.recipe.optim, prepared.recipe.eval.every
    evaluations = len({*range(0, optim.steps + 1, every), optim.steps})
    examples = optim.steps * optim.batch_size
    most = "" if optim.seconds is None else f", at most: it ends after {optim.seconds:g} s of training"
    rows = [
        ("optimizer steps", f"{optim.steps:,} x {optim.batch_size:,} examples = {examples:,} examples{most}"),
        ("evaluations", f"{evaluations:,}: at step 0, every {every:,} steps and at the last"),
    ]
    for one in prepared.data.sets:
        in_batch = optim.batch_size - 1
        if not one.positives:
            rows.append((f"similarities, {one.spec.name}", f"of each text to {in_batch} in its batch, as a teacher's"))
            continue
        hard = f" + {optim.batch_size} hard = {in_batch + optim.batch_size}" if one.negatives else ""
        rows.append((f"negatives, {one.spec.name}", f"{in_batch} in-batch{hard} per anchor, before masking"))
    return _table(
        [*rows, ("masking", "leaves out candidates that equal the anchor or a positive of it, or share its label")]
    )


def _data(prepared: Prepared, facts: dict[str, Any]) -> list[str]:
    sets = prepared.data.sets
    weights = sum(one.spec.weight for one in sets)
    examples = prepared.recipe.optim.steps * prepared.recipe.optim.batch_size if _learns(prepared) else 0
    rows = []
    for one, fact in zip(sets, facts["train"], strict=True):
        share = one.spec.weight / weights
        drawn = f", {share:.0%} of the batches: about {share * examples:,.0f} examples" if examples else ""
        rows.append((f"train {fact['name']}", f"{one.spec.kind}, {fact['rows']:,} rows, {_skipped(fact)}{drawn}"))
    for dev in prepared.dev_sets:
        selects = "selects" if dev.select else "reported only"
        rows.append((f"dev {dev.name}", f"{dev.kind}, {len(dev.texts):,} texts, {_skipped(dev.counts)}, {selects}"))
    return [*_table(rows), *(f"warning: {warning}" for warning in facts["warnings"])]


def _teacher(prepared: Prepared) -> list[tuple[str, list[str]]]:
    """Who teaches, and what; nothing where nobody does."""
    teacher, section = prepared.teacher, prepared.recipe.teacher
    if teacher is None or section is None:
        return []
    scored = sum(len(dev.texts) for dev in prepared.dev_sets if dev.kind == "texts")
    read = len(lesson_texts(prepared.recipe, prepared.data))
    rows = [
        (teacher.kind, teacher.name),
        ("reads", f"{read:,} texts of the steps and {scored:,} of dev sets, once, before the first step"),
        ("temperature", f"{section.temperature}"),
    ]
    if any(one.positives for one in prepared.data.sets):
        beside = "in the place of" if section.alone else "beside"
        rows.append(("weight on pairs", f"{section.weight}, {beside} the contrastive loss"))
    return [("teacher", _table(rows))]


def _skipped(facts: dict[str, Any]) -> str:
    return f"{facts['skipped_rows']:,} skipped"


def _examples(prepared: Prepared) -> list[str]:
    """As the method reads them, or the first of its ways where nothing learns."""
    embedder = prepared.embedder
    if not _learns(prepared):
        embedder = next(embedder.variants(prepared.recipe))[1][0].embedder
    chosen = islice(dict.fromkeys(_example_texts(prepared.data)), _EXAMPLES)
    return [line for text, instruction in chosen for line in embedder.example(text, instruction).lines()]


def _example_texts(data: TrainingData) -> Iterator[tuple[str, str]]:
    """The first rows of each set in turn, both sides, with their instructions."""
    for row in range(_EXAMPLES):
        for one in data.sets:
            if row < len(one.anchors):
                yield one.anchors[row], one.spec.instruction or ""
            if row < len(one.positives):
                yield one.positives[row], one.document_instruction


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(_NAME_WIDTH, *(len(name) + 2 for name, _ in rows))
    return [f"{name:<{width}}{value}" for name, value in rows]


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:>10,.1f} MiB"
