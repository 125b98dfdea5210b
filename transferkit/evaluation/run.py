"""mteb tasks one by one for one encoder after the other: what is there already is kept, what changed is run again."""

import copy
import gc
import itertools
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import mteb
import sentence_transformers  # noqa: F401 - mteb imports it at its first task, whose time would then hold these seconds
from mteb.abstasks import AbsTask, AbsTaskClustering, AbsTaskMultilabelClassification
from mteb.results.task_result import TaskResult
from rich.console import Console

from transferkit.data.hub import quiet_datasets
from transferkit.decoder.tokens import cut_in_words
from transferkit.errors import RefusedError, TransferkitError, first_line
from transferkit.evaluation.dataset_columns import columns_in_blocks
from transferkit.evaluation.encoder import TextEncoder
from transferkit.evaluation.instructions import inner_tasks
from transferkit.evaluation.notes import GO_ON, identity, read_notes, stored_result, write_note
from transferkit.evaluation.samples import Observed, keep_samples, read_samples, samples_file
from transferkit.evaluation.tables.rows import TaskRow
from transferkit.evaluation.tables.written import write_tables
from transferkit.files.manifest import sha256_file
from transferkit.files.writable import disk_refused, refusal, writing
from transferkit.progress import Work, say, warn
from transferkit.report.formats import count, percent, score, seconds
from transferkit.report.intervals import Samples

# Their subsets draw from one random state one after the other: a part that lies there cannot be gone on from.
_DRAWN = (AbsTaskClustering, AbsTaskMultilabelClassification)


def run_tasks(
    groups: Iterable[Sequence[TextEncoder]],
    tasks: Sequence[AbsTask],
    *,
    out: Path,
    batch_size: int,
    console: Console,
) -> Iterator[TaskRow]:
    """A row for every encoder and task, as each is done; after each the tables in ``out`` are written.

    Scores lie in ``out`` in mteb's own layout. One is taken from there where model, data, subsets, kind of task,
    instructions and versions are what they were; else the task is run, or the rest of it where a kill left a part. A
    task that fails, as when its data cannot be had, gives a row that says so.

    Args:
        groups: encoders that share what is loaded and read; taken one by one, so that no more than one group needs to
            be in memory. A group is done task by task.
        tasks: not loaded.
        out: made where it is missing.
        batch_size: texts a forward pass.
        console: for progress.

    Raises:
        RunError: the encoder failed.
    """
    cache = mteb.ResultCache(cache_path=out)
    rows: list[TaskRow] = []
    seen: set[tuple[str, ...]] = set()
    for given in groups:
        group = []
        for encoder in given:
            if (key := (encoder.name, encoder.method, encoder.revision)) in seen:
                say(f"{encoder.name}: {encoder.method}  was given before, under another name", console)
            else:
                group.append(encoder)
            seen.add(key)
        for task, encoder in itertools.product(tasks, group):
            read = Work(console, f"{encoder.name}  {task.metadata.name}", total=None)
            with _quiet_mteb(), columns_in_blocks(), read:
                encoder.on_progress = read.so_far
                row = _run_task(encoder, task, cache, batch_size, console)
            rows.append(row)
            _say(row, console)
            write_tables(rows, out, types=[task.metadata.type for task in tasks])
            yield row
        del given, group, encoder
        gc.collect()  # modules refer to each other in circles; the next one may need the memory


def _run_task(
    encoder: TextEncoder, task: AbsTask, cache: Any, batch_size: int, console: Console, *, whole: AbsTask | None = None
) -> TaskRow:
    """``whole``: the aggregate that the task is a part of."""
    if (inner := inner_tasks(task)) is not None:
        rows = [_run_task(encoder, one, cache, batch_size, console, whole=whole or task) for one in inner]
        return _joined(rows, encoder, task, cache, batch_size)
    name = task.metadata.name
    path = cache.get_task_result_path(name, encoder.mteb_model_meta)
    wanted = identity(encoder, task)
    before = read_notes(path.parent).get(name, {})
    stored = stored_result(path)
    same = stored is not None and stored.dataset_revision == task.metadata.revision
    same = same and wanted == {key: before.get(key) for key in wanted}
    if same and before.get("done") and before.get("result_sha256") not in (None, sha256_file(path)):
        warn(f"{path}: differs from what was written there, so the task is run again", console)
        same = False
    beside = samples_file(path)
    if same and stored is not None and before.get("done") and not stored.get_missing_evaluations(task):
        return _row(encoder, task, stored, before, kept=True, samples=_kept_samples(beside, before))
    same = same and not isinstance(task, _DRAWN)
    if not same:
        with writing(f"{path}: could not be removed", way_out=GO_ON):
            path.unlink(missing_ok=True)  # so that what lies there, if a kill comes, was measured as noted
    write_note(path.parent, name, wanted | {"done": False})
    given, texts, encoder_seconds, started = encoder.given, encoder.texts, encoder.seconds, perf_counter()
    encoder.take_cut_texts()  # of tasks before
    # By itself mteb would keep a score of other data.
    strategy = "only-missing" if same else "always"
    observed = Observed(copy.deepcopy(task))  # a copy, for its random state is then the same for every encoder
    found = _evaluate(encoder, observed.task, cache, batch_size, overwrite=strategy, prepare=whole or task)
    if isinstance(found, str):
        return _failed(encoder, task, found)
    cut = encoder.take_cut_texts()
    for sentence in cut_in_words(cut):
        warn(f"{encoder.name}, {name}: {sentence}", console)
    written = stored_result(path)
    samples = None if same else observed.samples((written or found).get_score())
    with writing(f"{beside}: could not be written", way_out=GO_ON):
        keep_samples(samples, beside)
    judged = encoder.given - given if isinstance(task, AbsTaskClustering) else observed.judged
    measured = {
        "done": True,
        # With a part that was there already, what the whole took and read is not known.
        "seconds": None if same else round(perf_counter() - started, 3),
        "encoder_seconds": None if same else round(encoder.seconds - encoder_seconds, 3),
        "texts": None if same else encoder.texts - texts,
        "shared": encoder.shares,
        "batch_size": batch_size,
        "device": encoder.device,
        "precision": encoder.precision,
        "cut_texts": [one.facts() for one in cut],
        "judged": None if same else judged,
        "result_sha256": None if written is None else sha256_file(path),
        "samples_sha256": None if samples is None else sha256_file(beside),
    }
    write_note(path.parent, name, wanted | measured)
    # What was written is rounded, as a later call will read it.
    return _row(encoder, task, written or found, measured, kept=False, samples=samples)


