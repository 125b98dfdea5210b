"""Hand-written run folders for the tests of the convergence table: no model, every number chosen."""

import json
from pathlib import Path
from typing import Any

from transferkit.config.schema import dump_yaml
from transferkit.runs.folder import Run, read_run

Metric = dict[str, Any]

BACKBONE = {
    "name": "target-4m",
    "location": "target-4m",
    "revision": "1234567",
    "config_sha256": "c" * 64,
    "tokenizer_sha256": "t" * 64,
    "weights_sha256": "e" * 64,
    "quantization": "none",
    "dtype": "float32",
    "num_parameters": 4_000_000,
}


def metric(
    step: int,
    plain: float,
    readout: float | None = None,
    *,
    other: float | None = 50.0,
    seconds: float | None = None,
    readout_seconds: float = 2.0,
    variant: str | None = None,
    batch_size: int = 48,
) -> Metric:
    """One row of ``metrics.jsonl``; ``other`` is elsewhere's score, 4 more with readout."""
    return {
        "step": step,
        "examples": step * batch_size,
        "tokens": step * batch_size * 21,
        "seconds": float(step) if seconds is None else seconds,
        "readout_seconds": None if readout is None else readout_seconds,
        "loss": 1.0 if step else None,
        "collapse": None,
        "variant": variant,
        "scores": {
            "in-domain": {"plain": plain, "readout": readout},
            "elsewhere": {"plain": other, "readout": None if other is None or readout is None else other + 4},
        },
        "score": {"plain": plain, "readout": readout},
        "peak_memory_bytes": 2**20 * 300,
    }


def make_run(
    parent: Path,
    name: str,
    metrics: list[Metric],
    *,
    method: str = "lora",
    label: str | None = None,
    seed: int = 17,
    trainable: int | None = None,
    recipe: dict[str, Any] | None = None,
    backbone: dict[str, Any] | None = None,
    **record: Any,
) -> Run:
    """Write a run folder and read it back; ``record`` replaces keys, ``recipe`` is merged in."""
    folder = parent / name
    folder.mkdir(parents=True)
    task = {"transfer": "adapt", "source": "train"}.get(method, "baseline")
    carried = method in ("transfer", "prompting-llm-alone")
    resolved = {
        "task": task,
        "method": method if task == "baseline" else None,
        "seed": seed,
        "readout": {"kind": "whiten"},
        "optim": {"steps": metrics[-1]["step"] if metrics else 0, "batch_size": 48, "lr": 0.001},
        "eval": {"every": 50, "batch_size": 64},
        "data": {"train": [{"name": "mixture", "path": "train.jsonl"}], "dev": [{"name": "in-domain"}]},
    }
    for section, value in (recipe or {}).items():
        merged = resolved.get(section)
        resolved[section] = {**merged, **value} if isinstance(merged, dict) else value
    if trainable is None:
        trainable = 0 if method in ("frozen", "tfidf", "encoder", "prompting-llm-alone") else 1000
    content = {
        "format": 1,
        "run": name,
        "task": task,
        "method": method,
        "label": label if label is not None else method,
        "status": "done",
        "created_at": "2026-01-02T03:04:05+00:00",
        "seed": seed,
        "source": {"run": "train-source", "sha256": "5" * 64} if carried else None,
        "backbone": None if method in ("tfidf", "encoder") else {**BACKBONE, **(backbone or {})},
        "prompting": None,
        "data": {
            "train_sha256": "a" * 64,
            "dev_sha256": "d" * 64,
            "train": [{"name": "mixture", "rows": 9600, "skipped_rows": 0}],
            "dev": [
                {"name": "in-domain", "kind": "knn", "select": True, "sha256": "1" * 64, "texts": 500},
                {"name": "elsewhere", "kind": "sts", "select": False, "sha256": "2" * 64, "texts": 500},
            ],
        },
        "parameters": {"trainable": trainable, "total": 5_000_000},
        "timings": {"load_seconds": 1.0, "cache_seconds": 2.0, "train_seconds": 3.0},
        "peak_memory_bytes": 2**20 * 300,
        "versions": {"python": "3.11.0", "torch": "2.13.0"},
        "platform": "Linux",
        "device": "cpu",
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "command": f"transferkit {task} family/{task} --set seed={seed}",
        "best": max(map(_as_best, metrics), key=lambda best: best["score"], default=None),
        **record,
    }
    (folder / "recipe.yaml").write_text(dump_yaml(resolved), encoding="utf-8")
    (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics), encoding="utf-8")
    return read_run(folder)


