"""The mean over the last layers' states, against the decoder called on one row with nothing around it."""

from pathlib import Path

import pytest
import torch
from helpers.parts import TEXTS, load_prompting, load_reader, relative
from helpers.tiny import Tiny
from transformers import AutoModel, AutoTokenizer

from transferkit.checkpoints.checkpoint import load, save
from transferkit.errors import ConfigError
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import Alignment, random_start
from transferkit.prompting.writer import Writer
from transferkit.readout.readout import Readout


def by_hand(folder: Path, text: str, layers: int, *, bos: bool) -> torch.Tensor:
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = [*([tokenizer.bos_token_id] if bos else []), *tokenizer(text, add_special_tokens=False).input_ids]
    with torch.no_grad():
        found = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    states = torch.stack([layer.double() for layer in found[len(found) - layers :]]).mean(0)[0]
    return states[1:].mean(0) if bos else states.mean(0)


@pytest.mark.parametrize("layers", [1, 2])
def test_mean_over_layers_and_positions(tiny: Tiny, layers: int) -> None:
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0, layers=layers)
    vectors = FrozenEmbedder(reader, pooling="mean").embed(TEXTS[:5], [""] * 5)
    for text, vector in zip(TEXTS[:5], vectors, strict=True):
        assert relative(vector, by_hand(tiny.target, text, layers, bos=bool(reader.decoder.encoder.bos))) < 1e-5


def prompt_embedder(tiny: Tiny, layers: int) -> PromptEmbedder:
    prompting, reader = load_prompting(tiny.prompting), load_reader(tiny.target, layers=layers)
    start = random_start(prompting.token_table().detach(), reader.decoder.token_table(), seed=0)
    return PromptEmbedder(Writer(prompting), Alignment(start, tokens=3, offset=True), reader, pooling="mean")


def test_cached_text_keeps_the_mean_of_its_layers(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny, 2)
    assert embedder.reader.is_cached
    rows = embedder.reader.rows(TEXTS[:5], [""] * 5)
    soft = embedder.soft_prompt(TEXTS[:5], [""] * 5).detach()
    cached, full = embedder.reader(rows, soft), embedder.reader.full_pass(rows, soft)
    where = cached.mask
    assert relative(cached.states[where], full.states[full.mask]) < 1e-5
    one = prompt_embedder(tiny, 1).embed(TEXTS[:5], [""] * 5)
    assert relative(embedder.embed(TEXTS[:5], [""] * 5), one) > 1e-2  # the premise: layers differ


def test_a_checkpoint_remembers_its_layers(tiny: Tiny, tmp_path: Path) -> None:
    embedder = prompt_embedder(tiny, 2)
    embedder.readout = Readout.plain(embedder.backbone.output_width)
    save(embedder, tmp_path / "checkpoint", instructions={})
    again = load(tmp_path / "checkpoint")
    torch.testing.assert_close(torch.tensor(again.encode(TEXTS)), torch.tensor(embedder.encode(TEXTS)))


def test_more_layers_than_there_are_is_one_sentence(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"--layers: 9 asked for, this decoder hands out the states of \d"):
        load_reader(tiny.target, layers=9)
