"""What a run does between its first record and its last: it trains, or it measures what learns nothing."""

from pathlib import Path
from time import perf_counter
from typing import Any

from accelerate import Accelerator

from transferkit.checkpoints.checkpoint import save
from transferkit.decoder.text_states import TextStateMemory
from transferkit.decoder.tokens import CutTexts, cut_in_words
from transferkit.methods.base import Embedder, Given
from transferkit.methods.registry import floors
from transferkit.progress import Progress
from transferkit.readout.readout import Settings
from transferkit.runner.prepare import Prepared
from transferkit.runner.provenance import lineage
from transferkit.runner.record import untrained_row, write_outcomes
from transferkit.runner.verdict import in_words, verdict
from transferkit.runs.checkpoint_folder import source_facts
from transferkit.runs.folder import delivered, write_metrics
from transferkit.training.distributed import is_main
from transferkit.training.lessons import Lessons, teach
from transferkit.training.loop import fit
from transferkit.training.scoring import Scorer


def train(prepared: Prepared, folder: Path, progress: Progress) -> dict[str, Any]:
    """Train, keep the best weights, and judge them; what the record says of it."""
    teacher_seconds, lessons = _taught(prepared, folder, progress)
    recipe, embedder, scorer = prepared.recipe, prepared.embedder, _scorer(prepared)
    tracker = _tracker(prepared, folder)
    fitted = fit(
        embedder, recipe, prepared.data, scorer, folder=folder, tracker=tracker, progress=progress, lessons=lessons
    )
    started = perf_counter()
    embedder.eval()
    if (settings := fitted.best.row["readout"]) is not None:
        with progress.reading("fits the readout", len(scorer.sample.texts)):
            embedder.use_readout(fitted.best.readout or scorer.fit(embedder, Settings(**settings)))
    readout_seconds = perf_counter() - started
    _save(prepared, embedder, folder)
    progress.kept(fitted.best.step, delivered(fitted.best.row["score"]), steps=recipe.optim.steps)
    given = Given(source=None, device=prepared.accelerator.device, data=prepared.data)
    with progress.reading("reads the texts without what was trained", None):
        found = verdict(embedder, fitted, scorer, floors={o.facts.title: o.build(recipe, given) for o in floors()})
    if fitted.best.evidence is not None:
        write_outcomes(folder, prepared.dev_sets, fitted.best.evidence.outcomes)
    if found is not None:
        progress.judged(in_words(found))
    if tracker is not None:
        tracker.end_training()
    state = fitted.state
    return {
        "steps": state.step,
        "verdict": found,
        "best": _kept(fitted.best.step, fitted.best.row),
        "timings": {
            **teacher_seconds,
            "cache_seconds": embedder.cache_seconds,
            "train_seconds": state.seconds,
            "evaluation_seconds": state.evaluation_seconds,
            "readout_seconds": readout_seconds,
        },
        "warnings": state.warnings,
        "cut_texts": [one.facts() for one in embedder.cut_texts()],
        **({} if state.diverged is None else {"diverged": state.diverged}),
    }


def measure(prepared: Prepared, folder: Path, progress: Progress) -> dict[str, Any]:
    """Score every way to read a method that learns nothing; the best one becomes the checkpoint."""
    teacher_seconds, _ = _taught(prepared, folder, progress)
    started, scorer = perf_counter(), _scorer(prepared)
    rows: list[dict[str, Any]] = []
    best: dict[str, Any] = {}
    cut: list[list[CutTexts]] = []
    for reader, variants in prepared.embedder.variants(prepared.recipe):
        with progress.reading("reads the texts", scorer.texts):
            vectors = scorer.read(reader)
        cut.append(reader.cut_texts())
        for sentence in cut_in_words(cut[0]) if len(cut) == 1 else ():
            progress.warn(sentence)
        for variant in variants:
            evaluation = scorer.score(vectors.part(variant.part))
            rows.append(untrained_row(variant.name, evaluation))
            if is_main():
                write_metrics(folder, rows)
            progress.evaluated(rows[-1])
            if not best or evaluation.choosing_score > best["choosing"]:
                best = _kept(0, evaluation.row()) | {"variant": variant.name}
                if evaluation.readout is not None:
                    variant.embedder.use_readout(evaluation.readout)
                _save(prepared, variant.embedder, folder)
                write_outcomes(folder, prepared.dev_sets, evaluation.outcomes)
    timings = {"cache_seconds": 0.0, "train_seconds": 0.0, "evaluation_seconds": perf_counter() - started}
    # Every method has one way at least.
    return {"best": best, "timings": teacher_seconds | timings, "cut_texts": [one.facts() for one in cut[0]]}


def _scorer(prepared: Prepared) -> Scorer:
    recipe = prepared.recipe
    sample = prepared.data.sample_with_pairs(recipe.readout.sample, recipe.seed)
    memory = TextStateMemory(budget_bytes=int(recipe.eval.keep_states_gib * 2**30)) if recipe.facts.learns else None
    return Scorer(
        prepared.dev_sets,
        sample=sample,
        readout=recipe.readout,
        batch_size=recipe.eval.batch_size,
        memory=memory,
    )


def _kept(step: int, row: dict[str, Any]) -> dict[str, Any]:
    """What the record says of the evaluation that was kept; ``choosing`` is what it was chosen by."""
    chosen, score = delivered(row["choosing"]), delivered(row["score"])
    return {"step": step, "score": score, "choosing": chosen, "readout": row["readout"]}


def _taught(prepared: Prepared, folder: Path, progress: Progress) -> tuple[dict[str, float], Lessons | None]:
    """What the teacher says of the texts, where there is one, and the seconds that it took; then it is let go."""
    if prepared.teacher is None:
        return {}, None
    lessons, prepared.dev_sets, seconds = teach(
        prepared.teacher, prepared.recipe, prepared.data, prepared.dev_sets, progress, folder=folder
    )
    prepared.teacher.dismiss()
    return {"teacher_seconds": seconds}, lessons


def _save(prepared: Prepared, embedder: Embedder, folder: Path) -> None:
    recipe, source = prepared.recipe, prepared.inputs.source
    if not is_main() or recipe.facts.kind is None:
        return
    folder.stat()  # one that went away is not made anew with a checkpoint alone in it
    # A source that was replaced meanwhile holds another Prompting LLM than the one in memory: do not link that.
    if source is None or not source.exists() or source_facts(source) != prepared.source:
        source = None
    save(
        embedder,
        folder / "checkpoint",
        instructions={one.name: one.instruction or "" for one in recipe.data.train},
        document_instructions={one.spec.name: one.document_instruction for one in prepared.data.sets},
        prompting_from=source,
        lineage=lineage(prepared),
    )


def _tracker(prepared: Prepared, folder: Path) -> Accelerator | None:
    if prepared.recipe.tracking == "none":
        return None
    prepared.accelerator.project_configuration.logging_dir = str(folder)
    prepared.accelerator.init_trackers("transferkit", init_kwargs={"wandb": {"name": folder.name}})
    return prepared.accelerator
