"""Run one recipe from start to finish inside a run folder: what train, adapt and baseline share."""

from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from transferkit.checkpoints.checkpoint import save
from transferkit.config.recipe import Recipe, recipe_yaml
from transferkit.config.recipes import recorded_recipe
from transferkit.decoder.loading import num_parameters
from transferkit.decoder.text_states import TextStateMemory
from transferkit.decoder.tokens import CutTexts, cut_in_words
from transferkit.errors import RefusedError, RunError
from transferkit.files.json import write_text
from transferkit.files.lock import sole_use
from transferkit.files.writable import check_writable, refusal, writing
from transferkit.methods.base import Embedder, Given
from transferkit.methods.registry import floors
from transferkit.progress import Progress, say
from transferkit.readout.readout import Settings
from transferkit.runner.prepare import Inputs, Prepared, prepare, resolved
from transferkit.runner.provenance import lineage
from transferkit.runner.record import finished, first_record, label, untrained_row, write_outcomes, write_record
from transferkit.runner.resuming import check_as_begun, check_goes_on, check_unchanged, continued, diverged
from transferkit.runner.verdict import in_words, verdict
from transferkit.runs.checkpoint_folder import given_folder, source_facts
from transferkit.runs.folder import begin_in, delivered, new_run_folder, read_record, write_metrics
from transferkit.training.distributed import from_main, is_main
from transferkit.training.lessons import Lessons, teach
from transferkit.training.loop import fit
from transferkit.training.scoring import Scorer
from transferkit.training.signals import Interrupted
from transferkit.training.state import drop_states


def start(recipe: Recipe, inputs: Inputs, *, runs: Path, console: Console, name: str | None = None) -> Path:
    """Run ``recipe`` in a new folder below ``runs``; returns that folder.

    Everything that can be wrong with the input is found before the folder is made.

    Args:
        recipe: what to run; what it leaves open is filled from source and spec.
        inputs: source checkpoint and data folder.
        runs: where the folder is made.
        console: for progress.
        name: of the folder; None: method, backbone and time.

    Raises:
        ConfigError, RunError: see :mod:`transferkit.errors`; also where another process has the folder, or a run is in
            it.
        Interrupted: stopped by the user; the folder can be resumed.
    """
    check_writable(runs)
    if inputs.source is not None:
        inputs = replace(inputs, source=given_folder(inputs.source))
    prepared = prepare(resolved(recipe, source=inputs.source), inputs, console=console)
    spec = prepared.recipe.spec
    automatic = (recipe.method or recipe.task) + ("" if spec is None else f"-{spec.name}")
    # A name of one's own may be another process's too, so that folder is made under the lock.
    folder = runs / name if name else from_main(new_run_folder(runs, automatic) if is_main() else None)
    return _run(prepared, folder, console)


def resume(folder: Path, *, force: bool = False, anywhere: bool = False, console: Console) -> Path:
    """Continue an interrupted run from its newest state; a finished one is left as it is.

    Args:
        folder: of the run.
        force: go on with a recipe that was edited, or in a folder that was copied or moved; the record says so.
        anywhere: a folder of the same name in another one will do, as where a study keeps its runs.
        console: for progress.

    Raises:
        ConfigError: not a run folder, a run of an earlier version, a changed recipe, folder, data or model, or another
            process has it.
    """
    record = read_record(folder)
    if record["status"] == "done":
        drop_states(folder)  # which a kill between its last two writes would leave
        say(f"{folder}: already done, nothing to resume", console)
        return folder
    check_goes_on(folder, record, force=force)
    given = record.get("inputs") or {}
    inputs = Inputs(**{key: Path(given[key]) if given.get(key) else None for key in ("source", "data_dir")})
    recorded = recorded_recipe(folder)
    forced = check_as_begun(folder, record, recorded, force=force, anywhere=anywhere)
    recipe = resolved(recorded, source=inputs.source)
    prepared = prepare(recipe, inputs)
    prepared.template_choice = record.get("template_choice") or {}  # it was made when the run began
    check_unchanged(folder, record, first_record(prepared, folder))
    return _run(prepared, folder, console, begun=record, forced=forced)


def _run(
    prepared: Prepared,
    folder: Path,
    console: Console,
    *,
    begun: dict[str, Any] | None = None,
    forced: dict[str, Any] | None = None,
) -> Path:
    """Train or measure, and leave ``folder`` finished.

    ``begun`` is the record of the run that is continued, ``forced`` what differs from how it began.
    """
    with sole_use(folder) if is_main() else nullcontext():
        if begun is None and is_main():
            begin_in(folder)
            with writing(f"{folder}: cannot begin a run there", way_out="mend that and start it again"):
                write_text(folder / "recipe.yaml", recipe_yaml(prepared.recipe))
        if begun is None or from_main(read_record(folder)["status"] if is_main() else None) != "done":
            record = first_record(prepared, folder)
            if begun is not None:
                record = continued(record, begun, forced=forced or {})
            _recorded(prepared, folder, record, console)
    return folder


