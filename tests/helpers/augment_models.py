"""Tiny encoder-decoders for back-translation, random like the decoders of the zoo."""

from pathlib import Path
from typing import Any

import torch
from transformers import MarianConfig, MarianMTModel, PreTrainedModel, T5Config, T5ForConditionalGeneration
from zoo import MATRIX_SCALE, tokenizer
from zoo.base import VOCABULARY_SIZE

_SPECIAL = {"pad_token_id": 2, "eos_token_id": 1, "decoder_start_token_id": 2}


def save_t5(folder: Path, *, seed: int = 0) -> Path:
    """A T5: relative positions, no limit on them."""
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    return _save(T5ForConditionalGeneration, T5Config(vocab_size=VOCABULARY_SIZE, **sizes, **_SPECIAL), folder, seed)


def save_marian(folder: Path, *, seed: int = 0) -> Path:
    """A Marian with what its checkpoints put into generation_config.json: beams, no padding, a forced end."""
    sizes = {"d_model": 32, "max_position_embeddings": 64, "scale_embedding": True}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 48}
    folder = _save(MarianMTModel, MarianConfig(vocab_size=VOCABULARY_SIZE, **sizes, **_SPECIAL), folder, seed)
    own = {"num_beams": 4, "bad_words_ids": [[2]], "forced_eos_token_id": 1, "max_length": 512, **_SPECIAL}
    from transformers import GenerationConfig

    GenerationConfig(**own).save_pretrained(folder)
    return folder


def _save(kind: type[PreTrainedModel], config: Any, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(MATRIX_SCALE)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
