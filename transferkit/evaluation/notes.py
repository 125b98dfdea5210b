"""What lies beside mteb's results: all that a score hangs on, and the times that it took."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from mteb.abstasks import AbsTask
from mteb.results.task_result import TaskResult

from transferkit import __version__
from transferkit.evaluation.encoder import TextEncoder
from transferkit.evaluation.instructions import by_part
from transferkit.files.writable import writing
from transferkit.runs.folder import SEAL, read_metrics, record_sha256, write_metrics

OWN_PROTOCOL = "own_protocol"  # attribute of a task with what its scores hang on beside these
GO_ON = "the tasks before are kept, mend that and run it again"
_PACKAGES = ("mteb", "scikit-learn", "transformers")  # what computes vectors and scores


def identity(encoder: TextEncoder, task: AbsTask) -> dict[str, Any]:
    """All that a score hangs on beside the model's revision."""
    return {
        "dataset_revision": task.metadata.revision,
        "type": task.metadata.type,
        "main_score": task.metadata.main_score,
        "splits": list(task.eval_splits),
        "subsets": sorted(task.hf_subsets),
        "instructions": by_part(task, encoder.instruction),
        "versions": {name: version(name) for name in _PACKAGES} | {"transferkit": __version__},
        **getattr(task, OWN_PROTOCOL, {}),
    }


def stored_result(path: Path) -> TaskResult | None:
    """The result that lies there; a file that a kill left half-written is as good as none."""
    try:
        return TaskResult.from_disk(path)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # what mteb says to JSON of another shape
        with writing(f"{path}: damaged, and could not be removed", way_out=GO_ON):
            path.unlink()
        return None


def read_notes(folder: Path) -> dict[str, dict[str, Any]]:
    """Task -> what was noted of it beside mteb's results; a note that was edited is none, older ones have no seal."""
    notes = [row for row in read_metrics(folder) if row.get(SEAL) in (None, record_sha256(row))]
    return {row["task"]: row for row in notes if isinstance(row.get("task"), str)}


def write_note(folder: Path, task: str, facts: dict[str, Any]) -> None:
    """Note facts of a task, instead of what was noted of it before."""
    note = {"task": task, **facts}
    notes = read_notes(folder) | {task: note | {SEAL: record_sha256(note)}}
    with writing(f"{folder}: could not be written", way_out=GO_ON):
        folder.mkdir(parents=True, exist_ok=True)
        write_metrics(folder, list(notes.values()))
