"""The folder of a user: a source, a file of labelled texts, one of pairs and one of texts alone."""

import json
from pathlib import Path

import numpy as np
from zoo import WORDS

from helpers.parts import source_checkpoint
from helpers.tiny import Tiny


def write_own_files(tiny: Tiny, folder: Path) -> None:
    """``source``, ``tickets.csv`` (id, body, queue), ``faq.jsonl`` (question, answer) and ``texts.txt``."""
    rng = np.random.default_rng(8)
    lines = [" ".join(rng.choice(WORDS, size=int(rng.integers(4, 9)))) for _ in range(120)]
    labelled = [f"{i},{text},{WORDS[i % 3]}" for i, text in enumerate(lines)]
    (folder / "tickets.csv").write_text("id,body,queue\n" + "\n".join(labelled) + "\n")
    pairs = [{"question": text, "answer": f"{text} {WORDS[i % 7]} {i}"} for i, text in enumerate(lines)]
    (folder / "faq.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "texts.txt").write_text("\n".join(lines) + "\n")
    source_checkpoint(tiny, folder / "source")
