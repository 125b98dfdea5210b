"""Run one recipe from start to finish inside a run folder: what train, adapt and baseline share."""

from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from transferkit.config.recipe import Recipe, recipe_yaml
from transferkit.config.recipes import recorded_recipe
from transferkit.decoder.loading import num_parameters
from transferkit.errors import RefusedError, RunError
from transferkit.files.json import write_text
from transferkit.files.lock import sole_use
from transferkit.files.writable import check_writable, refusal, writing
from transferkit.progress import Progress, say
from transferkit.runner.prepare import Inputs, Prepared, prepare, resolved
from transferkit.runner.record import finished, first_record, label, lacks_card, write_card, write_record
from transferkit.runner.resuming import check_as_begun, check_goes_on, check_unchanged, continued, diverged
from transferkit.runner.work import measure, train
from transferkit.runs.checkpoint_folder import given_folder
from transferkit.runs.folder import begin_in, new_run_folder, read_record
from transferkit.training.distributed import from_main, is_main
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
    """Continue an interrupted run from its newest state; a finished one is left as it is, but for a card that it lacks.

    Args:
        folder: of the run.
        force: go on with a recipe that was edited, or in a folder that was copied or moved; the record says so.
        anywhere: a folder of the same name in another one will do, as where a study keeps its runs.
        console: for progress.

    Raises:
        ConfigError: not a run folder, a run of an earlier version, a changed recipe, folder, data or model, or another
            process has it.
        RefusedError: the disk refused.
    """
    record = read_record(folder)
    if record["status"] == "done":
        drop_states(folder)  # which a kill between its last two writes would leave
        if lacks_card(folder) and is_main():
            write_card(folder, console)
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
    with Progress(console, steps=steps, title=folder.name) as progress:
        for warning in record["data"]["warnings"]:
            progress.warn(warning)
        try:
            outcome = (train if prepared.embedder.trainable() else measure)(prepared, folder, progress)
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
        write_card(folder, console)


def _summary(prepared: Prepared) -> str:
    """One line on what runs: which path, how exact, how many parameters train, in which precision."""
    embedder = prepared.embedder
    parts = [label(prepared), *embedder.summary()]
    if any(True for _ in embedder.parameters()):
        learned = num_parameters(p for group in embedder.trainable().values() for p in group)
        parts += [f"{learned:,} trainable parameters", str(prepared.recipe.chosen)]
    return "; ".join(parts)


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
