"""The folder of an export: a checkpoint as it was sealed, and the files by which sentence-transformers knows it."""

import shutil
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError
from transferkit.exports.requirements import NEEDS
from transferkit.files.encoder_folder import EXPORTED
from transferkit.files.json import write_json, write_text
from transferkit.files.manifest import new_folder, verify
from transferkit.files.writable import check_writable
from transferkit.report.card import CARD
from transferkit.runs.checkpoint_folder import document_instructions

CHECKPOINT = "checkpoint"  # below the export, where that of a run lies below the run
_MODULE = "transferkit.exports.module.CheckpointModule"


def check_new(to: Path, *, checkpoint: Path) -> None:
    """Check, without making anything, that an export could be written to ``to``.

    Raises:
        ConfigError: it exists, could not be made, or lies inside the checkpoint, which is sealed.
    """
    if to.resolve().is_relative_to(checkpoint.resolve()):
        raise ConfigError(f"--to {to}: lies in the checkpoint that is exported, which is sealed; choose another folder")
    if to.exists():
        raise ConfigError(f"--to {to}: exists already; remove it or choose another folder")
    check_writable(to.parent, option="--to")


def write_checkpoint_export(folder: Path, checkpoint: Path, description: Mapping[str, Any], *, card: str) -> None:
    """Fill ``folder`` with a checkpoint, its prompts and its card."""
    copy_checkpoint(checkpoint, folder / CHECKPOINT)
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": _MODULE}])
    write_json(folder / EXPORTED, {"needs": NEEDS})
    write_model_config(folder, prompts=prompts_of(description), needs=NEEDS)
    write_text(folder / CARD, card)


def copy_checkpoint(checkpoint: Path, target: Path) -> None:
    """The files that a checkpoint's manifest names, sealed again: an equal manifest, and nothing that lies beside them.

    Raises:
        ConfigError: damaged.
        RefusedError: the disk refused.
    """
    files = verify(checkpoint)
    with new_folder(target) as folder:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkpoint / name, folder / name)


def write_model_config(folder: Path, *, prompts: Mapping[str, str], needs: Mapping[str, str]) -> None:
    """What sentence-transformers asks of a model as a whole: prompts, similarity, the versions that it needs."""
    own = {"sentence_transformers": "sentence-transformers", "transformers": "transformers", "pytorch": "torch"}
    versions = {name: found for name, package in own.items() if (found := _installed(package)) is not None}
    config = {
        "model_type": "SentenceTransformer",
        "__version__": versions,
        "prompts": dict(prompts),
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
        "requirements": dict(needs),
    }
    write_json(folder / "config_sentence_transformers.json", config)


def prompts_of(description: Mapping[str, Any]) -> dict[str, str]:
    """Instructions as prompts: ``query`` and ``document``, which a side has where it was trained with one alone.

    Where there are several, one more each training set: its name, or ``NAME-query`` and ``NAME-document`` where its
    sides differ.
    """
    questions, documents = dict(description["instructions"]), document_instructions(description)
    found = {"query": _only(questions.values()), "document": _only(documents.values())}
    if len(set(questions.values())) < 2 and len(set(documents.values())) < 2:
        return found
    for name in questions:
        if questions[name] == documents[name]:
            found.setdefault(name, questions[name])
        else:
            found |= {f"{name}-query": questions[name], f"{name}-document": documents[name]}
    return found


def _only(values: Iterable[str]) -> str:
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
