"""Shares of attention: against softmax(QK) by hand, against planted weights, over families, methods and tokenizers."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, load_reader, prompt_embedder, source_checkpoint
from helpers.tiny import Tiny
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from typer.testing import CliRunner
from zoo import FAMILIES, ROW_TEXTS, build, save, tokenizer

from transferkit.attention import shares as attention
from transferkit.attention.report import CONTENT_OF_WORDS, Report, Side, measure
from transferkit.attention.shares import GROUPS, Look, Token, before_adaptation, eager, look
from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.checkpoint import save as save_checkpoint
from transferkit.checkpoints.open import open_model
from transferkit.cli.app import app
from transferkit.config.poolings import Pooling
from transferkit.config.sections import LoraSection
from transferkit.config.specs import TokenizerFacts
from transferkit.data.words import english_stop_words
from transferkit.decoder.probe import probe
from transferkit.errors import ConfigError, RunError
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.lora import LoraEmbedder
from transferkit.methods.on_backbone import BackboneEmbedder
from transferkit.methods.prompt_tuning import PromptTuningEmbedder
from transferkit.methods.transfer import PromptEmbedder

TEXT = ROW_TEXTS[3]
QUIET = Console(quiet=True)
ENGLISH = english_stop_words()


def report(embedder: BackboneEmbedder, texts: Sequence[str] = (TEXT,), *, instruction: str = "") -> Report:
    return measure(embedder, texts, instruction=instruction, stop_words=ENGLISH, console=QUIET)


def only_look(side: Side | None) -> Look:
    assert side is not None
    assert side.look is not None
    return side.look


def share(side: Side | None, group: str) -> np.ndarray:
    """(layers,) of the first text."""
    assert side is not None
    values: np.ndarray = side.shares[0, :, GROUPS.index(group)]
    return values


def adds_up(side: Side | None) -> None:
    assert side is not None
    np.testing.assert_allclose(side.shares.sum(axis=-1), 1, atol=1e-12)
    assert (side.shares >= 0).all()


# --- against other computations of the same


def rotated(x: np.ndarray, base: float) -> np.ndarray:
    """Rotary positions on (heads, L, d): halves of a head are the two parts of its planes."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] / base ** (np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    turned = [first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)]
    return np.concatenate(turned, axis=-1)


