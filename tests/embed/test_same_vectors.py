"""A text has one vector, whoever asks: batch size, order, neighbours, threads, another process, every way to ask."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import load_prompting, load_reader
from helpers.tiny import Tiny
from helpers.ways import asked_in_every_way, embedded_in_another_process
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from zoo import FAMILIES, ROW_TEXTS, WORDS
from zoo import save as save_decoder

from transferkit.checkpoints.checkpoint import save
from transferkit.decoder import device
from transferkit.decoder.reader import Reader
from transferkit.methods.base import Embedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import Alignment, random_start
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer

USABLE = sorted(name for name, family in FAMILIES.items() if family.expected != "refused")
SOME = ["gemma3", "llama", "mixtral"]  # windows, rotary positions, experts; test_families.py has batches of all
TEXTS = [*ROW_TEXTS, "water", "no", "i", *(" ".join(WORDS[i : 2 * i + 1]) for i in range(3, 24, 3))]


@pytest.fixture(scope="module")
def prompting(tmp_path_factory: pytest.TempPathFactory) -> PromptingLLM:
    folder = save_decoder(FAMILIES["qwen3"], tmp_path_factory.mktemp("same") / "prompting")
    return load_prompting(folder, tokens=2)


def transfer(prompting: PromptingLLM, reader: Reader, **options: Any) -> PromptEmbedder:
    """With a random W."""
    start = random_start(prompting.token_table().detach(), reader.decoder.token_table(), seed=0)
    return PromptEmbedder(Writer(prompting), Alignment(start, tokens=prompting.tokens, offset=True), reader, **options)


def embedders(folder: Path, prompting: PromptingLLM) -> dict[str, Embedder]:
    """A transfer on the decoder in ``folder``, and the decoder as it is where its full pass is exact."""
    reader = load_reader(folder, soft_tokens=2, max_length=40)
    found: dict[str, Embedder] = {"transfer": transfer(prompting, reader)}
    if reader.decoder.exactness.full:
        found["frozen"] = FrozenEmbedder(reader.behind("{text}"), pooling="mean+static")
    return found


@pytest.mark.parametrize("names", [SOME, pytest.param(USABLE, marks=pytest.mark.slow)], ids=["some", "all"])
def test_every_way_gives_the_vector_of_the_text_alone(
    names: Sequence[str], prompting: PromptingLLM, tmp_path: Path
) -> None:
    alone: dict[str, np.ndarray] = {}
    for name in names:
        folder = save_decoder(FAMILIES[name], tmp_path / name)
        for method, embedder in embedders(folder, prompting).items():
            one = f"{name}-{method}"
            alone[one] = np.concatenate([embedder.encode([text]) for text in TEXTS])
            assert np.abs(alone[one][0] - alone[one][1]).max() > 1e-3  # the premise: texts differ
            for way, vectors in asked_in_every_way(embedder, TEXTS).items():
                np.testing.assert_allclose(vectors, alone[one], atol=1e-5, err_msg=f"{one}, {way}")
            save(embedder, tmp_path / one, instructions={})
    found = embedded_in_another_process([tmp_path / one for one in alone], TEXTS, tmp_path)
    for one, vectors in zip(alone, found, strict=True):
        np.testing.assert_allclose(vectors, alone[one], atol=1e-5, err_msg=f"{one}, embed in another process")


# bfloat16


@pytest.fixture
def coarse_when_long(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """More than ten positions are no short text; once called, attention over these is off by far more than rounding."""
    monkeypatch.setattr(device, "_SHORT", 10 * 10)
    real = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def coarse(*args: Any, **options: Any) -> Any:
        out, weights = real(*args, **options)
        return out + 0.5 * out.flip(-1), weights

    return lambda: monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", coarse)


@pytest.mark.parametrize("template", ["{text}", "{text}{soft}"])
def test_a_short_text_attends_beside_a_long_one_as_it_does_alone(
    template: str, tiny: Tiny, coarse_when_long: Callable[[], None]
) -> None:
    reader = load_reader(tiny.source, template=template, dtype="bfloat16")
    assert reader.decoder.passes.short_attention  # the premise
    embedder: Embedder = (
        FrozenEmbedder(reader, pooling="mean")
        if "{soft}" not in template
        else transfer(load_prompting(tiny.prompting), reader, pooling="mean")
    )
    coarse_when_long()
    texts = [*ROW_TEXTS[::-1], "water"]
    alone = np.concatenate([embedder.encode([text]) for text in texts])
    np.testing.assert_allclose(embedder.encode(texts), alone, atol=0.02)


def test_a_short_prompt_attends_beside_a_long_one_as_it_does_alone(
    tiny: Tiny, coarse_when_long: Callable[[], None]
) -> None:
    prompting = PromptingLLM.load(str(tiny.prompting), tokens=3, precision="bfloat16")
    assert prompting.short_attention  # the premise
    coarse_when_long()
    texts = [*ROW_TEXTS[::-1], "water"]
    with torch.no_grad():
        together, alone = prompting(texts), torch.cat([prompting([text]) for text in texts])
    assert float((together - alone).norm() / alone.norm()) < 0.02
