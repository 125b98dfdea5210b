"""The model card: what the run knows is on it, the hub reads its metadata, and text from data is no markup."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.run_builder import make_run, metric

import transferkit
from transferkit.errors import ConfigError
from transferkit.exports.requirements import NEEDS
from transferkit.report.card import export_card
from transferkit.runs.checkpoint_folder import read_description

VERDICT = {
    "word": "GAIN",
    "score": 64.2,
    "against": [{"name": "TF-IDF", "score": 60.0, "difference": 4.24, "error": 1.26}],
    "weights_moved": 0.1,
    "vectors_turned": 0.2,
}
BEST = {"step": 50, "variant": None, "score": 64.2}


def run_around(checkpoint: Path, parent: Path, **record: Any) -> Path:
    """A finished run, every number chosen, with a checkpoint."""
    rows = [metric(0, 40.0, 41.0), metric(50, 60.0, 64.21), metric(100, 59.0, 63.0)]
    run = make_run(parent, "run", rows, best=BEST, steps=100, verdict=VERDICT, **record)
    shutil.copytree(checkpoint, run.folder / "checkpoint")
    return run.folder


def card(folder: Path) -> str:
    from transferkit.runs.checkpoint_folder import checkpoint_folder

    return export_card(folder, read_description(checkpoint_folder(folder)), name="mine", needs=NEEDS)


def test_it_says_what_the_run_knows(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    run = run_around(checkpoints["lora"], tmp_path, label="LoRA r 8")
    made = transferkit.export(run, tmp_path / "mine")
    said = (made / "README.md").read_text()
    assert "| in-domain | knn | 64.2 |" in said  # of step 50, which was kept, with its readout
    assert "| elsewhere | sts | 54.0 |" in said
    assert "| TF-IDF | 60.0 | +4.2 ± 1.3 |" in said
    assert "| mixture | 9,600 |" in said
    assert "100 optimizer steps (the weights of step 50 were kept)" in said
    assert "LoRA r 8 on the frozen decoder target" in said
    assert "| intents | find the cat | see |" in said
    assert "| tokens of a text that are read, at most | 24 |" in said
    assert "| readout | whiten, ridge 0.1 |" in said
    assert 'SentenceTransformer("mine", trust_remote_code=True)' in said
    assert 'transferkit.load("mine")' in said
    assert card(run / "checkpoint") == said  # the record lies around it


def test_a_checkpoint_alone_says_so(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    said = card(checkpoints["encoder"])
    assert "No record of its training came with this checkpoint." in said
    assert "## Scores" not in said
    assert "| encoder, which is not in this folder | tiny-encoder |" in said
    broken = tmp_path / "run"
    shutil.copytree(checkpoints["lora"], broken / "checkpoint")
    (broken / "record.json").write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        transferkit.export(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_hub_reads_its_metadata(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard(card(checkpoints["lora"])).data.to_dict()
    assert data["library_name"] == "sentence-transformers"
    assert data["pipeline_tag"] == "sentence-similarity"
    assert "transferkit" in data["tags"]
    assert "base_model" not in data  # a folder of this machine is none
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(checkpoints["lora"], checkpoint)
    file = checkpoint / "embedder.json"
    description = json.loads(file.read_text())
    spec = description["backbone"]["spec"]
    del spec["path"]
    spec |= {"hub_id": "org/decoder", "license": "apache-2.0", "revision": "abc"}
    said = export_card(checkpoint, description, name="mine", needs=NEEDS)
    assert ModelCard(said).data.to_dict()["base_model"] == "org/decoder"
    assert "| licence of the decoder | apache-2.0 |" in said
    assert "org/decoder at abc" in said


def test_text_from_data_is_no_markup(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    nasty = "a | b <img src=x>\n# [c](http://d) `e` **f**\n---\n"
    train = {"name": nasty, "rows": 3, "skipped_rows": 0}
    dev = [
        {"name": "in-domain", "kind": nasty, "select": True, "sha256": "1" * 64, "texts": 5},
        {"name": "elsewhere", "kind": "sts", "select": False, "sha256": "2" * 64, "texts": 5},
    ]
    data = {"train_sha256": "a" * 64, "dev_sha256": "d" * 64, "train": [train], "dev": dev}
    run = run_around(checkpoints["lora"], tmp_path, label=nasty, data=data)
    description = read_description(run / "checkpoint")
    description["instructions"] = {nasty: nasty}
    description["document_instructions"] = {nasty: nasty}
    said = export_card(run, description, name='mine"\n```\n', needs=NEEDS)
    _, head, body = said.split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "sentence-transformers"
    assert "<img" not in body
    assert not re.search(r"(?<!\\)\[c", body)
    assert [line for line in body.splitlines() if line.startswith("#")] == [
        '# mine" \\`\\`\\`',
        "## Load it",
        "## What it reads",
        "## Training",
        "## Scores",
    ]
    assert sum(line.startswith("```") for line in body.splitlines()) == 4  # two blocks
    for line in body.splitlines():
        if line.startswith("|"):  # as many cells as a row has
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4)
