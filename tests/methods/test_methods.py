"""One text, one vector: whatever stands beside it, by whatever path, through every call."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, load_reader, prompt_embedder, relative
from helpers.tiny import Tiny

from transferkit.config.poolings import Pooling
from transferkit.config.specs import TokenizerFacts
from transferkit.decoder.loading import input_embeddings
from transferkit.decoder.probe import probe
from transferkit.errors import ConfigError
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.on_backbone import SeveralPoolings
from transferkit.methods.prompt_tuning import PromptTuningEmbedder
from transferkit.methods.prompting_alone import PromptingAlone
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.llm import PromptingLLM
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings

READINGS: list[tuple[str, Pooling]] = [
    ("{text}{soft}", "soft"),
    ("{text}{soft}", "weighted_mean"),
    ('this: "{text}" is in one:{soft} so', "last"),
    ("{soft}{text}", "mean"),
    ("{soft}{text}", "max"),
    ("{instruction} {text}{soft}", "soft"),
    ("{text}{soft}", "soft+static"),
    ("{text}{soft}", "before+soft+static"),
    ('{soft}this: "{text}"', "mean+static"),
]
readings = pytest.mark.parametrize(("template", "pooling"), READINGS)


@pytest.fixture(scope="module", name="embedder")
def make_embedder(tiny: Tiny) -> PromptEmbedder:
    return prompt_embedder(tiny)


@readings
def test_same_vector_for_every_batch_size_and_neighbour(tiny: Tiny, template: str, pooling: Pooling) -> None:
    embedder = prompt_embedder(tiny, template=template, pooling=pooling)
    whole = embedder.encode(TEXTS, instruction="see")
    assert whole.shape == (len(TEXTS), embedder.pooled_width(pooling))
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    for batch_size in (1, 2, 7):
        vectors = embedder.encode(TEXTS, instruction="see", batch_size=batch_size)
        np.testing.assert_allclose(vectors, whole, atol=1e-5)
    order = [4, 4, 0, 6, 2]
    neighbours = embedder.encode([TEXTS[i] for i in order], instruction="see", batch_size=3)
    np.testing.assert_allclose(neighbours, whole[order], atol=1e-5)
    distances = np.linalg.norm(whole[:, None] - whole[None], axis=-1) + 9 * np.eye(len(TEXTS))
    assert distances.min() > 1e-2  # the premise: different texts have different vectors


@readings
def test_training_and_encoding_give_the_same_vector(tiny: Tiny, template: str, pooling: Pooling) -> None:
    embedder = prompt_embedder(tiny, template=template, pooling=pooling).train()
    vectors = embedder.embed(TEXTS, ["see"] * len(TEXTS))
    assert vectors.requires_grad
    unit = torch.nn.functional.normalize(vectors.detach(), dim=-1).numpy()
    np.testing.assert_allclose(embedder.encode(TEXTS, instruction="see", batch_size=3), unit, atol=1e-5)


@readings
def test_cached_path_equals_the_full_pass(
    tiny: Tiny, template: str, pooling: Pooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = prompt_embedder(tiny, template=template, pooling=pooling)
    backbone = embedder.backbone
    assert backbone.exactness.cached
    assert backbone.exactness.full
    measured = backbone.exactness
    outcomes = []
    for exactness in (measured, replace(measured, cached_errors=(1.0, 1.0))):
        monkeypatch.setattr(backbone, "exactness", exactness)
        embedder.zero_grad()
        vectors = embedder.embed(TEXTS, ["see"] * len(TEXTS))
        weights = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
        (vectors * weights).sum().backward()
        offset = embedder.alignment.offset
        assert offset is not None
        outcomes.append((vectors, embedder.alignment.weight.grad, offset.grad))
    for cached, full in zip(*outcomes, strict=True):
        assert cached is not None
        assert full is not None
        assert relative(cached, full) < 1e-5


@readings
def test_soft_tokens_and_text_are_both_read(tiny: Tiny, template: str, pooling: Pooling) -> None:
    embedder = prompt_embedder(tiny, template=template, pooling=pooling)
    plain = embedder.encode(TEXTS)
    tables = embedder.soft_prompt(["no"] * len(TEXTS), [""] * len(TEXTS))
    embedder.soft_prompt = lambda texts, instructions: tables[: len(texts)]  # type: ignore[method-assign]
    one_prompt = embedder.encode(TEXTS)
    assert np.linalg.norm(one_prompt[:2] - plain[:2], axis=1).min() > 1e-4  # the prompt of another text
    assert np.linalg.norm(one_prompt[0] - one_prompt[1]) > 1e-3  # the same prompt, two texts
    np.testing.assert_allclose(one_prompt[2], plain[2], atol=1e-5)  # "no" kept its own


@pytest.mark.parametrize("template", ["{text}", '{instruction}: "{text}"', "{text}{soft} so"])
def test_static_is_the_mean_token_embedding_of_the_text_alone(tiny: Tiny, template: str) -> None:
    facts = TokenizerFacts(append_eos=True)
    spec = probe(str(tiny.target)).model_copy(update={"tokenizer": facts})
    reader = load_reader(tiny.target, spec=spec, template=template)
    embedder = FrozenEmbedder(reader, pooling="static")
    tokenizer, table = reader.decoder.encoder.tokenizer, input_embeddings(reader.decoder.trunk).weight.detach().double()
    texts = [text for text in TEXTS if text]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"][: reader.text_tokens] for text in texts]
    expected = torch.stack([table[row].mean(0) for row in ids])
    reader.decoder.trunk.register_forward_hook(lambda *_: pytest.fail("a pass over the decoder, which nothing reads"))
    found = embedder.embed(texts, ["find the cat"] * len(texts))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    nothing = embedder.embed([""], [""])[0].double()
    torch.testing.assert_close(nothing, table[reader.decoder.encoder.filler], rtol=1e-5, atol=1e-6)


def test_no_pass_where_static_alone_is_read(tiny: Tiny) -> None:
    reader = load_reader(tiny.target, template="{instruction} {text}")
    embedder = FrozenEmbedder(reader, pooling="static")
    expected = embedder.encode(TEXTS)
    reader.decoder.trunk.register_forward_hook(lambda *_: pytest.fail("a pass over the decoder, which nothing reads"))
    together = SeveralPoolings(embedder, poolings=["static"])
    np.testing.assert_array_equal(together.encode(TEXTS), expected)
    assert not embedder.reads_instruction
    assert FrozenEmbedder(reader, pooling="mean+static").reads_instruction


def test_soft_tokens_stand_beside_static_ones(tiny: Tiny) -> None:
    beside, soft = (prompt_embedder(tiny, pooling=pooling) for pooling in ("soft+static", "soft"))
    static = FrozenEmbedder(load_reader(soft.backbone.spec.location, template="{text}"), pooling="static")
    expected = np.concatenate([soft.encode(TEXTS), static.encode(TEXTS)], axis=1) / 2**0.5
    np.testing.assert_allclose(beside.encode(TEXTS), expected, atol=1e-5)


def test_instruction_reaches_the_prompt_alone(embedder: PromptEmbedder) -> None:
    plain, asked = embedder.encode(TEXTS), embedder.encode(TEXTS, instruction="find the cat")
    assert np.linalg.norm(plain - asked, axis=1).min() > 1e-3
    each = ["find the cat", "", "see", "", "", "see", ""]
    mixed = embedder.encode(TEXTS, instruction=each)
    for i, task in enumerate(each):
        np.testing.assert_allclose(mixed[i], embedder.encode([TEXTS[i]], instruction=task)[0], atol=1e-5)
    frozen = FrozenEmbedder(load_reader(embedder.backbone.spec.location, template="{text}"), pooling="mean")
    np.testing.assert_array_equal(frozen.encode(TEXTS), frozen.encode(TEXTS, instruction="find the cat"))


def test_instruction_of_the_prompting_llm_alone(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny, reads="instruction")
    soft = embedder.soft_prompt(TEXTS, ["see"] * len(TEXTS))
    assert torch.equal(soft[0], soft[1])
    vectors = embedder.encode(TEXTS, instruction="see")
    assert np.linalg.norm(vectors[0] - vectors[1]) > 1e-3  # the backbone still reads the text


def test_the_prompting_llm_alone_is_where_its_weights_are(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prompt_embedder(tiny)
    place = torch.device("meta")  # stands for a GPU
    monkeypatch.setattr(PromptingLLM, "device", place)
    alone = whole.without_backbone()
    assert isinstance(alone, PromptingAlone)
    assert alone.device == SeveralPoolings(alone, poolings=["mean"]).device == place


def test_encode_demands_texts(embedder: PromptEmbedder) -> None:
    with pytest.raises(ConfigError, match="encode: text 1: expected text, got None"):
        embedder.encode(["a", None])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="encode: got 2 instructions for 3 texts"):
        embedder.encode(["a", "no", "i"], instruction=["see", "find"])
    assert embedder.encode([]).shape == (0, embedder.backbone.output_width)


def test_readout_is_applied_by_encode_alone(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny)
    before = embedder.encode(TEXTS)
    pooled = embedder.pooled(TEXTS, [""] * len(TEXTS), batch_size=4)
    embedder.readout = Fitter(pooled).fit(Settings("whiten", ridge=0.1))
    np.testing.assert_array_equal(embedder.encode(TEXTS, readout=False), before)
    with_readout = embedder.encode(TEXTS)
    assert np.abs(with_readout - before).max() > 1e-2
    np.testing.assert_allclose(np.linalg.norm(with_readout, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(with_readout, embedder.readout(pooled).numpy(), atol=1e-5)
    after = embedder.embed(TEXTS, [""] * len(TEXTS)).detach()
    torch.testing.assert_close(after, pooled, rtol=1e-5, atol=1e-5)  # the loss never sees the readout


def test_tokens_read_counts_texts_template_and_soft_tokens(embedder: PromptEmbedder) -> None:
    embedder.take_tokens()
    embedder.embed(TEXTS[:2], ["", ""])
    rows = embedder.reader.rows(TEXTS[:2], ["", ""])
    assert embedder.take_tokens() == sum(map(len, rows.before)) + 2 * 3
    assert embedder.take_tokens() == 0


def test_a_pooling_that_there_is_not_is_refused(embedder: PromptEmbedder) -> None:
    with pytest.raises(ConfigError, match=r"pooling: expected 'soft', .* or '.*', got 'nope'"):
        embedder.reread(template="{text}{soft}", pooling="nope")  # type: ignore[arg-type]


def test_combinations_without_meaning_are_refused(tiny: Tiny, embedder: PromptEmbedder) -> None:
    prefix, plain = (load_reader(tiny.target, template=t) for t in ("{soft}{text}", "{text}"))
    with pytest.raises(ConfigError, match=r"pooling.*'soft' reads positions that stand before the text"):
        PromptEmbedder(embedder.writer, embedder.alignment, prefix, pooling="soft")
    with pytest.raises(ConfigError, match=r"pooling.*'soft\+static' reads positions that stand before the text"):
        PromptEmbedder(embedder.writer, embedder.alignment, prefix, pooling="soft+static")
    with pytest.raises(ConfigError, match=r"has no \{soft\}"):
        PromptEmbedder(embedder.writer, embedder.alignment, plain, pooling="mean")
    with pytest.raises(ConfigError, match=r"has no \{soft\}"):
        PromptTuningEmbedder.on(plain, pooling="mean", tokens=3, seed=0)
