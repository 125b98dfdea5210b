"""The ways to ask for the vectors of some texts: batches, orders, threads, ``evaluate``, ``embed`` elsewhere."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from datasets import Dataset
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks.task_metadata import TaskMetadata

from transferkit.evaluation.encoder import MtebEncoder
from transferkit.methods.base import Embedder

# The command line on one checkpoint after the other: to start Python takes longer than tiny decoders do.
_EMBED = """
import json, sys
from transferkit.cli.app import main
texts, jobs = sys.argv[1], json.loads(sys.argv[2])
for checkpoint, out in jobs:
    sys.argv = ["transferkit", "embed", checkpoint, texts, "--out", out, "--batch-size", "4", "--quiet"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (checkpoint, end.code)
"""


def asked_in_every_way(embedder: Embedder, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """The vectors of ``texts`` by how this process was asked for them."""
    encode = embedder.encode
    shuffled = random.Random(2).sample(range(len(texts)), len(texts))
    there, back = [texts[i] for i in shuffled], np.argsort(shuffled)
    with ThreadPoolExecutor(2) as pool:
        two = list(pool.map(lambda some: encode(some, batch_size=7), [list(texts), there]))
    return {
        "batches of 3": encode(texts, batch_size=3),
        "batches of 32": encode(texts, batch_size=32),
        "another order": encode(there, batch_size=32)[back],
        "blocks of another order": np.concatenate([encode(there[i : i + 5]) for i in range(0, len(there), 5)])[back],
        "evaluate": through_mteb(embedder, texts),
        "a thread": two[0],
        "a thread, another order": two[1][back],
    }


def through_mteb(embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
    """As ``evaluate`` reads them."""
    facts = {"eval_langs": ["eng-Latn"], "main_score": "accuracy", "description": "", "category": "t2c"}
    facts |= {"name": "a set", "type": "Classification", "dataset": {"path": "local", "revision": "1"}}
    task = TaskMetadata.model_validate(facts)
    rows = Dataset.from_dict({"id": [str(i) for i in range(len(texts))], "text": [*texts]})
    loader = create_dataloader(rows, task_metadata=task, prompt_type=None, batch_size=5)
    encoder = MtebEncoder(embedder, name="tiny", instructions={"a set": ""})  # as `encode` here; mteb may have another
    return encoder.encode(loader, task_metadata=task, hf_split="test", hf_subset="default", batch_size=5)


def embedded_in_another_process(checkpoints: Sequence[Path], texts: Sequence[str], folder: Path) -> list[np.ndarray]:
    """What ``transferkit embed`` writes of ``texts``, checkpoint by checkpoint."""
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    outputs = [folder / f"{number}.npy" for number in range(len(checkpoints))]
    jobs = json.dumps([[str(one), str(out)] for one, out in zip(checkpoints, outputs, strict=True)])
    subprocess.run([sys.executable, "-c", _EMBED, str(file), jobs], check=True)
    return [np.load(out) for out in outputs]
