"""Tiny decoders as GGUF files, written as llama.cpp's converter does, beside folders of the very same numbers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import (
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFValueType,
    GGUFWriter,
    dequantize,
    get_tensor_name_map,
    quantize,
)
from transformers import GemmaTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from zoo import FAMILIES, Family, build, tokenizer

ARCHITECTURES = ("llama", "qwen2", "gemma3", "qwen3", "phi3")  # families of the zoo that GGUF calls so too
# Rows of 32 numbers at least, as a block has; and what a GGUF file cannot say is as transformers fills it in.
_WIDTHS: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
_OWN: dict[str, dict[str, Any]] = {
    "gemma3": {"sliding_window": 8, "query_pre_attn_scalar": 256, "num_hidden_layers": 6},
    "qwen3": {"head_dim": 128},
}
_CONTROL, _NORMAL = 3, 1


def gguf_family(name: str) -> Family:
    """A family of the zoo in widths that blocks fit."""
    family = FAMILIES[name]
    return replace(family, config=family.config | _WIDTHS | _OWN.get(name, {}))


def write_pair(name: str, folder: Path, *, kind: str = "F32", **facts: Any) -> tuple[Path, Path]:
    """A GGUF file whose matrices are of ``kind``, and an ordinary folder of what these mean in fp32.

    Args:
        name: a family in :data:`ARCHITECTURES`.
        folder: where ``NAME.KIND.gguf`` and ``NAME-KIND/`` are made.
        kind: as ggml calls it, such as ``F16`` or ``Q8_0``.
        facts: as for :func:`write_gguf`.
    """
    model = build(gguf_family(name))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.from_numpy(_meant(parameter.numpy(), GGMLQuantizationType[kind])))
    plain = folder / f"{name}-{kind}"
    model.save_pretrained(plain)
    family_tokenizer(name).save_pretrained(plain)
    return write_gguf(model, name, folder / f"{name}.{kind}.gguf", kind=kind, **facts), plain


def write_gguf(
    model: PreTrainedModel,
    name: str,
    file: Path,
    *,
    kind: str = "F32",
    add_bos: bool | None = True,
    keep: Callable[[str], bool] = lambda tensor: True,
    more: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """The model as a GGUF file.

    Args:
        model: of the family ``name``.
        name: a family in :data:`ARCHITECTURES`.
        file: to write.
        kind: of the matrices; vectors are F32.
        add_bos: the flag of the tokenizer; None: the file has none.
        keep: which tensors are written, by their name in GGUF.
        more: further metadata.
        tensors: further ones, in fp32.
    """
    config = model.config
    writer = GGUFWriter(None, name)
    writer.add_type("model")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if name == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if name == "gemma3":
        writer.add_key_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    else:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer, name, add_bos)
    for key, value in (more or {}).items():
        writer.add_key_value(key, value, GGUFValueType.get_type(value))
    names = get_tensor_name_map(next(a for a, n in MODEL_ARCH_NAMES.items() if n == name), 99)
    tied = config.tie_word_embeddings
    for full, tensor in model.state_dict().items():
        if tied and full == "lm_head.weight":
            continue
        stem, _, ending = full.rpartition(".")
        called = f"{names.get_name(stem)}.{ending}"
        if keep(called):
            _add_tensor(writer, called, _as_llama_cpp(full, tensor, name, config), kind)
    for called, values in (tensors or {}).items():
        writer.add_tensor(called, values)
    return _written(writer, file)


def write_other(file: Path, architecture: str, **facts: Any) -> Path:
    """A sound GGUF file of one tensor that holds something else: an encoder, a projector, a part of a decoder."""
    writer = GGUFWriter(None, architecture)
    for key, value in facts.items():
        writer.add_key_value(key.replace("__", "."), value, GGUFValueType.get_type(value))
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    return _written(writer, file)


def _meant(values: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """What is left of ``values`` (rows, columns) in fp32 after they were packed."""
    return np.asarray(dequantize(quantize(values, kind), kind), dtype=np.float32).reshape(values.shape).copy()


def _add_tensor(writer: GGUFWriter, called: str, values: np.ndarray, kind: str) -> None:
    packed = GGMLQuantizationType[kind] if values.ndim > 1 else GGMLQuantizationType.F32
    writer.add_tensor(called, quantize(values, packed), raw_dtype=packed)


def _as_llama_cpp(full: str, tensor: torch.Tensor, name: str, config: Any) -> np.ndarray:
    """Values as its converter stores them: Llama's rotary halves interleaved, Gemma's norms around one."""
    values = tensor.numpy()
    if name == "llama" and (
        heads := {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(full.split(".")[-2])
    ):
        halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        values = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
    if name == "gemma3" and full.endswith("norm.weight"):
        values = values + 1
    return np.ascontiguousarray(values, dtype=np.float32)


def family_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The zoo's; of Gemma, whose library class has a style of its own, the same words in that style."""
    if name != "gemma3":
        return tokenizer()
    style = str.maketrans({"Ġ": "▁", "Ċ": "\n"})
    tokens, pairs = _tokens(tokenizer())
    renamed = {"<s>": "<bos>", "</s>": "<eos>"}
    vocabulary = [renamed.get(token, token.translate(style)) for token in tokens] + ["<unk>"]
    merges = [(left.translate(style), right.translate(style)) for left, right in pairs]
    return GemmaTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges, add_bos_token=True)


def _tokens(core: PreTrainedTokenizerBase) -> tuple[list[str], list[tuple[str, str]]]:
    """By their ids, and the merges."""
    backend = json.loads(core.backend_tokenizer.to_str())["model"]
    return sorted(backend["vocab"], key=backend["vocab"].__getitem__), [tuple(pair) for pair in backend["merges"]]


def _add_tokenizer(writer: GGUFWriter, name: str, add_bos: bool | None) -> None:
    core = family_tokenizer(name)
    tokens, pairs = _tokens(core)
    special = set(core.all_special_tokens)
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL if token in special else _NORMAL for token in tokens])
    if name == "gemma3":  # its merges follow from the order of its pieces
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(i) for i in range(len(tokens))])
        writer.add_unk_token_id(core.unk_token_id)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        writer.add_token_merges([" ".join(pair) for pair in pairs])
    writer.add_bos_token_id(core.bos_token_id)
    writer.add_eos_token_id(core.eos_token_id)
    writer.add_pad_token_id(core.pad_token_id)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)


def _written(writer: GGUFWriter, file: Path) -> Path:
    writer.write_header_to_file(path=file)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