def _joined(rows: Sequence[TaskRow], encoder: TextEncoder, task: AbsTask, cache: Any, batch_size: int) -> TaskRow:
    """An aggregate's row from those of its tasks, whose scores lie in ``cache``."""
    for row in rows:
        if row.problem is not None:
            return _failed(encoder, task, f"{row.task}: {row.problem}")
    path = cache.get_task_result_path(task.metadata.name, encoder.mteb_model_meta)
    with writing(f"{path}: could not be removed", way_out=GO_ON):
        path.unlink(missing_ok=True)  # of other parts
    found = _evaluate(encoder, copy.deepcopy(task), cache, batch_size, overwrite="only-missing")
    if isinstance(found, str):
        return _failed(encoder, task, found)
    facts: dict[str, Any] = {"shared": encoder.shares}
    for name in ("seconds", "encoder_seconds", "texts", "judged"):
        values = [getattr(row, name) for row in rows]
        facts[name] = None if None in values else sum(values)
    return _row(encoder, task, found, facts, kept=all(row.kept for row in rows))


def _evaluate(
    encoder: TextEncoder,
    task: AbsTask,
    cache: Any,
    batch_size: int,
    *,
    overwrite: str,
    prepare: AbsTask | None = None,
) -> TaskResult | str:
    """The result that mteb gives, or why it gives none."""
    try:
        if prepare is not None:
            encoder.prepare(prepare)
        found = mteb.evaluate(
            encoder,
            task,
            cache=cache,
            encode_kwargs={"batch_size": batch_size, "show_progress_bar": False},
            show_progress_bar=False,
            co2_tracker=False,
            overwrite_strategy=overwrite,
        )
    except TransferkitError:
        raise
    except Exception as error:  # loaders, networks and scikit-learn have no common base class
        if disk_refused(error):  # not a fault of this task alone
            where = getattr(error, "filename", None) or cache.cache_path
            raise RefusedError(f"{where}: could not be written ({refusal(error)})", GO_ON) from None
        return f"{type(error).__name__}: {first_line(error)}"
    if found.task_results:
        return found.task_results[0]
    problems = [one.exception for one in found.exceptions or []]
    return problems[0] if problems else "mteb gave no result"


def _kept_samples(file: Path, note: dict[str, Any]) -> Samples | None:
    """Those that the note vouches for; scores of earlier versions have none."""
    known = note.get("samples_sha256")
    return read_samples(file) if known is not None and file.is_file() and sha256_file(file) == known else None


def _row(
    encoder: TextEncoder,
    task: AbsTask,
    found: TaskResult,
    facts: dict[str, Any],
    *,
    kept: bool,
    samples: Samples | None = None,
) -> TaskRow:
    value = found.validate_and_filter_scores(task).get_score()
    return TaskRow(
        **_name(encoder, task),
        score=None if math.isnan(value) else 100 * float(value),
        seconds=facts.get("seconds"),
        encoder_seconds=facts.get("encoder_seconds"),
        texts=facts.get("texts"),
        judged=facts.get("judged"),
        samples=samples,
        shared=facts.get("shared", False),
        mteb_version=found.mteb_version,
        kept=kept,
        problem="the score is not a number" if math.isnan(value) else None,
    )


def _failed(encoder: TextEncoder, task: AbsTask, problem: str) -> TaskRow:
    return TaskRow(**_name(encoder, task), problem=problem)


def _name(encoder: TextEncoder, task: AbsTask) -> dict[str, Any]:
    return {
        "model": encoder.name,
        "method": encoder.method,
        "template": encoder.template,
        "pooling": encoder.pooling,
        "revision": encoder.revision,
        "task": task.metadata.name,
        "type": task.metadata.type,
        "metric": task.metadata.main_score,
    }


def _say(row: TaskRow, console: Console) -> None:
    said = [row.label, row.task]
    if row.problem is not None:
        said.append(f"failed: {row.problem}")
    else:
        said.append(f"{row.metric} {score(row.score)}")
        if row.seconds is None:
            said.append("begun by an earlier call")
        else:
            said += [f"{seconds(row.seconds)} s", f"{count(row.texts)} texts"]
            said += [f"{count(row.texts_per_second)} texts/s"] if row.texts else []
            said += [f"{percent(row.encoder_percent)} of the time in the encoder"]
        said += ["kept"] if row.kept else []
    say("  ".join(said), console)


@contextmanager
def _quiet_mteb() -> Iterator[None]:
    """No warning, log line or bar of mteb and datasets; errors still raise."""
    logger = logging.getLogger("mteb")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet_datasets(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