def unseal(folder: Path) -> None:
    """Take a finished run's sha256 out of its record, as who edits the run must."""
    file = folder / "record.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["sha256"]
    file.write_text(json.dumps(record), encoding="utf-8")


def _as_best(row: Metric) -> dict[str, Any]:
    return {"step": row["step"], "score": row["score"]["plain"], "variant": row["variant"]}


def rising(
    steps: int,
    *,
    start: float,
    end: float,
    pace: float,
    lift: float,
    step_seconds: float,
    cache_seconds: float = 0.0,
) -> list[Metric]:
    """A saturating curve from ``start`` to ``end``; whitening lifts it by ``lift``, less near the top."""
    rows = []
    for step in range(0, steps + 1, 50):
        share = 1 - 2 ** (-step / pace)
        plain = start + (end - start) * share
        rows.append(
            metric(
                step,
                round(plain, 2),
                round(plain + lift * (1 - 0.6 * share), 2),
                other=round(plain - 14, 2),
                seconds=cache_seconds + step * step_seconds,
            )
        )
    return rows


def every_method(parent: Path, *, seeds: tuple[int, ...] = (17, 18, 19)) -> list[Run]:
    """Runs of all methods, shaped like a real comparison."""
    runs = []
    trained = [
        ("transfer", "transfer (W)", 37_000, 150, 62.0, 71.0, 40, 4.0, 0.12, 6.0),
        ("transfer", "transfer (W + offsets)", 38_280, 150, 62.6, 72.4, 35, 4.5, 0.12, 6.0),
        ("lora", "LoRA r 8, lr 1e-3, mean", 410_000, 500, 41.2, 74.3, 110, 8.0, 1.1, 0.0),
        ("lora", "LoRA r 8, lr 3e-4, mean", 410_000, 500, 41.2, 71.5, 150, 8.0, 1.1, 0.0),
        ("qlora", "QLoRA r 8, lr 1e-3, mean", 410_000, 500, 40.0, 72.6, 120, 8.0, 1.6, 0.0),
        ("prompt-tuning", "prompt tuning, 5 vectors", 1_280, 500, 34.0, 60.5, 60, 9.0, 0.3, 3.0),
    ]
    for method, label, trainable, steps, start, end, pace, lift, step_seconds, cache_seconds in trained:
        for position, seed in enumerate(seeds):
            shift = (position - 1) * 0.8
            rows = rising(
                steps, start=start + shift / 2, end=end + shift, pace=pace * (1 + position / 10), lift=lift,
                step_seconds=step_seconds, cache_seconds=cache_seconds,
            )  # fmt: skip
            name = f"{method}-{len(runs):02d}"
            runs.append(make_run(parent, name, rows, method=method, label=label, seed=seed, trainable=trainable))
    floors = [
        ("prompting-llm-alone", "Prompting LLM alone", [metric(0, 54.2, 63.0, other=25.0, seconds=3.0)]),
        (
            "frozen",
            "frozen backbone",
            [
                metric(0, 33.0, 50.1, other=37.0, seconds=4.0, variant="last · {text}"),
                metric(0, 41.2, 54.2, other=39.7, seconds=4.0, variant="mean · {text}"),
            ],
        ),
        ("tfidf", "TF-IDF", [metric(0, 46.8, None, other=33.0, seconds=0.4)]),
    ]
    for method, label, rows in floors:
        runs.append(make_run(parent, f"{method}-run", rows, method=method, label=label, trainable=0))
    return runs
