"""The start that carries over what the source learned, in float64, and the ways in which it cannot be had."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, load_prompting, load_reader, ridge_regression, source_checkpoint
from helpers.run_parts import build, trial
from helpers.tiny import Tiny
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from zoo import FAMILIES, WORDS, save

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.checkpoint import save as save_checkpoint
from transferkit.decoder.loading import load_tokenizer
from transferkit.errors import ConfigError
from transferkit.methods.prompting_alone import PromptingAlone
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment_start import _random
from transferkit.prompting.anchors import shared_tokens
from transferkit.prompting.mixtures import FEWEST_TOKENS
from transferkit.prompting.saved import SourceCheckpoint, open_source
from transferkit.prompting.writer import Writer
from transferkit.runner.prepare import resolved


@pytest.fixture(scope="module")
def learned(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source with offsets that are not zero."""
    return source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint", offsets=0.1)


def started(tiny: Tiny, source: Path, **changes: Any) -> PromptEmbedder:
    embedder = trial(tiny, tiny.recipe("adapt", **changes), source=source).embedder
    assert isinstance(embedder, PromptEmbedder)
    return embedder


def weights(source: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    tensors = load_file(source / "learned.safetensors")
    return tensors["alignment.weight"].double().numpy(), tensors["alignment.offset"].double().numpy()


def across(source: Path, target: Path, *, named_by: Path) -> np.ndarray[Any, Any]:
    """(d_s, d_t): a vector of the source's space as shares of the tokens that the Prompting LLM names, mixed anew."""
    tokenizer = load_tokenizer(str(named_by))
    tables = []
    for folder in (source, target):
        backbone = load_reader(folder).decoder
        ids_p, ids = shared_tokens(tokenizer, backbone.encoder.tokenizer, rows=(999, backbone.encoder.num_rows))
        tables.append(dict(zip(ids_p, backbone.token_table(ids).numpy(), strict=True)))
    of_source, of_target = tables
    shares = ridge_regression(np.stack(list(of_source.values())), np.eye(len(of_source)))
    nothing = np.zeros_like(next(iter(of_target.values())))
    return np.asarray(shares @ np.stack([of_target.get(token, nothing) for token in of_source]))


def test_w_and_offsets_of_the_source_arrive_as_mixtures_of_the_same_tokens(tiny: Tiny, learned: Path) -> None:
    alignment = started(tiny, learned).alignment
    weight, offset = weights(learned)
    there = across(tiny.source, tiny.target, named_by=tiny.prompting)
    assert alignment.offset is not None
    np.testing.assert_allclose(alignment.weight.detach().numpy(), weight @ there, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(alignment.offset.detach().numpy(), offset @ there, rtol=1e-4, atol=1e-6)


def test_without_offsets_w_alone_is_carried_over(tiny: Tiny, learned: Path) -> None:
    alignment = started(tiny, learned, alignment={"offset": "none"}).alignment
    assert alignment.offset is None
    np.testing.assert_allclose(
        alignment.weight.detach().numpy(),
        weights(learned)[0] @ across(tiny.source, tiny.target, named_by=tiny.prompting),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("tokens", [2, 5])
def test_offsets_of_positions_that_both_have(tiny: Tiny, learned: Path, tokens: int) -> None:
    """The source writes three."""
    offset = started(tiny, learned, prompting={"tokens": tokens}).alignment.offset
    assert offset is not None
    expected = np.zeros((tokens, offset.shape[1]))
    common = min(tokens, 3)
    expected[:common] = (weights(learned)[1] @ across(tiny.source, tiny.target, named_by=tiny.prompting))[:common]
    np.testing.assert_allclose(offset.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_its_own_backbone_the_source_goes_on_as_it_was(tiny: Tiny, learned: Path, precision: str) -> None:
    """Bit for bit, in any precision: nothing is regressed."""
    embedder = started(tiny, learned, precision=precision, embedding={"backbone": str(tiny.source)})
    for name, value in load(learned).state_dict().items():
        if name.startswith("alignment."):
            assert torch.equal(embedder.state_dict()[name], value), name
    if precision == "float32":
        whole = load(learned).encode(TEXTS, instruction="see")
        np.testing.assert_allclose(embedder.eval().encode(TEXTS, instruction="see"), whole, atol=1e-6)


def test_scale_of_the_embeddings_counts(tiny: Tiny, tmp_path: Path) -> None:
    """A source backbone whose layers receive its weight rows times sqrt(d)."""
    save(FAMILIES["gemma3"], tmp_path / "scaled", vocabulary=WORDS)
    source = source_checkpoint(tiny, tmp_path / "checkpoint", backbone=tmp_path / "scaled", offsets=0.1)
    assert load(source).backbone.identity.embedding_scale > 2  # type: ignore[attr-defined]
    found = started(tiny, source).alignment.weight.detach().numpy()
    expected = weights(source)[0] @ across(tmp_path / "scaled", tiny.target, named_by=tiny.prompting)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_decoder_of_the_source_is_not_needed(tiny: Tiny, learned: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny.source, tmp_path / "decoder")
    source = source_checkpoint(tiny, tmp_path / "checkpoint", backbone=tmp_path / "decoder", offsets=0.1)
    shutil.rmtree(tmp_path / "decoder")
    here, there = (started(tiny, folder).alignment.state_dict() for folder in (source, learned))
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_tokens_that_the_target_lacks_are_left_out(tiny: Tiny, tmp_path: Path) -> None:
    """A target of half the words: what is said in the others is lost, and the record says how much is left."""
    save(FAMILIES["llama"], tmp_path / "half", vocabulary=WORDS[: len(WORDS) // 2])
    source = source_checkpoint(tiny, tmp_path / "checkpoint", offsets=0.1)
    embedder = started(tiny, source, embedding={"backbone": str(tmp_path / "half")})
    facts = embedder.record_facts["alignment"]
    assert FEWEST_TOKENS <= facts["tokens"] < facts["of"]
    expected = weights(source)[0] @ across(tiny.source, tmp_path / "half", named_by=tiny.prompting)
    np.testing.assert_allclose(embedder.alignment.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_an_adapted_checkpoint_is_carried_on(tiny: Tiny, learned: Path, tmp_path: Path) -> None:
    """Whoever adapts tells what it learned too."""
    embedder = started(tiny, learned)
    save_checkpoint(embedder, tmp_path / "adapted", instructions={})
    found = started(tiny, tmp_path / "adapted", embedding={"backbone": str(tiny.source)}).alignment
    there = across(tiny.target, tiny.source, named_by=tiny.prompting)
    expected = embedder.alignment.weight.detach().double().numpy() @ there
    np.testing.assert_allclose(found.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_source_that_tells_nothing(tiny: Tiny, learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by an earlier version, or with another vocabulary than its decoder's."""
    silent = replace(open_source(learned).alignment(), mixtures={})
    monkeypatch.setattr(SourceCheckpoint, "alignment", lambda _: silent)
    with pytest.raises(ConfigError, match=r"tells its alignment in tokens.*source; use --set alignment\.init=anchors"):
        started(tiny, learned)
    started(tiny, learned, embedding={"backbone": str(tiny.source)})  # its own decoder needs no words


def test_too_few_shared_tokens_are_not_told(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.prompting.mixtures.FEWEST_TOKENS", 1000)
    source = source_checkpoint(tiny, tmp_path / "checkpoint")
    assert not any(name.startswith("mixtures") for name in load_file(source / "learned.safetensors"))


def test_no_more_tokens_than_a_checkpoint_should_hold(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.prompting.mixtures.MOST_TOKENS", 40)
    told = load_file(source_checkpoint(tiny, tmp_path / "checkpoint") / "learned.safetensors")
    assert told["mixtures.weight"].shape[1] == len(told["mixtures.tokens"]) == 40
    assert (told["mixtures.tokens"].diff() > 0).all()  # from the lowest id on


def test_other_soft_tokens_than_the_source_wrote(tiny: Tiny, learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = replace(open_source(learned).alignment(), weight=torch.zeros(7, 48))
    monkeypatch.setattr(SourceCheckpoint, "alignment", lambda _: hidden)
    with pytest.raises(ConfigError, match=r"as the source wrote them \(width 7\), these have 48; use 'random'"):
        started(tiny, learned)


def test_source_that_learned_no_alignment(tiny: Tiny, tmp_path: Path) -> None:
    alone = PromptingAlone(Writer(load_prompting(tiny.prompting)), join="mean")
    save_checkpoint(alone, tmp_path / "alone", instructions={})
    with pytest.raises(ConfigError, match="a prompting-llm-alone checkpoint holds no alignment; use --set alignment"):
        started(tiny, tmp_path / "alone")
    started(tiny, tmp_path / "alone", alignment={"init": "anchors"})


def test_backbones_that_share_too_few_tokens(tiny: Tiny, learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.prompting.alignment_start.FEWEST_TOKENS", 1000)
    with pytest.raises(ConfigError, match=r"its Prompting LLM and target share \(found \d+\); use 'random'"):
        started(tiny, learned)


def test_record_says_through_what(tiny: Tiny, learned: Path) -> None:
    recipe = resolved(tiny.recipe("adapt"), source=learned)
    assert recipe.alignment.init == "source"
    built = build(recipe, source=learned)
    facts = built.record_facts["alignment"]
    assert built.label(recipe) == "transfer, W + offsets, source start"
    assert facts["through"] == "source"
    names, source, target = (load_tokenizer(str(folder)) for folder in (tiny.prompting, tiny.source, tiny.target))
    told, read = (set(shared_tokens(names, other, rows=(999, 999))[0]) for other in (source, target))
    assert (facts["tokens"], facts["of"]) == (len(told & read), len(told))


def test_only_adapt_has_a_source_to_start_from(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="'source' is for adapt, only there is a source to start from"):
        tiny.recipe("train", alignment={"init": "source"})


def test_vocabularies_that_share_too_little_have_no_anchors(tiny: Tiny, learned: Path, tmp_path: Path) -> None:
    save(FAMILIES["gpt_neox"], tmp_path / "stranger")
    capitals = {token: n for n, token in enumerate(["<s>", "</s>", "<pad>", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "Ġ"])}
    core = Tokenizer(models.BPE(vocab=capitals, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    specials = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **specials).save_pretrained(tmp_path / "stranger")
    changes = {"embedding": {"backbone": str(tmp_path / "stranger")}, "alignment": {"init": "anchors"}}
    with pytest.raises(ConfigError, match=r"'anchors' needs tokens that both vocabularies share \(found 1\)"):
        started(tiny, learned, **changes)


@pytest.mark.parametrize("width", [48, 20])
def test_a_random_start_makes_soft_tokens_as_long_as_token_embeddings(width: int) -> None:
    """Where they are hidden states of another width than the embeddings, of those that are as large as ones."""
    rng = torch.Generator().manual_seed(0)
    own, theirs = torch.randn(400, 48, generator=rng), 3 * torch.randn(300, 24, generator=rng)
    prompting = SimpleNamespace(width=width, token_table=lambda: own)
    backbone: Any = SimpleNamespace(token_table=lambda: theirs)
    weight = _random(SimpleNamespace(prompting=prompting), backbone, seed=1)  # type: ignore[arg-type]
    assert weight.shape == (width, 24)
    soft = torch.randn(1000, width, generator=rng) @ weight
    assert float(soft.square().mean().sqrt()) == pytest.approx(float(theirs.square().mean().sqrt()), rel=0.15)
