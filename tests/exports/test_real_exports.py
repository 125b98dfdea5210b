"""Exports of the decoders that results are measured on, with readouts as they are fitted.

    python benchmarks/real_decoders.py && python -m pytest -m real

``TRANSFERKIT_REAL_DECODERS`` says where they are; by default it is real-decoders/ in the checkout.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_pretraining import ROOT

import transferkit
from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.sections import LoraSection
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.probe import probe
from transferkit.decoder.reader import Reader
from transferkit.methods.base import Embedder
from transferkit.methods.lora import LoraEmbedder
from transferkit.methods.prompt_tuning import PromptTuningEmbedder
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings

sys.path.insert(0, str(ROOT / "benchmarks"))

from real_decoders import MODELS, TARGET

pytestmark = pytest.mark.real

NAMES = [model.name for model in MODELS if model.file.endswith(".gguf")]
WORDS = "block my bank account what is the weather in Zürich 2024-05-17 def add(a, b): return 日本語 русский 🎉".split()
FITTED = [" ".join((WORDS * 2)[i : i + n]) for i in range(len(WORDS)) for n in (3, 7, 13)]
READ = [
    "block my bank account",
    "  two  spaces, a\ttab and\n\na paragraph",
    "special tokens <|im_start|> <bos> </s> as plain text",
    "das Café im ersten Stock; cafe\u0301 in two characters",
    " ".join(["a longer text of the kind that people have"] * 8),
]


def with_soft_tokens(decoder: Decoder) -> Embedder:
    reader = Reader(decoder, "{text}{soft}", max_length=48, soft_tokens=5)
    return PromptTuningEmbedder.on(reader, pooling="soft", tokens=5, seed=1)


def with_adapters(decoder: Decoder) -> Embedder:
    made = LoraEmbedder.on(Reader(decoder, "{text}", max_length=48), pooling="mean", lora=LoraSection(), seed=1)
    noise = torch.Generator().manual_seed(3)
    for name, parameter in made.adapter().items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.01, generator=noise)
    return made


@pytest.mark.parametrize(("method", "flag"), [(with_soft_tokens, "baked"), (with_adapters, "merge")])
@pytest.mark.parametrize("name", NAMES)
def test_exports_give_the_vectors_of_encode(name: str, method: Any, flag: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = Path(os.environ.get("TRANSFERKIT_REAL_DECODERS", ROOT / TARGET)).absolute() / name
    if not folder.exists():
        pytest.skip(f"{folder} is not there; `python benchmarks/real_decoders.py` brings it")
    embedder = method(Decoder.load(probe(str(folder)))).eval().requires_grad_(False)
    pooled = embedder.pooled(FITTED, [""] * len(FITTED), batch_size=32)
    embedder.use_readout(Fitter(pooled).fit(Settings("whiten", ridge=0.1)))
    save(embedder, tmp_path / "checkpoint", instructions={"a": "find"})
    expected = load(tmp_path / "checkpoint").encode(READ)
    for options, trust in (({}, True), ({flag: True}, False)):
        made = transferkit.export(tmp_path / "checkpoint", tmp_path / f"out-{trust}", **options)
        model = SentenceTransformer(str(made), device="cpu", local_files_only=True, trust_remote_code=trust)
        assert (model.encode(READ) * expected).sum(axis=1).min() > 0.9999
