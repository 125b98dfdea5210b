"""The runs that `kill.py` kills: their data, recipes and commands, and what must be the same of each."""

import csv
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

JOBS = ("train", "adapt", "lora", "evaluate")
TOPICS = ("water", "music", "engine", "garden")
WORDS = ("the", "a", "of", "in", "was", "seen", "by", "old", "new", "small", "near", "under", "over", "with", "it")
CLOCKS = ("seconds", "readout_seconds", "peak_memory_bytes")
WHOLE = {"recipe.yaml", "record.json", "metrics.jsonl", "outcomes.json", "README.md", "checkpoint"}


@dataclass(frozen=True)
class Job:
    """What is killed: a command, less the folder that it writes into."""

    name: str
    command: list[str]

    def begin(self, place: Path) -> list[str]:
        """The command line of a new run in ``place``."""
        return [*self.command, "--out" if self.name == "evaluate" else "--runs", str(place)]

    def go_on(self, place: Path) -> list[str]:
        """The command line that continues what was killed in ``place``."""
        begun = [] if self.name == "evaluate" else sorted(place.glob("[!.]*/record.json"))
        return [self.command[0], "--resume", str(begun[0].parent), "--quiet"] if begun else self.begin(place)

    def found(self, place: Path) -> dict[str, Any]:
        """All that must be the same however often the run was killed."""
        if self.name == "evaluate":
            with (place / "table.csv").open(encoding="utf-8", newline="") as file:
                return {row["task"]: row["score"] for row in csv.DictReader(file)}
        (record,) = place.glob("[!.]*/record.json")
        folder = record.parent
        files = sorted(path for path in (folder / "checkpoint").rglob("*") if path.is_file())
        content = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [{key: value for key, value in json.loads(line).items() if key not in CLOCKS} for line in lines]
        left = sorted({path.name for path in folder.iterdir()} ^ WHOLE)
        status = json.loads(record.read_text(encoding="utf-8"))["status"]
        card = (folder / "README.md").read_text(encoding="utf-8").replace(folder.name, "RUN")  # no time but in the name
        return {"weights": content, "rows": rows, "status": status, "card": card, "left over": left}

    def moment(self, place: Path) -> str:
        """How far the run was when it was killed."""
        if self.name == "evaluate":
            return "evaluating" if any(place.glob("results/**/metrics.jsonl")) else "loading"
        records = list(place.glob("[!.]*/record.json"))
        if not records:
            return "loading"
        if json.loads(records[0].read_text(encoding="utf-8"))["status"] == "done":
            return "cleaning up"
        return "at the end" if (records[0].parent / "checkpoint").exists() else "training"


def jobs(work: Path) -> list[Job]:
    """Write data and recipes; the source of `adapt`, and the model of `evaluate`, ship with the package."""
    rng = random.Random(7)

    def sentence(topic: str) -> str:
        return " ".join([*rng.choices(WORDS, k=rng.randint(3, 8)), topic])

    def rows(count: int, kind: Callable[[str], dict[str, Any]]) -> str:
        return "".join(json.dumps(kind(TOPICS[i % len(TOPICS)])) + "\n" for i in range(count))

    def scored(topic: str) -> dict[str, Any]:
        return {"sentence1": sentence(topic), "sentence2": sentence("garden"), "score": rng.randint(0, 5)}

    data, sets = work / "data", work / "sets"
    files = {
        data / "pairs.jsonl": rows(48, lambda topic: {"anchor": sentence(topic), "positive": sentence(topic)}),
        data / "topics.jsonl": rows(24, lambda topic: {"text": sentence(topic), "label": topic}),
        data / "train.jsonl": rows(24, lambda topic: {"text": sentence(topic), "label": topic}),
        sets / "sts" / "likeness" / "test.jsonl": rows(16, scored),
        sets / "classification" / "topics" / "train.jsonl": rows(40, lambda t: {"text": sentence(t), "label": t}),
        sets / "classification" / "topics" / "test.jsonl": rows(16, lambda t: {"text": sentence(t), "label": t}),
    }
    for task, parts in (
        ("train", {"prompting": {"backbone": "bundled-qwen3-2m", "tokens": 3, "max_length": 16}}),
        ("adapt", {}),
        ("baseline", {"method": "lora"}),
    ):
        backbone = "bundled-llama-5m" if task == "train" else "bundled-gptneox-5m"
        files[work / f"{task}.yaml"] = yaml.safe_dump(_recipe(task, backbone) | parts)
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    given = ["--data-dir", str(data), "--quiet"]
    return [
        Job("train", ["train", str(work / "train.yaml"), *given]),
        Job("adapt", ["adapt", str(work / "adapt.yaml"), "--source", "bundled-toy", *given]),
        Job("lora", ["baseline", str(work / "baseline.yaml"), *given]),
        Job("evaluate", ["evaluate", "bundled-toy", "--tasks-from", str(sets), "--quiet"]),
    ]


def _recipe(task: str, backbone: str) -> dict[str, Any]:
    return {
        "task": task,
        "seed": 3,
        "precision": "float32",
        "embedding": {"backbone": backbone, "max_length": 16},
        "readout": {"kind": "whiten", "sample": 16},
        "data": {
            "train": [{"name": "pairs", "kind": "pairs", "path": "pairs.jsonl", "instruction": "Find the like."}],
            "dev": [{"name": "topics", "kind": "knn", "path": "topics.jsonl", "train_path": "train.jsonl"}],
        },
        "optim": {"steps": 6, "batch_size": 4},
        "eval": {"every": 3, "batch_size": 16},
        "save_every": 1,
    }
