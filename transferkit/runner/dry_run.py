"""What a recipe would do, as text: everything is read, loaded and counted as in a run; nothing trains or is written."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from transferkit.config.recipes import Recipe, recipe_yaml
from transferkit.config.specs import STATIC, parts_of
from transferkit.data.examples import Batch
from transferkit.data.training_sets import TrainingData
from transferkit.decoder.loading import num_parameters
from transferkit.methods.baselines import FrozenEmbedder, PromptingAlone
from transferkit.methods.build import JOINS, frozen_readings, resolve_recipe, variant_name, variants
from transferkit.methods.embedder import BackboneEmbedder, Embedder
from transferkit.methods.tfidf import Tfidf
from transferkit.runner.example_tokens import POOLED, example, one_line
from transferkit.runner.memory_estimate import MemoryEstimate, estimate_memory
from transferkit.runner.runner import Inputs, Prepared
from transferkit.training.distributed import world

_EXAMPLES = 3
_NAME_WIDTH = 24


def describe(recipe: Recipe, inputs: Inputs) -> str:
    """The plan of ``recipe``: resolved recipe, counts, memory, data, paths and examples as the models read them.

    Raises:
        ConfigError, RunError: whatever :func:`transferkit.runner.runner.start` would raise before its first step.
    """
    recipe, spec = resolve_recipe(recipe, source=inputs.source)
    prepared = Prepared.load(recipe, spec, inputs)
    record = prepared.record(Path("dry-run"))
    sections: list[tuple[str, list[str]]] = [
        ("recipe, resolved", recipe_yaml(recipe).rstrip().splitlines()),
        (f"method: {record['label']}", _method(prepared)),
        ("parameters", _parameters(prepared.built.embedder if prepared.built else None)),
        (f"memory on {record['device']} (estimate)", _memory(prepared)),
        ("steps", _steps(prepared)),
        ("data", _data(prepared, record["data"])),
        *_backbone(prepared),
        (_examples_title(prepared), _examples(prepared)),
    ]
    blocks = [f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections]
    return "\n\n".join(blocks) + "\n\nNothing was trained, nothing was written."


def _learns(prepared: Prepared) -> bool:
    return prepared.built is not None and bool(prepared.built.embedder.trainable())


def _method(prepared: Prepared) -> list[str]:
    if _learns(prepared):
        return [f"trained, evaluated from step 0 on; the {prepared.recipe.eval.keep} step becomes the checkpoint"]
    if prepared.built is None:
        return ["words and their weights are counted in the training texts; no checkpoint"]
    names = _variant_names(prepared.recipe, prepared.built.embedder)
    return ["nothing learns; the best of these becomes the checkpoint:", *(f"  {name}" for name in names)]


def _variant_names(recipe: Recipe, embedder: Embedder) -> list[str]:
    """Without making them: a variant sets the backbone's template."""
    if isinstance(embedder, PromptingAlone):
        return list(JOINS.values())
    return [variant_name(one, template) for template, poolings in frozen_readings(recipe.frozen) for one in poolings]


def _parameters(embedder: Embedder | None) -> list[str]:
    if embedder is None:
        return ["none"]
    groups = {name: num_parameters(parameters) for name, parameters in embedder.trainable().items()}
    learned, total = sum(groups.values()), num_parameters(embedder.parameters())
    rows = [("trainable", f"{learned:,} of {total:,} ({learned / total:.3%})")]
    rows += [(f"  {name}", f"{count:,}") for name, count in groups.items()]
    return _table(rows)


def _memory(prepared: Prepared) -> list[str]:
    if prepared.built is None:
        return ["the vectors of all dev texts, sparse"]
    distinct = {text for one in prepared.data.sets for text in (*one.anchors, *one.positives, *one.negatives)}
    distinct.update(text for dev in prepared.dev_sets for text in dev.texts)
    estimate = estimate_memory(
        prepared.built.embedder,
        prepared.data.batch(0).slice(*world()),
        micro_batch_size=prepared.recipe.optim.micro_batch_size,
        num_distinct_texts=len(distinct),
    )
    return _memory_rows(estimate, learns=_learns(prepared))


def _memory_rows(estimate: MemoryEstimate, *, learns: bool) -> list[str]:
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
    return _table([*rows, ("together", f"{_mebibytes(estimate.total)}  {note}")])


def _steps(prepared: Prepared) -> list[str]:
    if not _learns(prepared):
        return ["none: every dev set is scored once a variant"]
    optim, every = prepared.recipe.optim, prepared.recipe.eval.every
    evaluations = len({*range(0, optim.steps + 1, every), optim.steps})
    examples = optim.steps * optim.batch_size
    rows = [
        ("optimizer steps", f"{optim.steps:,} x {optim.batch_size:,} examples = {examples:,} examples"),
        ("evaluations", f"{evaluations:,}: at step 0, every {every:,} steps and at the last"),
    ]
    for one in prepared.data.sets:
        in_batch = optim.batch_size - 1
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


