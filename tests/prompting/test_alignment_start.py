"""The start that carries over what the source learned, in float64, and the ways in which it cannot be had."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, load_prompting, load_reader, ridge_regression, source_checkpoint
from helpers.run_parts import build, trial
from helpers.tiny import Tiny
from safetensors.torch import load_file
from zoo import FAMILIES, WORDS, save

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.checkpoint import save as save_checkpoint
from transferkit.decoder.loading import load_tokenizer
from transferkit.errors import ConfigError
from transferkit.methods.prompting_alone import PromptingAlone
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.anchors import shared_tokens
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


def across(source: Path, target: Path) -> np.ndarray[Any, Any]:
    """A, from the tables that the two backbones hand to their layers."""
    backbones = [load_reader(folder).decoder for folder in (source, target)]
    ids = shared_tokens(
        *(one.encoder.tokenizer for one in backbones), rows=tuple(one.encoder.num_rows for one in backbones)
    )
    x, y = (one.token_table(chosen).numpy() for one, chosen in zip(backbones, ids, strict=True))
    return ridge_regression(x, y)


def test_w_and_offsets_of_the_source_arrive_through_the_tokens_that_the_backbones_share(
    tiny: Tiny, learned: Path
) -> None:
    alignment = started(tiny, learned).alignment
    weight, offset = weights(learned)
    assert alignment.offset is not None
    np.testing.assert_allclose(
        alignment.weight.detach().numpy(), weight @ across(tiny.source, tiny.target), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        alignment.offset.detach().numpy(), offset @ across(tiny.source, tiny.target), rtol=1e-4, atol=1e-6
    )


def test_without_offsets_w_alone_is_carried_over(tiny: Tiny, learned: Path) -> None:
    alignment = started(tiny, learned, alignment={"offset": "none"}).alignment
    assert alignment.offset is None
    np.testing.assert_allclose(
        alignment.weight.detach().numpy(), weights(learned)[0] @ across(tiny.source, tiny.target), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("tokens", [2, 5])
def test_offsets_of_positions_that_both_have(tiny: Tiny, learned: Path, tokens: int) -> None:
    """The source writes three."""
    offset = started(tiny, learned, prompting={"tokens": tokens}).alignment.offset
    assert offset is not None
    expected = np.zeros((tokens, offset.shape[1]))
    common = min(tokens, 3)
    expected[:common] = (weights(learned)[1] @ across(tiny.source, tiny.target))[:common]
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
    expected = weights(source)[0] @ across(tmp_path / "scaled", tiny.target)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def _gone(tiny: Tiny, folder: Path) -> None:
    shutil.rmtree(folder)


def _another(tiny: Tiny, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(tiny.target, folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [(_gone, "no such model folder"), (_another, "differs from what the source was trained on in config, tokenizer")],
)
def test_source_backbone_that_cannot_be_had(tiny: Tiny, tmp_path: Path, change: Any, says: str) -> None:
    shutil.copytree(tiny.source, tmp_path / "decoder")
    source = source_checkpoint(tiny, tmp_path / "checkpoint", backbone=tmp_path / "decoder")
    change(tiny, tmp_path / "decoder")
    with pytest.raises(ConfigError, match=says) as caught:
        started(tiny, source)
    assert str(caught.value).endswith("start without it: --set alignment.init=anchors")
    assert str(caught.value).startswith("alignment.init: 'source' needs the token embeddings")
    started(tiny, source, alignment={"init": "anchors"})


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
    monkeypatch.setattr("transferkit.prompting.alignment_start.FEWEST_ANCHORS", 1000)
    with pytest.raises(ConfigError, match=r"tokens that source and target share \(found \d+\); use 'random'"):
        started(tiny, learned)


def test_record_says_through_what(tiny: Tiny, learned: Path) -> None:
    recipe = resolved(tiny.recipe("adapt"), source=learned)
    assert recipe.alignment.init == "source"
    built = build(recipe, source=learned)
    facts = built.record_facts["alignment"]
    assert built.label(recipe) == "transfer, W + offsets, source start"
    assert facts["through"] == "source"
    source, target = (load_tokenizer(str(folder)) for folder in (tiny.source, tiny.target))
    assert facts["anchors"] == len(shared_tokens(source, target, rows=(999, 999))[0])
    assert 0 < facts["anchor_r2"] < 1


def test_only_adapt_has_a_source_to_start_from(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="'source' is for adapt, only there is a source to start from"):
        tiny.recipe("train", alignment={"init": "source"})