def llama_by_hand(folder: Path, ids: list[int]) -> list[np.ndarray]:
    """Attention (heads, L, L) of each layer of a llama: all of it again, in float64, from the tensors in the file."""
    config = AutoConfig.from_pretrained(folder)
    weights = {name: t.double().numpy() for name, t in load_file(folder / "model.safetensors").items()}
    heads, kv_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled: np.ndarray = x / np.sqrt((x**2).mean(-1, keepdims=True) + config.rms_norm_eps) * weights[name]
        return scaled

    def split(x: np.ndarray, count: int) -> np.ndarray:
        return x.reshape(len(ids), count, width).transpose(1, 0, 2).repeat(heads // count, axis=0)

    x = weights["model.embed_tokens.weight"][ids]
    found = []
    for number in range(config.num_hidden_layers):
        at = f"model.layers.{number}"
        inner = norm(x, f"{at}.input_layernorm.weight")
        q, k, v = (inner @ weights[f"{at}.self_attn.{name}_proj.weight"].T for name in "qkv")
        base = config.rope_parameters["rope_theta"]
        q, k, v = rotated(split(q, heads), base), rotated(split(k, kv_heads), base), split(v, kv_heads)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(width)
        scores[:, np.triu(np.ones((len(ids), len(ids)), dtype=bool), 1)] = -np.inf
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        found.append(attention := attention / attention.sum(-1, keepdims=True))
        joined = (attention @ v).transpose(1, 0, 2).reshape(len(ids), heads * width)
        x = x + joined @ weights[f"{at}.self_attn.o_proj.weight"].T
        inner = norm(x, f"{at}.post_attention_layernorm.weight")
        gate, up, down = (weights[f"{at}.mlp.{name}_proj.weight"].T for name in ("gate", "up", "down"))
        gated = inner @ gate
        x = x + (gated / (1 + np.exp(-gated)) * (inner @ up)) @ down
    return found


@pytest.mark.parametrize("pooling", ["last", "mean", "weighted_mean"])
def test_shares_equal_softmax_of_queries_and_keys_by_hand(tiny: Tiny, pooling: Pooling) -> None:
    reader = load_reader(tiny.source, template='see "{text}" here', soft_tokens=0)
    found = only_look(report(FrozenEmbedder(reader, pooling=pooling)).before)
    (ids,) = reader.rows([TEXT], [""]).before
    assert reader.decoder.encoder.bos == ids[:1]
    n = len(ids)
    counts = {"last": np.arange(n) == n - 1, "mean": np.arange(n) > 0, "weighted_mean": np.arange(n)}[pooling]
    pooled = counts / counts.sum()
    np.testing.assert_allclose(found.pooled, pooled, atol=1e-6)
    truth = [pooled @ layer.mean(axis=0) for layer in llama_by_hand(tiny.source, ids)]
    np.testing.assert_allclose(found.shares, truth, atol=1e-5)
    assert found.layers == [1, 2]
    assert np.abs(found.shares - 1 / n).max() > 0.005  # the premise: they are not all alike


def test_of_a_maximum_a_position_counts_as_much_as_it_gives_numbers(tiny: Tiny) -> None:
    reader = load_reader(tiny.source, template="{text}", soft_tokens=0)
    found = only_look(report(FrozenEmbedder(reader, pooling="max")).before)
    states = reader.full_pass(reader.rows([TEXT], [""]), None).states[0, 1:]  # BOS is never pooled
    wins = np.bincount(states.argmax(dim=0).numpy() + 1, minlength=len(found.tokens))
    np.testing.assert_allclose(found.pooled, wins / wins.sum(), atol=1e-6)


def raw(folder: Path, **inputs: Tensor) -> list[np.ndarray]:
    """(heads, L, L) of whatever the library itself hands out for a row."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        out = model(**inputs, output_attentions=True)
    return [layer[0].double().numpy() for layer in out.attentions]


# Family -> numbers of the layers that attend.
ATTENDING = {
    "qwen3": [1, 2],
    "gpt_neox": [1, 2],
    "gemma3-window": [1, 2],
    "bloom": [1, 2],
    "deepseek_v3": [1, 2],
    "qwen3_next": [4],
    "lfm3": [2, 3],
    "zamba2": [2, 4],
    "minimax": [2, 4],
}


@pytest.mark.parametrize("family", ATTENDING)
def test_families_hand_out_what_is_shown(family: str, tmp_path: Path) -> None:
    save(FAMILIES[family], tmp_path)
    reader = load_reader(tmp_path, template="{text}", soft_tokens=0, max_length=40)
    embedder = FrozenEmbedder(reader, pooling="last")
    implementation, vector = reader.decoder.trunk.config._attn_implementation, embedder.encode([TEXT])
    found = report(embedder)
    assert found.before.layers == ATTENDING[family]
    adds_up(found.before)
    ids = torch.tensor(reader.rows([TEXT], [""]).before)
    truth = [layer.mean(axis=0)[-1] for layer in raw(tmp_path, input_ids=ids) if layer.shape[-1] == ids.shape[1]]
    np.testing.assert_allclose(only_look(found.before).shares, truth, atol=1e-5)
    assert "no token" not in found.groups()
    # Nothing of the decoder stays changed.
    assert reader.decoder.trunk.config._attn_implementation == implementation
    hooks = num_hooks(reader.decoder.trunk)
    report(embedder)
    assert num_hooks(reader.decoder.trunk) == hooks  # the library itself leaves some behind the first time
    assert not reader.decoder.trunk._forward_hooks
    assert not reader.decoder.trunk._forward_pre_hooks
    np.testing.assert_array_equal(embedder.encode([TEXT]), vector)


def num_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_attention_to_no_token_is_a_group_of_its_own(tmp_path: Path) -> None:
    save(FAMILIES["gpt_oss-window"], tmp_path)
    found = report(FrozenEmbedder(load_reader(tmp_path, template="{text}", soft_tokens=0), pooling="last"))
    ids = torch.tensor(load_reader(tmp_path, template="{text}", soft_tokens=0).rows([TEXT], [""]).before)
    truth = [1 - layer.mean(axis=0)[-1].sum() for layer in raw(tmp_path, input_ids=ids)]
    np.testing.assert_allclose(share(found.before, "no token"), truth, atol=1e-5)
    assert min(truth) > 0.01
    adds_up(found.before)
    assert found.groups()[-1] == "no token"


def test_a_state_of_the_size_of_a_row_is_no_attention(tmp_path: Path) -> None:
    """Linear layers of this family hand out a state, heads times 12 x 12, in the place of weights."""
    save(FAMILIES["minimax"], tmp_path)
    reader = load_reader(tmp_path, template="{text}", soft_tokens=0)
    text = " a red cat is in the water as i see it"
    assert len(reader.rows([text], [""]).before[0]) == 12
    found = report(FrozenEmbedder(reader, pooling="last"), [text, TEXT])
    assert found.before.layers == [2, 4]
    adds_up(found.before)


def test_rounded_weights_add_up_too(tiny: Tiny) -> None:
    reader = load_reader(tiny.source, template="{text}", soft_tokens=0, dtype="bfloat16")
    embedder = FrozenEmbedder(reader, pooling="mean")
    with eager(reader.decoder), torch.no_grad():
        weights = attention._attentions(reader, reader.rows([TEXT], [""]), None)[1][0][1]
    assert (weights.float().sum(-1) - 1).abs().max() > 1e-4  # the premise
    found = report(embedder)
    adds_up(found.before)
    assert "no token" not in found.groups()


def test_soft_tokens_on_a_bfloat16_decoder_are_looked_at(tiny: Tiny) -> None:
    """An alignment stays in float32 there; bfloat16 is what `adapt` takes where it is faster."""
    embedder = prompt_embedder(tiny, pooling="before+soft")
    reader = load_reader(tiny.target, template="{text}{soft}", dtype="bfloat16")
    rounded = PromptEmbedder(embedder.writer, embedder.alignment, reader, pooling="before+soft")
    found = report(rounded)
    adds_up(found.after)
    np.testing.assert_allclose(only_look(found.after).shares, only_look(report(embedder).after).shares, atol=0.02)


def test_a_decoder_without_attention_is_one_sentence(tmp_path: Path) -> None:
    save(FAMILIES["mamba2"], tmp_path)
    embedder = FrozenEmbedder(load_reader(tmp_path, template="{text}", soft_tokens=0), pooling="mean")
    with pytest.raises(ConfigError, match="this decoder hands out no attention weights, so there is nothing to show"):
        report(embedder)


def test_a_pooling_without_states_is_one_sentence(tiny: Tiny) -> None:
    reader = load_reader(tiny.source, template="{text}", soft_tokens=0)
    with pytest.raises(ConfigError, match="pooling 'static' reads token embeddings, which look nowhere"):
        report(FrozenEmbedder(reader, pooling="static"))
    beside, alone = (report(FrozenEmbedder(reader, pooling=how)).before for how in ("last+static", "last"))
    np.testing.assert_array_equal(beside.shares, alone.shares)


def test_weights_of_another_computation_are_refused(tmp_path: Path) -> None:
    """Falcon's fast attention takes another mask when it is asked for weights, and its states change."""
    save(FAMILIES["falcon"], tmp_path)
    embedder = FrozenEmbedder(load_reader(tmp_path, template="{text}", soft_tokens=0), pooling="mean")
    with pytest.raises(ConfigError, match=r"its hidden states change by 0\.\d+ \(relative\) when it hands out"):
        report(embedder)


def test_other_layers_for_a_later_text_are_an_error(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = FrozenEmbedder(load_reader(tiny.target, template="{text}", soft_tokens=0), pooling="last")
    answers = iter([True, True, True, True, False, True])  # the check, the first text, the second: two layers each
    monkeypatch.setattr(attention, "_are_weights", lambda weights, length: next(answers))
    with pytest.raises(RunError, match="text 2: other layers hand out attention weights than for the first text"):
        report(embedder, TEXTS[:2])


# --- planted: a decoder that provably looks at one token


def planted(folder: Path, token: int | None) -> Path:
    """A GPT-2 whose every query finds one key: attention and feed-forward write nothing, so all layers see embeddings.

    One number of an embedding is 0 for all tokens but one. Every head's query is the same whatever it stands at, and
    its key is that number, fifty times.
    """
    model = build(FAMILIES["gpt2"])
    width, heads = model.config.n_embd, model.config.n_head
    with torch.no_grad():
        table = model.transformer.wte.weight
        table[:, 0] = 0
        if token is not None:
            table[token] = planted_row(width)
        model.transformer.wpe.weight.zero_()
        for block in model.transformer.h:
            block.ln_1.weight.fill_(1)
            block.ln_1.bias.zero_()
            for name in ("attn.c_attn", "attn.c_proj", "mlp.c_proj"):
                block.get_submodule(name).weight.zero_()
                block.get_submodule(name).bias.zero_()
            for head in range(heads):
                block.attn.c_attn.bias[head * width // heads] = 1
                block.attn.c_attn.weight[0, width + head * width // heads] = 50
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def planted_row(width: int) -> Tensor:
    return torch.cat([torch.tensor([100.0]), torch.zeros(width - 1)])


@pytest.mark.parametrize(
    ("token", "group"),
    [
        (" cat", "content words"),
        (" the", "stop words"),
        (",", "punctuation"),
        (" see", "template"),
        (" red", "instruction"),
        ("<s>", "special"),
    ],
)
def test_a_planted_token_is_found(token: str, group: str, tmp_path: Path) -> None:
    (i,) = tokenizer()(token, add_special_tokens=False)["input_ids"]
    template = "{instruction} see:{text}{soft}"
    reader = load_reader(planted(tmp_path, i), template=template, soft_tokens=2, max_length=40)
    embedder = PromptTuningEmbedder.on(reader, pooling="soft", tokens=2, seed=0)
    embedder.prompt.data[:, 0] = 0
    found = report(embedder, [" by the cat, in water"], instruction=" be red")
    for side in (found.before, found.after):
        assert share(side, group).min() > 0.999
        adds_up(side)
        tokens = only_look(side).tokens
        (place,) = [place for place, one in enumerate(tokens) if one.name == token]
        assert only_look(side).shares[:, place].min() > 0.999


def test_a_planted_soft_token_is_found(tmp_path: Path) -> None:
    reader = load_reader(planted(tmp_path, None), template="{text}{soft}", soft_tokens=2, max_length=40)
    embedder = PromptTuningEmbedder.on(reader, pooling="soft", tokens=2, seed=0)
    embedder.prompt.data = torch.stack([planted_row(48), embedder.prompt.data[1]])
    embedder.prompt.data[1, 0] = 0
    found = report(embedder)
    assert share(found.after, "soft tokens").min() > 0.999
    assert only_look(found.after).shares[:, -2].min() > 0.999
    assert share(found.before, "soft tokens").max() == 0
    assert found.change()["soft tokens"][0] > 0.999
    assert found.before.pooling == "last"


def test_the_state_before_the_soft_tokens_counts_as_much_as_theirs(tiny: Tiny) -> None:
    reader = load_reader(tiny.target, template="{text}{soft}", soft_tokens=2, max_length=40)
    both, before, soft = (
        only_look(report(PromptTuningEmbedder.on(reader, pooling=how, tokens=2, seed=0)).after).pooled
        for how in ("before+soft", "last", "soft")
    )
    np.testing.assert_allclose(both[-3:], [0.5, 0.25, 0.25], atol=1e-5)
    np.testing.assert_allclose(soft[-3:], [0, 0.5, 0.5], atol=1e-5)
    assert before.argmax() == len(both) - 1


def test_a_mean_looks_from_every_position(tmp_path: Path) -> None:
    """Positions before the planted token cannot see it: of a mean it gets what the positions after it are of all."""
    (i,) = tokenizer()(" cat", add_special_tokens=False)["input_ids"]
    reader = load_reader(planted(tmp_path, i), template="{text}", soft_tokens=0, max_length=40)
    found = report(FrozenEmbedder(reader, pooling="mean"), [" a red cat is by the car"])
    assert len(only_look(found.before).tokens) == 8
    np.testing.assert_allclose(share(found.before, "content words"), share(found.before, "content words")[0])
    np.testing.assert_allclose(only_look(found.before).shares[:, 3], 5 / 7, atol=0.01)


# --- before and after


def soft_by_library(embedder: BackboneEmbedder, folder: Path, text: str, k: int) -> list[np.ndarray]:
    model = AutoModel.from_pretrained(folder)
    soft = embedder.soft_prompt([text], [""])
    assert soft is not None
    ids = torch.tensor(embedder.reader.rows([text], [""]).before)
    embeds = torch.cat([model.get_input_embeddings()(ids), soft], dim=1).detach()
    return [layer.mean(axis=0)[-k:].mean(axis=0) for layer in raw(folder, inputs_embeds=embeds)]


def test_transfer_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    save_checkpoint(prompt_embedder(tiny), tmp_path / "transfer", instructions={})
    embedder = open_model(str(tmp_path / "transfer"))
    assert isinstance(embedder, BackboneEmbedder)
    vector = embedder.encode([TEXT])
    found = report(embedder)
    np.testing.assert_array_equal(embedder.encode([TEXT]), vector)
    assert found.after is not None
    assert (found.before.method, found.before.template, found.before.pooling) == ("frozen", "{text}", "last")
    assert (found.after.method, found.after.template, found.after.pooling) == ("transfer", "{text}{soft}", "soft")
    after = only_look(found.after)
    np.testing.assert_allclose(after.shares, soft_by_library(embedder, tiny.target, TEXT, 3), atol=1e-5)
    assert [token.group for token in after.tokens][-3:] == ["soft tokens"] * 3
    frozen = FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling="last")
    np.testing.assert_array_equal(found.before.shares, report(frozen).before.shares)
    for side in found.sides().values():
        adds_up(side)


def test_prompt_tuning_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    tuned = PromptTuningEmbedder.on(load_reader(tiny.source), pooling="mean", tokens=3, seed=1)
    save_checkpoint(tuned, tmp_path / "tuned", instructions={})
    found = report(load(tmp_path / "tuned"))  # type: ignore[arg-type]
    assert found.after is not None
    assert (found.before.pooling, found.after.pooling, found.after.method) == ("mean", "mean", "prompt tuning")
    pooled = only_look(found.after).pooled
    assert pooled[0] == 0  # BOS is not pooled
    np.testing.assert_allclose(pooled[1:], 1 / (len(pooled) - 1), atol=1e-6)


def test_lora_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    lora = LoraSection(r=2, alpha=4)
    trained = LoraEmbedder.on(load_reader(tiny.target, template="{text}"), pooling="last", lora=lora, seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in trained.adapter().values():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    save_checkpoint(trained, tmp_path / "lora", instructions={})
    embedder = load(tmp_path / "lora")
    assert isinstance(embedder, LoraEmbedder)
    vector = embedder.encode([TEXT])
    found = report(embedder)
    np.testing.assert_array_equal(embedder.encode([TEXT]), vector)  # the adapters are on again
    frozen = report(FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling="last"))
    np.testing.assert_array_equal(found.before.shares, frozen.before.shares)
    assert frozen.after is None
    # The same decoder with the adapters added to its weights by hand.
    model = AutoModel.from_pretrained(tiny.target)
    parts = embedder.adapter()
    with torch.no_grad():
        for name, down in parts.items():
            if "lora_A" in name:
                place = name.removeprefix("base_model.model.").partition(".lora_A")[0]
                model.get_submodule(place).weight += (
                    lora.alpha / lora.r * parts[name.replace("lora_A", "lora_B")] @ down
                )
    model.save_pretrained(tmp_path / "merged")
    ids = torch.tensor(embedder.reader.rows([TEXT], [""]).before)
    truth = [layer.mean(axis=0)[-1] for layer in raw(tmp_path / "merged", input_ids=ids)]
    np.testing.assert_allclose(only_look(found.after).shares, truth, atol=1e-5)
    assert np.abs(only_look(found.after).shares - only_look(found.before).shares).max() > 0.01


@pytest.mark.parametrize("append_eos", [False, True])
@pytest.mark.parametrize("context", [None, 16])  # the second leaves no room for the whole text
def test_before_looks_from_the_last_position_before_the_soft_tokens(
    append_eos: bool, context: int | None, tiny: Tiny
) -> None:
    facts = TokenizerFacts(append_eos=append_eos)
    spec = probe(str(tiny.target)).model_copy(update={"tokenizer": facts})
    template = 'say "{text}" is{soft}, so'
    spec = spec.model_copy(update={"max_length": context or spec.max_length})
    reader = load_reader(tiny.target, spec=spec, template=template, soft_tokens=2)
    embedder = PromptTuningEmbedder.on(reader, pooling="soft", tokens=2, seed=0)
    found = report(embedder)
    (ids,) = reader.rows([TEXT], [""]).before
    assert (len(ids) < 16) == (context is not None)
    before, after = only_look(found.before), only_look(found.after)
    assert before.tokens == after.tokens[: len(ids)]
    assert before.tokens[-1].name == " is"
    truth = [layer.mean(axis=0)[-1] for layer in raw(tiny.target, input_ids=torch.tensor([ids]))]
    np.testing.assert_allclose(before.shares, truth, atol=1e-5)
    assert (found.before.template, found.before.pooling) == ('say "{text}" is', "last")


def test_the_method_itself_stays_as_it_is(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny)
    vector = embedder.encode([TEXT])
    with before_adaptation(embedder) as frozen:
        assert frozen.template == "{text}"
        assert frozen.backbone.trunk is embedder.backbone.trunk
        assert embedder.template == "{text}{soft}"
        np.testing.assert_array_equal(embedder.encode([TEXT]), vector)


@pytest.mark.parametrize("template", ['say "{text}" is{soft}, so', "{soft}see {text}", "{instruction}{text}{soft}"])
@pytest.mark.parametrize("text", ["a red cat, the car", "É"])  # the second has no token
def test_every_token_has_its_kind_wherever_the_soft_ones_stand(tiny: Tiny, template: str, text: str) -> None:
    found = report(prompt_embedder(tiny, template=template, pooling="last"), [text], instruction=" is it")
    for side, soft in ((found.before, 0), (found.after, 3)):
        tokens = only_look(side).tokens
        assert [token.group for token in tokens].count("special") == 1
        assert tokens[0].name == "<s>"
        assert [token.group for token in tokens].count("soft tokens") == soft
        assert written(tokens, "stop words", "content words", "punctuation") == (text if text.isascii() else "")
        assert written(tokens, "template") == re.sub(r"{\w+}", "", template)
        assert written(tokens, "instruction") == (" is it" if "{instruction}" in template else "")
        adds_up(side)


def written(tokens: list[Token], *groups: str) -> str:
    return "".join(token.name for token in tokens if token.group in groups)


def test_a_row_of_nothing_holds_one_special_token(tiny: Tiny) -> None:
    spec = probe(str(tiny.target)).model_copy(update={"tokenizer": TokenizerFacts(add_bos=False)})
    reader = load_reader(tiny.target, spec=spec, template="{text}", soft_tokens=0)
    tokens = only_look(report(FrozenEmbedder(reader, pooling="mean"), ["É"]).before).tokens
    assert tokens == [Token("</s>", "special")]


def test_a_word_of_several_pieces_opens_once(tiny: Tiny) -> None:
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0, max_length=40)
    with eager(reader.decoder):
        tokens = look(FrozenEmbedder(reader, pooling="last"), "zebra cat cat", "", stop_words=ENGLISH).tokens
    tokens = [token for token in tokens if token.word is not None]
    assert "".join(token.name for token in tokens) == "zebra cat cat"
    assert [token.word for token in tokens if token.opens] == ["zebra", "cat", "cat"]
    assert len(tokens) > 3


# --- numbers


def side(shares: np.ndarray, **changes: Any) -> Side:
    """Two texts, two layers; all groups but the soft tokens and no token."""
    values = np.concatenate([shares, np.zeros((*shares.shape[:2], len(GROUPS) - shares.shape[2]))], axis=2)
    defaults: dict[str, Any] = {"method": "frozen", "template": "{text}", "pooling": "mean", "layers": [1, 2]}
    tokens = np.full((len(shares), len(GROUPS)), 0.0)
    tokens[:, : shares.shape[2]] = 1 / shares.shape[2]
    return Side(**(defaults | changes), shares=values, tokens=tokens, look=None)


def random_shares(seed: int, texts: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(6), size=(texts, 2))


def test_means_changes_and_errors_are_those_of_the_texts() -> None:
    one, two = random_shares(0), random_shares(1)
    found = Report("b", "", "list", side(one), side(two, method="LoRA"))
    content = found.to_json()
    place = GROUPS.index("template")
    assert content["before"]["mean"]["template"] == pytest.approx(one[:, :, place].mean(), abs=1e-6)
    assert content["after"]["layers"][1]["template"] == pytest.approx(two[:, 1, place].mean(), abs=1e-6)
    difference = two[:, :, place].mean(1) - one[:, :, place].mean(1)
    assert content["change"]["template"]["mean"] == pytest.approx(difference.mean(), abs=1e-6)
    error = np.sqrt(((difference - difference.mean()) ** 2).sum() / 2 / 3)
    assert content["change"]["template"]["standard_error"] == pytest.approx(error, abs=1e-6)
    stop, of_content = one[:, :, 3].mean(1), one[:, :, 4].mean(1)
    assert content["before"]["mean"][CONTENT_OF_WORDS] == pytest.approx(
        (of_content / (stop + of_content)).mean(), abs=1e-6
    )
    for name in ("before", "after"):
        for row in (content[name]["mean"], *content[name]["layers"], content[name]["tokens"]):
            assert sum(row.get(group, 0) for group in GROUPS) == pytest.approx(1, abs=1e-5)
    assert found.groups() == list(GROUPS[:6])


def test_a_text_without_words_has_no_share_of_them() -> None:
    shares = random_shares(0)
    shares[0, :, 3:5] = 0
    of_words = side(shares).by_text()[CONTENT_OF_WORDS]
    assert np.isnan(of_words).tolist() == [True, False, False]
    mean = Report("b", "", "list", side(shares), None).to_json()["frozen"]["mean"][CONTENT_OF_WORDS]
    assert mean == pytest.approx(of_words[1:].mean(), abs=1e-6)


def test_the_mean_over_texts_is_the_mean_of_the_texts(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny)
    together = report(embedder, TEXTS[:3])
    for number, text in enumerate(TEXTS[:3]):
        alone = report(embedder, [text])
        for name, one in together.sides().items():
            np.testing.assert_array_equal(one.shares[number], alone.sides()[name].shares[0])
    assert together.before.look is None
    assert "text" not in together.to_json()["before"]


# --- opening and the command


def test_a_decoder_by_name_folder_and_template(tiny: Tiny) -> None:
    embedder = open_model(str(tiny.target), template="summary", pooling="last")
    assert isinstance(embedder, FrozenEmbedder)
    assert embedder.pooling == "last"
    assert "{text}" in embedder.template
    assert embedder.template != "{text}"
    plain = open_model(str(tiny.target))
    assert isinstance(plain, FrozenEmbedder)
    assert (plain.pooling, plain.template) == ("mean", "{text}")
    bundled = open_model("bundled-qwen3-2m", pooling="last")
    assert isinstance(bundled, FrozenEmbedder)
    found = report(bundled)
    assert found.backbone == "bundled-qwen3-2m"
    adds_up(found.before)


def test_a_tokenizer_without_offsets_is_one_sentence(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0)
    monkeypatch.setattr(type(reader.decoder.encoder.tokenizer), "is_fast", property(lambda self: False))
    with pytest.raises(ConfigError, match="its tokenizer does not say where in a text its tokens stand"):
        report(FrozenEmbedder(reader, pooling="mean"))


@pytest.mark.parametrize("given", [None, "see"])
def test_an_instruction_that_is_not_read_is_neither_shown_nor_reported(
    given: str | None, tiny: Tiny, tmp_path: Path
) -> None:
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0)
    trained = LoraEmbedder.on(reader, pooling="mean", lora=LoraSection(), seed=0)
    save_checkpoint(trained, tmp_path / "lora", instructions={"intents": "find the cat", "pairs": "see"})
    arguments = ["attention", str(tmp_path / "lora"), "--text", TEXT, "--device", "cpu", "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, [*arguments, *(["--instruction", given] if given else [])])
    assert shown.exit_code == 0, shown.output
    assert ("warning: this model reads no instruction" in shown.stderr) == (given is not None)
    assert "trained with" not in shown.stderr
    assert json.loads((tmp_path / "out" / "attention.json").read_text())["instruction"] is None
    assert "instruction" not in (tmp_path / "out" / "attention.svg").read_text()


def test_command(tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = source_checkpoint(tiny, tmp_path / "checkpoint")
    out = tmp_path / "out"
    arguments = ["attention", str(checkpoint), "--device", "cpu"]
    shown = CliRunner().invoke(app, [*arguments, "--text", TEXTS[3], "--out", str(out), "--instruction", "see"])
    assert shown.exit_code == 0, shown.output
    assert "before: frozen, last pooling, reads “{text}”" in shown.stdout
    assert "content words" in shown.stdout
    content = json.loads((out / "attention.json").read_text())
    assert content["instruction"] == "see"
    assert "instruction" in (out / "attention.svg").read_text()
    assert "".join(row["token"] for row in content["before"]["text"][1:]) == TEXTS[3]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS[:3]) + "\n")
    asked = CliRunner().invoke(app, [*arguments, "--texts", str(file), "--json"])
    assert (
        "no --instruction given, so none is used; this checkpoint was trained with 'find the cat' and" in asked.stderr
    )
    many = CliRunner().invoke(app, [*arguments, "--texts", str(file), "--json", "--quiet"])
    assert many.exit_code == 0, many.output
    content = json.loads(many.stdout)
    assert content["texts"] == 3
    assert content["change"]["soft tokens"]["standard_error"] >= 0
    assert content["stop_words"].startswith("scikit-learn ")