def _skipped(facts: dict[str, Any]) -> str:
    return f"{facts['skipped_rows']:,} skipped"


def _vector_widths(recipe: Recipe, embedder: BackboneEmbedder) -> str:
    """Of the method, or of its variants."""
    poolings = recipe.frozen.poolings if isinstance(embedder, FrozenEmbedder) else [embedder.pooling]
    return " or ".join(f"{width:,}" for width in sorted({embedder.pooled_width(pooling) for pooling in poolings}))


def _backbone(prepared: Prepared) -> list[tuple[str, list[str]]]:
    embedder = prepared.built.embedder if prepared.built else None
    if prepared.built is None or not isinstance(embedder, BackboneEmbedder):
        return []
    backbone = embedder.backbone
    exactness = backbone.exactness
    errors = f"cached text {max(exactness.cached_errors):.1e}, padded full pass {max(exactness.full_errors):.1e}"
    rows = [
        ("path", _path(embedder, prepared.data.batch(0))),
        ("exactness, measured", f"{errors} (relative error to single rows without padding)"),
        ("widths", f"embeddings {backbone.embedding_width:,}, vectors {_vector_widths(prepared.recipe, embedder)}"),
        ("weights", f"{str(backbone.dtype).removeprefix('torch.')}, quantization {backbone.quantization}"),
    ]
    sections = [(f"backbone: {backbone.spec.name}", _table(rows))]
    alignment = prepared.built.facts.get("alignment")
    if alignment is not None:
        sections.append(("alignment", _table([("W starts from", _start(alignment)), ("offsets", alignment["offset"])])))
    return sections


def _start(alignment: dict[str, Any]) -> str:
    """In words what the record says of the start."""
    learned = f"the source's own W for {alignment['through']}" if "through" in alignment else ""
    if "anchors" not in alignment:
        return learned or "a random draw of matched size"
    shared = f"{alignment['anchors']:,} tokens that both vocabularies share, R2 {alignment['anchor_r2']:.4f}"
    return f"{learned}, through {shared}" if learned else shared


def _path(embedder: BackboneEmbedder, batch: Batch) -> str:
    backbone = embedder.backbone
    soft = embedder.soft_prompt(batch.anchors[:2], [batch.anchor_instruction] * 2)
    if soft is None:
        return "full: no soft tokens, so the whole row is one pass"
    if backbone.takes_cached_path(backbone.rows(batch.anchors, [batch.anchor_instruction] * len(batch))):
        return "cached: text runs once without gradient, soft tokens and what follows run on top of it"
    if not backbone.exactness.cached:
        return "full: cached text is not exact on this decoder"
    return "full: what stands after the soft tokens differs in length from text to text"


def _examples_title(prepared: Prepared) -> str:
    embedder = prepared.built.embedder if prepared.built else None
    if embedder is None:
        return "examples, as words"
    title = f"examples, as tokens ({POOLED} makes the vector"
    if isinstance(embedder, FrozenEmbedder):
        return f"{title}; the first variant)"
    if isinstance(embedder, BackboneEmbedder):
        if STATIC in parts_of(embedder.pooling):
            title = f"examples, as tokens (states at {POOLED} and the text's token embeddings make the vector"
        return f"{title}; pooling {embedder.pooling}, template {one_line(embedder.backbone.template.source)!r})"
    return f"{title})"


def _examples(prepared: Prepared) -> list[str]:
    chosen = list(islice(dict.fromkeys(_example_texts(prepared.data)), _EXAMPLES))
    if prepared.built is None:
        analyze = Tfidf([text for text, _ in chosen]).vectorizer.build_analyzer()
        return [" ".join(analyze(text)) for text, _ in chosen]
    embedder = prepared.built.embedder
    if not embedder.trainable():
        embedder = next(variants(prepared.recipe, prepared.built))[1][0].embedder
    assert isinstance(embedder, BackboneEmbedder | PromptingAlone)
    return [line for text, instruction in chosen for line in example(embedder, text, instruction).lines()]


def _example_texts(data: TrainingData) -> Iterator[tuple[str, str]]:
    """The first rows of each set in turn, both sides, with their instructions."""
    for row in range(_EXAMPLES):
        for one in data.sets:
            if row < len(one.anchors):
                yield one.anchors[row], one.spec.instruction or ""
                yield one.positives[row], one.document_instruction


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(_NAME_WIDTH, *(len(name) + 2 for name, _ in rows))
    return [f"{name:<{width}}{value}" for name, value in rows]


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:>10,.1f} MiB"