def _recorded(prepared: Prepared, folder: Path, record: dict[str, Any], console: Console) -> None:
    """The work itself, and what the record says however it ends."""
    with writing(f"{folder}: its record cannot be written", way_out="mend that and run it again"):
        write_record(folder, record)
    console = console if is_main() else Console(quiet=True)
    say(_summary(prepared), console)
    steps = prepared.recipe.optim.steps
    with Progress(console, steps=steps, title=folder.name, live=console.is_terminal) as progress:
        for warning in record["data"]["warnings"]:
            progress.warn(warning)
        try:
            outcome = (_train if prepared.embedder.trainable() else _measure)(prepared, folder, progress)
            if "diverged" in outcome:
                record |= outcome
                raise RunError(diverged(folder, outcome))
            write_record(folder, finished(record, outcome))
        except (Interrupted, KeyboardInterrupt):  # the second one outside of the training loop
            with suppress(OSError):  # it can be resumed all the same
                write_record(folder, record | {"status": "interrupted"})
            raise Interrupted(folder) from None
        except Exception as error:
            failure = _in_words(error, folder)
            with suppress(OSError):  # the disk may be what failed
                write_record(folder, record | {"status": "failed", "error": str(failure)})
            if failure is error:
                raise
            raise failure from error
    if is_main():
        drop_states(folder)


def _summary(prepared: Prepared) -> str:
    """One line on what runs: which path, how exact, how many parameters train, in which precision."""
    embedder = prepared.embedder
    parts = [label(prepared), *embedder.summary()]
    if any(True for _ in embedder.parameters()):
        learned = num_parameters(p for group in embedder.trainable().values() for p in group)
        parts += [f"{learned:,} trainable parameters", str(prepared.recipe.chosen)]
    return "; ".join(parts)


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


def _train(prepared: Prepared, folder: Path, progress: Progress) -> dict[str, Any]:
    teacher_seconds, lessons = _taught(prepared, progress)
    recipe, embedder, scorer = prepared.recipe, prepared.embedder, _scorer(prepared)
    tracker = _tracker(prepared, folder)
    fitted = fit(
        embedder, recipe, prepared.data, scorer, folder=folder, tracker=tracker, progress=progress, lessons=lessons
    )
    started = perf_counter()
    embedder.eval()
    if (settings := fitted.best.row["readout"]) is not None:
        embedder.use_readout(fitted.best.readout or scorer.fit(embedder, Settings(**settings)))
    readout_seconds = perf_counter() - started
    _save(prepared, embedder, folder)
    progress.kept(fitted.best.step, delivered(fitted.best.row["score"]), steps=recipe.optim.steps)
    given = Given(source=None, device=prepared.accelerator.device, data=prepared.data)
    found = verdict(embedder, fitted, scorer, floors={one.facts.title: one.build(recipe, given) for one in floors()})
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


def _measure(prepared: Prepared, folder: Path, progress: Progress) -> dict[str, Any]:
    """Score every way to read a method that learns nothing; the best one becomes the checkpoint."""
    teacher_seconds, _ = _taught(prepared, progress)
    started, scorer = perf_counter(), _scorer(prepared)
    rows: list[dict[str, Any]] = []
    best: dict[str, Any] = {}
    cut: list[list[CutTexts]] = []
    for reader, variants in prepared.embedder.variants(prepared.recipe):
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


def _kept(step: int, row: dict[str, Any]) -> dict[str, Any]:
    """What the record says of the evaluation that was kept; ``choosing`` is what it was chosen by."""
    chosen, score = delivered(row["choosing"]), delivered(row["score"])
    return {"step": step, "score": score, "choosing": chosen, "readout": row["readout"]}


def _taught(prepared: Prepared, progress: Progress) -> tuple[dict[str, float], Lessons | None]:
    """What the teacher says of the texts, where there is one, and the seconds that it took; then it is let go."""
    if prepared.teacher is None:
        return {}, None
    started = perf_counter()
    lessons, prepared.dev_sets = teach(prepared.teacher, prepared.recipe, prepared.data, prepared.dev_sets, progress)
    prepared.teacher.dismiss()
    return {"teacher_seconds": perf_counter() - started}, lessons


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


def _in_words(error: Exception, folder: Path) -> Exception:
    """What the machine refused, as a :class:`RunError`; any other error as it is."""
    if isinstance(error, torch.OutOfMemoryError):
        return RunError(
            f"{folder}: out of GPU memory; start again with optim.micro_batch_size (fewer texts a pass, the same "
            "negatives), a lower eval.batch_size or embedding.max_length"
        )
    what = f"{getattr(error, 'filename', None) or folder}: {refusal(error)}" if refusal(error) else None
    if isinstance(error, RefusedError):
        what = error.what
    return error if what is None else RunError(f"{what}; mend that, then continue with --resume {folder}")
