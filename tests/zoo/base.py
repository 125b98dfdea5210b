"""What the families of the test zoo share: the dataclass and the pieces of tiny configurations."""

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


BASE: dict[str, Any] = {
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
WINDOW: dict[str, Any] = {"sliding_window": 8}
MIXED: dict[str, Any] = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS: dict[str, Any] = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
MOE: dict[str, Any] = EXPERTS | {"num_experts": 4}
LOCAL_MOE: dict[str, Any] = EXPERTS | {"num_local_experts": 4}
ROUTED_MOE: dict[str, Any] = EXPERTS | {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
}
ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
HALF_ROTARY: dict[str, Any] = {"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}}
# Fewer index heads than this give scores of exactly zero, and padding then decides who wins the tie.
INDEX: dict[str, Any] = {
    "index_topk": 8,
    "index_head_dim": 8,
    "index_n_heads": 16,
    "mlp_layer_types": ["dense", "sparse"],
}
GEMMA4: dict[str, Any] = {
    "vocab_size_per_layer_input": VOCABULARY_SIZE,
    "hidden_size_per_layer_input": 0,
    "per_layer_config": {"01": {"head_dim": 24}},
}
DELTA: dict[str, Any] = {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
SSM: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 24,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}


def tiny(
    model_type: str, note: str, changes: Mapping[str, Any] | None = None, *, expected: Expected = "cached"
) -> Family:
    """Family with the common tiny configuration and its own changes; a change to ``...`` drops the entry."""
    config = {key: value for key, value in {**BASE, **(changes or {})}.items() if value is not ...}
    return Family(model_type=model_type, config=config, expected=expected, note=note)
