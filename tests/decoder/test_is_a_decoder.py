"""What is no decoder is refused by its config.json, and no decoder for one: against the registry of transformers."""

import json
import re
from pathlib import Path

import pytest
from helpers.tiny import Tiny
from transformers import BertConfig, T5Config, ViTConfig
from transformers.models.auto import modeling_auto as registry
from zoo import FAMILIES

from transferkit.decoder.probe import probe
from transferkit.errors import ConfigError
from transferkit.files.decoder_folder import BOTH_WAYS, check_is_decoder


def names(what: str) -> set[str]:
    return set(getattr(registry, f"MODEL_FOR_{what}_MAPPING_NAMES"))


def test_every_encoder_that_transformers_knows_is_one_here() -> None:
    """What fills in masked words and does not write texts, but for what has a decoder besides."""
    of_text = names("MASKED_LM") - names("CAUSAL_LM") - names("SEQ_TO_SEQ_CAUSAL_LM")
    assert not of_text - BOTH_WAYS


def test_no_model_that_only_writes_is_taken_for_an_encoder() -> None:
    writes = names("CAUSAL_LM") - names("MASKED_LM")
    assert not writes & BOTH_WAYS


@pytest.mark.parametrize("config", [BertConfig, T5Config, ViTConfig])
def test_other_models_are_refused_as_transformers_writes_their_config(config: type, tmp_path: Path) -> None:
    config().save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="expected a decoder, such as those of `transferkit backbones list`"):
        check_is_decoder(str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="expected a decoder"):
        probe(str(tmp_path / "model"))


def test_an_encoder_whose_model_lies_below_it_too(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"an encoder \(a folder of sentence-transformers\) and no decoder"):
        check_is_decoder(str(tmp_path))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "is_decoder": True, "vocab_size": 9},
        {"model_type": "gemma3", "text_config": {"vocab_size": 9}, "image_size": 8},
        {"model_type": "new"},
        ["not", "a", "mapping"],
    ],
)
def test_of_all_else_only_loading_tells(config: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_is_decoder(str(tmp_path))


def test_decoders_are_decoders(tiny: Tiny) -> None:
    for folder in (tiny.prompting, tiny.source, tiny.target):
        check_is_decoder(str(folder))
    assert not {name for name in FAMILIES if name in BOTH_WAYS}


@pytest.mark.parametrize("kind", [{}, [], ["bert"], 3, None, {"bert": 1}])
def test_a_kind_that_is_no_text_is_one_sentence(kind: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 9}), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
        probe(str(tmp_path))
