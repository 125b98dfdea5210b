"""Merged and baked exports: the vectors of ``encode`` from stock modules alone, and what these cannot say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import random_readout, unlike_its_start
from helpers.command_line import call
from helpers.parts import TEXTS, load_reader, source_checkpoint
from helpers.run_parts import build
from helpers.tiny import Tiny
from zoo import FAMILIES
from zoo import save as save_family

import transferkit
from transferkit import load
from transferkit.checkpoints.checkpoint import save
from transferkit.config.methods import all_methods
from transferkit.decoder.loading import input_embeddings
from transferkit.errors import ConfigError, RunError
from transferkit.exports.stock import ids_around
from transferkit.runner.prepare import resolved

READ = [*TEXTS, "a cat </s> in <s> the <pad> water", "  two cars ", f"{TEXTS[4]} " * 4]
PROMPT = "{instruction} see: {text} is{soft} now"
CASES = [
    pytest.param("prompt-tuning", "gemma3", {"embedding": {"template": PROMPT}}, id="soft tokens in a prompt, scaled"),
    pytest.param("lora", None, {}, id="LoRA, a mean beside BOS"),
    pytest.param(
        "transfer",
        None,
        {"prompting": {"reads": "instruction"}, "embedding": {"pooling": "last"}},
        id="soft tokens of an instruction",
        marks=pytest.mark.slow,
    ),
    pytest.param("frozen", None, {}, id="frozen", marks=pytest.mark.slow),
    pytest.param("prompt-tuning", "gpt2", {}, id="learned positions", marks=pytest.mark.slow),
    pytest.param("prompt-tuning", "gemma3-window", {}, id="a window", marks=pytest.mark.slow),
    pytest.param("prompt-tuning", "olmo2", {"embedding": {"pooling": "mean"}}, id="a mean", marks=pytest.mark.slow),
    pytest.param("lora", None, {"precision": "bfloat16"}, id="half precision", marks=pytest.mark.slow),
    pytest.param("lora", None, {"readout": {"kind": "center"}}, id="centred", marks=pytest.mark.slow),
    pytest.param("lora", None, {"readout": {"kind": "none"}}, id="no readout", marks=pytest.mark.slow),
]


def opened(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer  # seconds

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((one * other).sum(axis=1))


def checkpoint_of(tiny: Tiny, folder: Path, name: str, family: str | None = None, **changes: Any) -> Path:
    """Of a method on a decoder of a family; nothing named: the tiny project's target."""
    facts = all_methods()[name]
    if family is not None:
        save_family(FAMILIES[family], folder / "decoder")
        changes["embedding"] = {"backbone": str(folder / "decoder")} | changes.get("embedding", {})
    source = source_checkpoint(tiny, folder / "source", offsets=0.1) if facts.needs_source else None
    kind = changes.pop("readout", {}).get("kind", "whiten")
    named = {"method": name} if facts.task == "baseline" else {}
    embedder = build(resolved(tiny.recipe(facts.task, **named, **changes), source=source), source=source).eval()
    unlike_its_start(embedder)
    if kind != "none":
        readout = random_readout(len(embedder.readout.mean))
        if kind == "center":
            centred = type(readout)(type(readout.settings)("center"), len(readout.mean))
            centred.mean.copy_(readout.mean)
            readout = centred
        embedder.use_readout(readout)
    save(embedder, folder / "checkpoint", instructions={"intents": "find the cat"})
    return folder / "checkpoint"


