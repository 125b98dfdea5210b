"""Damage checkpoints, run states, run folders and files of vectors, and see what becomes of it.

    python benchmarks/corrupt.py                             # 500 mutations, some minutes on one core
    python benchmarks/corrupt.py --count 60 --only state --seed 3 --out corrupt.json

Each mutation must end in one sentence that names a file, or change nothing. ``SILENT`` is another result without a
word, ``TRACEBACK`` an error that is no sentence, ``NAMELESS`` a sentence that names no file. ``another`` is what
somebody wrote and sealed on purpose: another checkpoint, with which nothing in its weights disagrees. The exit code is
1 where one of the three in capitals is found.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
from mutations import Mutation, add_foreign, mutate
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.recipe import Recipe
from transferkit.config.schema import parse
from transferkit.convergence import compare, tables
from transferkit.embed.files import embed_blocks, embed_file
from transferkit.embed.search import Index, file_entries
from transferkit.errors import CutTextWarning, TransferkitError
from transferkit.files.builtin import TOY, bundled_dir
from transferkit.files.vectors.origin import Origin
from transferkit.files.vectors.reading import read_vectors
from transferkit.files.vectors.writing import VectorFile
from transferkit.runner import run as runner
from transferkit.runner.prepare import Inputs
from transferkit.runs.folder import read_run
from transferkit.training import loop

FAULTS = ("SILENT", "TRACEBACK", "NAMELESS")
TEXTS = ("open the window", "how do I sort a list of numbers?", "the capital of a country", "a b c")
QUIET = Console(quiet=True)
USED = "used"  # folder of the copies; a run that is taken up must lie where it began
# Keys of a description whose values the weights know too: another value that is taken for true is a silent fault.
BOUND = ("kind", "prompting.tokens", "alignment.offset", "readout.kind", "readout.width", "backbone.identity")


@dataclass(frozen=True)
class Subject:
    """Something that is damaged and used.

    Attributes:
        name: of its kind.
        folder: the whole one; it is copied for every mutation.
        files: that are damaged, relative to it.
        use: what one does with a copy; gives numbers, or text that must be equal.
        seals: folders with a manifest, relative to it.
        share: of all mutations.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    use: Callable[[Path], Any]
    share: float
    seals: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What became of one mutation."""

    subject: str
    seed: int
    mutation: dict[str, Any]
    verdict: str
    said: str = ""
    seconds: float = field(default=0.0, compare=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Damage, use, judge; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="mutations in all")
    parser.add_argument("--seed", type=int, default=0, help="of the first one; each is made again by its own")
    parser.add_argument("--only", action="append", help="a subject; repeatable")
    parser.add_argument("--out", type=Path, help="JSON with every mutation and what became of it")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore", CutTextWarning)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), count=given.count, seed=given.seed, only=given.only)
    print_table(found, Console())
    if given.out is not None:
        given.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return int(any(one.verdict in FAULTS for one in found))


def measure(work: Path, *, count: int, seed: int = 0, only: Sequence[str] | None = None) -> list[Outcome]:
    """Make the artefacts below ``work``, and ``count`` mutations of them."""
    here = {"HF_HUB_OFFLINE": "1", "TRANSFERKIT_CACHE": str(work / "cache")}
    found: list[Outcome] = []
    with patch.dict(os.environ, here):
        subjects = [one for one in make_subjects(work / "whole", only) if not only or one.name in only]
        whole = sum(one.share for one in subjects)
        for subject in subjects:
            expected = subject.use(_copy(subject, work / USED))
            for number in range(max(1, round(count * subject.share / whole))):
                found.append(judge(subject, expected, work / USED, seed=seed + number))
    return found


def judge(subject: Subject, expected: Any, work: Path, *, seed: int) -> Outcome:
    """One mutation of a copy of ``subject``, and what using it came to."""
    rng = random.Random(f"{subject.name} {seed}")
    shutil.rmtree(work, ignore_errors=True)
    copy = _copy(subject, work)
    mutation = _damage(subject, copy, rng)
    started = perf_counter()
    said = ""
    try:
        result = subject.use(copy)
    except TransferkitError as error:
        said = str(error)
        verdict = "refused" if names_a_file(said, mutation, copy) else "NAMELESS"
        verdict = verdict if error.exit_code in (1, 2) and "\n" not in said.strip() else "TRACEBACK"
    except BaseException as error:  # pyo3 panics are no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        said, verdict = "".join(traceback.format_exception(error)[-4:]), "TRACEBACK"
    else:
        verdict = "harmless" if same(result, expected) else "another" if _is_meant(mutation) else "SILENT"
    return Outcome(subject.name, seed, asdict(mutation), verdict, said, round(perf_counter() - started, 3))


def names_a_file(said: str, mutation: Mutation, copy: Path) -> bool:
    """Whether a sentence says which file, or in which folder of the artefact; a link leads to another name."""
    return Path(mutation.file).name in said or str(copy) in said


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, vectors to the last digits that a batch may change."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and bool(np.allclose(one, other, atol=1e-6))
    return bool(one == other)


def _is_meant(mutation: Mutation) -> bool:
    """Whether somebody edited and sealed it, and nothing in the weights says otherwise."""
    return mutation.sealed and not any(mutation.key == key or mutation.key.startswith(f"{key}.") for key in BOUND)


def _copy(subject: Subject, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    target = work / "inner" / subject.folder.name  # a name that the artefact may know itself by
    shutil.copytree(subject.folder, target)
    return target


def _damage(subject: Subject, copy: Path, rng: random.Random) -> Mutation:
    if subject.seals and rng.random() < 0.06:
        inside = [path for path in (copy / subject.seals[0]).rglob("*") if path.is_dir()]
        return add_foreign(copy, rng.choice([copy / subject.seals[0], *inside]), rng)
    file = copy / rng.choice(subject.files)
    seal = next((copy / one for one in subject.seals if file.is_relative_to(copy / one)), None)
    return mutate(copy, file, rng, sealed_folder=seal)


def print_table(found: Sequence[Outcome], console: Console) -> None:
    """Verdicts by subject, then every fault."""
    verdicts = ("refused", "harmless", "another", *FAULTS)
    counts = Counter((one.subject, one.verdict) for one in found)
    table = Table("subject", "mutations", *verdicts, title="what became of damaged artefacts")
    for subject in [*dict.fromkeys(one.subject for one in found), ""]:
        of = [one for one in found if subject in ("", one.subject)]
        numbers = [sum(counts[name, one] for name in {o.subject for o in of}) for one in verdicts]
        table.add_row(subject or "all", str(len(of)), *map(str, numbers), end_section=not subject)
    console.print(table)
    for one in found:
        if one.verdict in FAULTS:
            console.print(f"{one.verdict} {one.subject} seed {one.seed} {one.mutation}\n  {one.said}", markup=False)


# The artefacts


def make_subjects(work: Path, only: Sequence[str] | None) -> list[Subject]:
    """Whole artefacts below ``work``, from what ships with transferkit."""
    work.mkdir(parents=True)
    found = [_checkpoint(work), _backbone(work), *_vectors(work), _index(work), _part(work)]
    if not only or {"state", "runs"} & set(only):
        found += _runs(work)
    return found


def _listed(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


def _encode(folder: Path, backbone: str | None = None) -> Any:
    return load(folder, backbone=backbone).encode(list(TEXTS))


def _checkpoint(work: Path) -> Subject:
    folder = work / "checkpoint"
    shutil.copytree(bundled_dir("toy") / "checkpoint", folder)
    small = [name for name in _listed(folder) if name.endswith(".json")]
    return Subject(
        "checkpoint",
        folder,
        (*_listed(folder), *small, *["embedder.json", "learned.safetensors"] * 3, "manifest.json"),
        _encode,
        share=0.36,
        seals=(".",),
    )


def _backbone(work: Path) -> Subject:
    folder = work / "bundled-llama-5m"
    shutil.copytree(bundled_dir("bundled-llama-5m"), folder)
    files = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "generation_config.json")
    checkpoint = work / "of-this-version"  # the bundled one is older and knows a sample of its backbone's weights
    save(load(TOY), checkpoint, instructions={}, prompting_from=TOY)
    return Subject("backbone", folder, (*files, *files[:2]), lambda copy: _encode(checkpoint, str(copy)), share=0.14)


def _vectors(work: Path) -> list[Subject]:
    texts = work / "texts.txt"
    texts.write_text("".join(f"{text}\n" for text in TEXTS * 4), encoding="utf-8")
    found = []
    for suffix in ("npy", "parquet", "jsonl"):
        folder = work / f"vectors-{suffix}"
        folder.mkdir()
        embed_file(TOY, str(texts), folder / f"vectors.{suffix}", batch_size=1, console=QUIET)

        def use(copy: Path, suffix: str = suffix) -> Any:
            file = copy / f"vectors.{suffix}"
            said, vectors = read_vectors(file, where=str(file))
            return {"texts": said, "vectors": np.array(vectors)}

        found.append(Subject(f"vectors.{suffix}", folder, _listed(folder), use, share=0.06))
    return found


def _index(work: Path) -> Subject:
    folder = work / "index"

    def use(copy: Path) -> Any:
        index = Index(TOY, file_entries(str(work / "texts.txt"), column="text"), folder=copy, console=QUIET)
        return [(round(hit.score, 5), hit.entry.name) for hit in index.search(TEXTS[0], top=20)]

    use(folder)
    return Subject("index", folder, _listed(folder), use, share=0.06)


def _part(work: Path) -> Subject:
    """An output of ``embed`` that a kill left half done."""
    folder = work / "part"
    embedder = load(TOY)

    def open_part(copy: Path) -> VectorFile:
        return VectorFile(copy / "out.jsonl", identity={"checkpoint": "1", "input": "2"})

    half = open_part(folder)
    blocks = embed_blocks(embedder, TEXTS * 16, half, instruction="", batch_size=2)
    next(blocks)

    def use(copy: Path) -> Any:
        file = open_part(copy)
        file.resume()
        for _ in embed_blocks(embedder, TEXTS * 16, file, instruction="", batch_size=2):
            pass
        file.finish(Origin(embedder="1", side="document", instruction="", readout="none", input="2"))
        return file.out.read_text(encoding="utf-8")

    return Subject("part", folder, _listed(folder), use, share=0.06)


# Runs


def recipe(task: str, **changes: Any) -> Recipe:
    """A recipe that takes a second on what ships with transferkit."""
    data = {
        "train": [{"name": "pairs", "kind": "pairs", "path": "pairs.jsonl", "instruction": "find"}],
        "dev": [{"name": "intents", "kind": "knn", "path": "dev.csv", "train_path": "train.csv"}],
    }
    mapping: dict[str, Any] = {
        "task": task,
        "seed": 3,
        "precision": "float32",
        "embedding": {"backbone": "bundled-qwen3-2m", "max_length": 24},
        "readout": {"kind": "whiten", "sample": 8},
        "data": data,
        "optim": {"steps": 4, "batch_size": 4},
        "eval": {"every": 2, "batch_size": 16},
        "save_every": 2,
    }
    return parse(Recipe, mapping | changes, where="recipe")


def write_data(folder: Path) -> None:
    """Sets of a few rows."""
    folder.mkdir()
    rng = random.Random(5)
    words = ["cat", "dog", "water", "car", "open", "list", "number", "window", "find", "small", "green", "word"]

    def sentence(topic: str) -> str:
        return " ".join([*rng.choices(words, k=5), topic])

    topics = ("cat", "dog", "water", "car")
    pairs = [{"anchor": sentence(topic), "positive": sentence(topic)} for topic in topics * 4]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for name, rows in (("train", 3), ("dev", 6)):
        lines = [f"{sentence(topic)},{topic}" for topic in topics * rows]
        (folder / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")


def _runs(work: Path) -> list[Subject]:
    """A run that is taken up from its states, and finished runs that are compared."""
    data, runs, kept, began = work / "data", work / "runs", work / "kept", work.parent / USED / "inner"
    write_data(data)
    inputs = Inputs(source=TOY, data_dir=data)
    save = loop.save_state

    def kept_state(folder: Path, state: Any, *rest: Any) -> None:
        save(folder, state, *rest)
        if state.step == 4 or (state.step == 2 and not kept.exists()):  # the moment of a kill
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept / folder.name)

    with patch.object(loop, "save_state", kept_state):
        done = runner.start(recipe("adapt", optim={"steps": 6, "batch_size": 4}), inputs, runs=began, console=QUIET)
    shutil.copytree(done, runs / done.name)
    for method in ("frozen", "tfidf"):
        runner.start(recipe("baseline", method=method), Inputs(None, data), runs=runs, console=QUIET)
    state = kept / done.name

    def resume(copy: Path) -> Any:
        folder = runner.resume(copy, console=QUIET)
        return {name: t.numpy() for name, t in load_file(folder / "checkpoint" / "learned.safetensors").items()}

    def table(copy: Path) -> Any:
        return tables.to_json(compare([read_run(copy / run.name) for run in sorted(runs.iterdir())]))

    facts = [name for name in _listed(state) if name.endswith(("state.json", "record.json", "manifest.json"))]
    states = [path.name for path in state.glob("state-*")]
    read = tuple(name for name in _listed(runs) if name.endswith((".yaml", "record.json", "metrics.jsonl")))
    return [
        Subject("state", state, (*_listed(state), *facts), resume, share=0.14, seals=(*sorted(states), "checkpoint")),
        Subject("runs", runs, read, table, share=0.3),
    ]


if __name__ == "__main__":
    sys.exit(main())
