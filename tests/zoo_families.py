"""The families of the test zoo as data: a tiny configuration each, and how it may be run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Expected = Literal["cached", "full", "refused"]
VOCABULARY_SIZE = 128


@dataclass(frozen=True)
class Family:
    """One decoder family, tiny.

    Attributes:
        model_type: The ``model_type`` that ``AutoConfig.for_model`` knows.
        config: Every argument of the configuration that is not its default.
        expected: ``cached``: a text cache without gradient is exact; ``full``: only the full left-padded pass
            is; ``refused``: neither is, so the family is not usable in padded batches.
        note: What makes the family worth a place.
    """

    model_type: str
    config: dict[str, Any]
    expected: Expected
    note: str


_BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_WINDOW: dict[str, Any] = {"sliding_window": 8}
_MIXED: dict[str, Any] = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS: dict[str, Any] = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
_MOE: dict[str, Any] = _EXPERTS | {"num_experts": 4}
_LOCAL_MOE: dict[str, Any] = _EXPERTS | {"num_local_experts": 4}
_ROUTED_MOE: dict[str, Any] = _EXPERTS | {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
}
_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
}
_HALF_ROTARY: dict[str, Any] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
}
_DELTA: dict[str, Any] = {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_SSM: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 24,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}


def _family(
    model_type: str, note: str, changes: Mapping[str, Any] | None = None, *, expected: Expected = "cached"
) -> Family:
    """Family with the common tiny configuration and its own changes; a change to ``...`` drops the entry."""
    config = {key: value for key, value in {**_BASE, **(changes or {})}.items() if value is not ...}
    return Family(model_type=model_type, config=config, expected=expected, note=note)


_DENSE: dict[str, Family] = {
    "llama": _family("llama", "rotary, grouped keys and values, RMS norm"),
    "mistral": _family("mistral", "window switched off", {"sliding_window": None}),
    "ministral3": _family("ministral3", "mistral with a query scale by position", {"sliding_window": None}),
    "qwen2": _family("qwen2", "biases on queries, keys and values"),
    "qwen3": _family("qwen3", "norms on queries and keys"),
    "gemma": _family("gemma", "scaled embedding, tied head"),
    "gemma2": _family(
        "gemma2", "soft caps, four norms a layer; window longer than any text", {"sliding_window": 64}
    ),
    "gemma3": _family("gemma3_text", "two rotary bases; window longer than any text", {"sliding_window": 64}),
    "vaultgemma": _family("vaultgemma", "gemma 2 without the norms after a block", {"sliding_window": 64}),
    "gpt2": _family("gpt2", "learned positions: wrong without explicit position ids"),
    "gpt_bigcode": _family("gpt_bigcode", "one head of keys and values"),
    "gptj": _family("gptj", "partial rotary, parallel block", {"rotary_dim": 4}),
    "codegen": _family("codegen", "gptj with another layout of queries, keys and values", {"rotary_dim": 4}),
    "gpt_neox": _family("gpt_neox", "partial rotary, parallel block"),
    "gpt_neox_japanese": _family("gpt_neox_japanese", "bias in the last layer only"),
    "opt": _family("opt", "positions from the mask, ReLU", {"ffn_dim": 64, "word_embed_proj_dim": 48}),
    "opt-projected": _family(
        "opt",
        "embedding narrower than the stack",
        {"ffn_dim": 64, "word_embed_proj_dim": 24, "do_layer_norm_before": False},
    ),
    "xglm": _family("xglm", "sinusoidal positions", {"ffn_dim": 64}),
    "biogpt": _family("biogpt", "learned positions from the mask"),
    "phi": _family("phi", "partial rotary, parallel block, layer norm"),
    "phi3": _family("phi3", "fused projections"),
    "falcon": _family("falcon", "one head of keys and values, parallel block", {"head_dim": ...}),
    "falcon-alibi": _family("falcon", "linear position bias", {"head_dim": ..., "alibi": True}),
    "bloom": _family("bloom", "linear position bias from the mask"),
    "mpt": _family("mpt", "linear position bias by slot"),
    "persimmon": _family("persimmon", "squared ReLU, partial rotary"),
    "stablelm": _family("stablelm", "partial rotary, layer norm", {"head_dim": ..., **_HALF_ROTARY}),
    "nemotron": _family("nemotron", "squared ReLU, shifted layer norm"),
    "olmo": _family("olmo", "layer norm without weights"),
    "olmo2": _family("olmo2", "norms after the blocks"),
    "smollm3": _family("smollm3", "some layers without rotary", {"no_rope_layers": [1, 0]}),
    "granite": _family(
        "granite",
        "multipliers on embedding and residual",
        {"embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    ),
    "cohere": _family("cohere", "parallel block, one layer norm"),
    "glm": _family("glm", "partial interleaved rotary"),
    "glm4": _family("glm4", "glm with four norms a layer"),
    "internlm3": _family("internlm3", "llama with optional biases"),
    "minicpm3": _family("minicpm3", "latent attention, scaled embedding", {**_LATENT, "head_dim": 4}),
    "seed_oss": _family("seed_oss", "biases on queries, keys and values"),
    "apertus": _family("apertus", "xIELU, norms on queries and keys"),
    "ernie4_5": _family("ernie4_5", "interleaved rotary"),
    "arcee": _family("arcee", "squared ReLU without a gate"),
    "jais2": _family("jais2", "layer norm, squared ReLU"),
    "helium": _family("helium", "interleaved rotary"),
    "diffllama": _family("diffllama", "difference of two attentions"),
    "doge": _family("doge", "dynamic mask attention"),
    "bitnet": _family("bitnet", "norms inside the blocks"),
    "nanochat": _family("nanochat", "norms without weights, no gate"),
    "hunyuan_v1_dense": _family("hunyuan_v1_dense", "norms on queries and keys after rotary"),
    "hyperclovax": _family("hyperclovax", "llama with multipliers"),
    "cwm": _family("cwm", "llama with layer types", {"sliding_window": 64}),
    "modernbert-decoder": _family(
        "modernbert-decoder", "local layers wider than any text", {"local_attention": 128}
    ),
}

FAMILIES: dict[str, Family] = _DENSE