@pytest.mark.parametrize(("name", "family", "changes"), CASES)
def test_stock_modules_give_the_vectors_of_encode(
    name: str, family: str | None, changes: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(tiny, tmp_path, name, family, **changes)
    flag: Any = {"merge": True} if name == "lora" else {"baked": True}
    made = transferkit.export(checkpoint, tmp_path / "out", **flag)
    model, embedder = opened(made), load(checkpoint)
    assert all(type(one).__module__.startswith("sentence_transformers.") for one in model)
    expected = embedder.encode(READ)
    least = 0.9999 if changes.get("precision") == "bfloat16" else 1 - 1e-5
    assert cosines(model.encode(READ), expected).min() > least
    alone = np.stack([model.encode(text) for text in READ])
    assert cosines(alone, expected).min() > least
    assert model.prompts == {"query": "", "document": ""}
    assert model.similarity_fn_name == "cosine"
    assert (made / "manifest.json").is_file()
    said = (made / "README.md").read_text()
    assert 'SentenceTransformer("out")' in said
    assert "whose weights this folder holds" in said
    assert ("*find the cat*" in said) == embedder.reads_instruction


def test_soft_tokens_are_rows_in_the_scale_of_the_table(tiny: Tiny, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    checkpoint = checkpoint_of(tiny, tmp_path, "prompt-tuning", "gemma")
    made = transferkit.export(checkpoint, tmp_path / "out", baked=True)
    prompt: Any = load(checkpoint).prompt
    trunk, tokenizer = AutoModel.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    ids = [tokenizer.convert_tokens_to_ids(f"<transferkit_soft_{i}>") for i in (1, 2, 3, 4, 5)][: len(prompt)]
    assert len(set(ids)) == len(prompt)
    read = input_embeddings(trunk)(torch.tensor(ids))  # as the layers receive it
    torch.testing.assert_close(read, prompt, atol=1e-5, rtol=1e-5)
    row = tokenizer("a red cat")["input_ids"]
    assert row[-len(ids) :] == ids
    own = load(checkpoint).reader.rows(["a red cat"], [""])  # type: ignore[attr-defined]
    assert row[: -len(ids)] == own.before[0]


def test_what_stands_around_a_text(tiny: Tiny) -> None:
    reader = load_reader(tiny.target, template="see: {text} and{soft} now", soft_tokens=2)
    encoder, found = reader.decoder.encoder, ids_around(reader, "")
    assert found.before == [*encoder.bos, *encoder.literal("see: ")]
    assert found.after == [*encoder.literal(" and"), -1, -2, *encoder.literal(" now")]
    assert found.with_soft([70, 71]).after[-1 - len(encoder.literal(" now")) :][:2] != [-1, -2]
    assert 70 in found.with_soft([70, 71]).after


def test_what_stock_modules_cannot_say_is_refused(
    tiny: Tiny, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    refused = {
        ("transfer", "baked"): "a second model writes its soft tokens of each text; leave --baked away, or train with "
        "prompting.reads=instruction",
        ("prompting-llm-alone", "baked"): "is no decoder alone",
        ("encoder", "merge"): "is no decoder alone",
        ("qlora", "merge"): "its decoder is computed in 4 bits",
        ("lora", "baked"): "--baked: it has adapters in its weights; give --merge instead",
        ("prompt-tuning", "merge"): "--merge: it has no adapters; give --baked instead",
    }
    for (name, flag), says in refused.items():
        options: Any = {flag: True, "instruction": "see"}
        with pytest.raises(ConfigError, match=says):
            transferkit.export(checkpoints[name], out, **options)
    with pytest.raises(ConfigError, match="give one of them"):
        transferkit.export(checkpoints["lora"], out, merge=True, baked=True)
    with pytest.raises(ConfigError, match="--instruction and --backbone are for --merge and --baked"):
        transferkit.export(checkpoints["lora"], out, instruction="see")
    embedder: Any = load(checkpoints["frozen"])
    from transferkit.exports import stock

    refused_readings = (
        ("pooling", "mean+static", "reads token embeddings"),
        ("pooling", "before+soft", "reads states of two kinds"),
        ("layers", 2, "mean of 2 layers"),
    )
    for name, value, says in refused_readings:
        with monkeypatch.context() as patch:
            patch.setattr(embedder if name == "pooling" else embedder.reader, name, value)
            with pytest.raises(ConfigError, match=says):
                stock.check_reading(embedder)
    with monkeypatch.context() as patch:
        patch.setattr(embedder.backbone.trunk.config, "hidden_size_per_layer_input", 8, raising=False)
        with pytest.raises(ConfigError, match="reads a second embedding in every layer"):
            stock.check_reading(embedder)
    with monkeypatch.context() as patch:
        patch.setattr(embedder.backbone.encoder, "tokenizer", object())
        with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
            stock.check_reading(embedder)
    assert not list(tmp_path.glob("*out*"))


def test_other_vectors_are_not_left_behind(tiny: Tiny, tmp_path: Path) -> None:
    """The highest of all states is not that of BOS, and stock modules cannot leave it out."""
    reading: Any = {"embedding": {"pooling": "max"}, "frozen": {"poolings": ["max"]}, "precision": "bfloat16"}
    checkpoint = checkpoint_of(tiny, tmp_path, "frozen", **reading)
    says = (
        r"stock modules give other vectors than the checkpoint \(lowest cosine of 8 .*, or train with precision=float32"
    )
    with pytest.raises(RunError, match=says):
        transferkit.export(checkpoint, tmp_path / "out", baked=True)
    assert not (tmp_path / "out").exists()


def test_one_of_several_instructions_is_chosen(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"prompting": {"reads": "instruction"}}
    checkpoint = checkpoint_of(tiny, tmp_path, "transfer", **changes)
    embedder = load(checkpoint)
    save(embedder, checkpoint, instructions={"a": "see"}, document_instructions={"a": "two dogs"})
    moved = tmp_path / "moved"
    save_family(FAMILIES["gpt_neox"], moved)  # no copy: another decoder
    out = tmp_path / "out"
    assert call(monkeypatch, "export", checkpoint, "--to", out, "--baked") == 2
    said = capsys.readouterr().err
    assert "this checkpoint was trained with 'see'; 'two dogs'; choose one, and export again for another" in said
    assert call(monkeypatch, "export", checkpoint, "--to", out, "--baked", "--backbone", moved) == 2
    assert "differs from it in" in capsys.readouterr().err
    assert call(monkeypatch, "export", checkpoint, "--to", out, "--baked", "--instruction", "two dogs") == 0
    said = capsys.readouterr().err
    assert f'SentenceTransformer("{out}");' in said
    assert cosines(opened(out).encode(READ), embedder.encode(READ, instruction="two dogs")).min() > 1 - 1e-5


@pytest.mark.slow
def test_it_loads_where_transferkit_cannot_be_imported(tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(tiny, tmp_path, "prompt-tuning")
    transferkit.export(checkpoint, tmp_path / "out", baked=True)
    np.save(tmp_path / "expected.npy", load(checkpoint).encode(READ))
    code = f"""
import sys
sys.modules["transferkit"] = None
import numpy as np
from sentence_transformers import SentenceTransformer
vectors = SentenceTransformer("out", device="cpu").encode({json.dumps(READ)})
assert (vectors * np.load("expected.npy")).sum(1).min() > 0.9999
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
