"""Families with experts, with and without latent attention."""

from zoo.base import EXPERTS, INDEX, LATENT, LOCAL_MOE, MIXED, MOE, ROUTED_MOE, WINDOW, Family, tiny

MIXTURES: dict[str, Family] = {
    "mixtral": tiny("mixtral", "experts in every layer", {"num_local_experts": 4}),
    "mixtral-window": tiny("mixtral", "experts, every layer local", {**WINDOW, "num_local_experts": 4}),
    "qwen2_moe": tiny("qwen2_moe", "experts and a shared expert", {**MOE, "shared_expert_intermediate_size": 32}),
    "qwen3_moe": tiny("qwen3_moe", "experts, norms on queries and keys", LOCAL_MOE),
    "olmoe": tiny("olmoe", "experts, norms on queries and keys", {"num_experts": 4, "num_experts_per_tok": 2}),
    "flex_olmo": tiny("flex_olmo", "experts, norms after the blocks", {"num_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": tiny("granitemoe", "experts, multipliers", {"num_local_experts": 4}),
    "granitemoeshared": tiny(
        "granitemoeshared",
        "experts and a shared expert",
        {"num_local_experts": 4, "shared_intermediate_size": 32},
    ),
    "granitemoe_swa-window": tiny(
        "granitemoe_swa", "experts, local and global layers", {**MIXED, "num_local_experts": 4}
    ),
    "phimoe": tiny("phimoe", "two experts chosen with a margin", {"num_local_experts": 4}),
    "dbrx": tiny(
        "dbrx",
        "experts, clipped projections",
        {
            **dict.fromkeys(("hidden_size", "num_attention_heads", "num_hidden_layers"), ...),
            **dict.fromkeys(("max_position_embeddings", "intermediate_size", "num_key_value_heads", "head_dim"), ...),
            "d_model": 48,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 64,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
        },
    ),
    "jetmoe": tiny("jetmoe", "experts in attention too", {"kv_channels": 12, "num_local_experts": 4}),
    "ernie4_5_moe": tiny(
        "ernie4_5_moe",
        "dense first layer, then experts",
        {"moe_intermediate_size": 32, "moe_k": 2, "moe_num_experts": 4, "moe_num_shared_experts": 1},
    ),
    "hunyuan_v1_moe": tiny("hunyuan_v1_moe", "experts", {"num_experts": 4, "moe_topk": 2}),
    "glm4_moe": tiny("glm4_moe", "dense first layer, then experts", ROUTED_MOE | {"first_k_dense_replace": 1}),
    "dots1": tiny("dots1", "dense first layer, then experts", ROUTED_MOE | {"first_k_dense_replace": 1}),
    "solar_open": tiny("solar_open", "experts in every layer", ROUTED_MOE),
    "hy_v3": tiny("hy_v3", "dense first layer, then experts", MOE),
    "minimax_m2": tiny("minimax_m2", "experts, partial rotary", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "cohere2_moe-window": tiny("cohere2_moe", "experts, local and global layers", {**MIXED, "num_experts": 4}),
    "exaone_moe-window": tiny("exaone_moe", "experts, local and global layers", {**MIXED, **MOE}),
    "afmoe-window": tiny("afmoe", "gated attention, experts, local and global layers", {**MIXED, **MOE}),
    "laguna-window": tiny(
        "laguna",
        "gated attention, experts, local and global layers",
        {**MIXED, **MOE, "shared_expert_intermediate_size": 32, "num_attention_heads_per_layer": [4, 4]},
    ),
    "mellum-window": tiny("mellum", "experts, local and global layers", {**MIXED, **LOCAL_MOE}),
    "mimo_v2_flash-window": tiny(
        "mimo_v2_flash",
        "sinks, experts, narrow values",
        {**MIXED, **EXPERTS, "n_routed_experts": 4, "v_head_dim": 8, "n_group": 1, "topk_group": 1},
    ),
    "flint-window": tiny(
        "flint",
        "experts, local and global layers",
        {**MIXED, **MOE, "shared_expert_intermediate_size": 32, "mlp_only_layers": [0]},
    ),
    "kolibri1-window": tiny(
        "kolibri1",
        "experts, local and global layers",
        {**MIXED, **LOCAL_MOE, "shared_expert_intermediate_size": 32},
    ),
    "minimax_m3": tiny(
        "minimax_m3_vl_text",
        "experts, clipped gates",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "dense_intermediate_size": 64,
            "shared_intermediate_size": 32,
            "rotary_dim": 6,
            "index_n_heads": 2,
            "index_head_dim": 8,
            "index_block_size": 8,
        },
    ),
    "zaya": tiny(
        "zaya",
        "compressed convolutional attention, experts",
        {"num_experts": 4, "moe_intermediate_size": 32, "router_hidden_size": 16, "num_key_value_heads": 2},
    ),
    "aria": tiny("aria_text", "experts, the text side of a vision model", {"moe_num_experts": 4}),
}

LATENT_ATTENTION: dict[str, Family] = {
    "deepseek_v2": tiny(
        "deepseek_v2",
        "latent attention, experts",
        {**LATENT, **ROUTED_MOE, "head_dim": 4, "first_k_dense_replace": 1},
    ),
    "deepseek_v3": tiny(
        "deepseek_v3",
        "latent attention, experts",
        {**LATENT, **ROUTED_MOE, "head_dim": 4, "first_k_dense_replace": 1},
    ),
    "glm4_moe_lite": tiny("glm4_moe_lite", "latent attention, experts", {**LATENT, **ROUTED_MOE, "head_dim": ...}),
    "youtu": tiny("youtu", "latent attention, dense", {**LATENT, "head_dim": 4}),
    "axk1": tiny("axk1", "latent attention, experts", {**LATENT, **ROUTED_MOE, "head_dim": 4}),
    "axk2": tiny(
        "axk2",
        "latent attention to the best 8 slots, gated norms",
        {**LATENT, **ROUTED_MOE, **INDEX, "head_dim": 4, "gated_norm_rank": 8},
    ),
    "longcat_flash": tiny(
        "longcat_flash",
        "two latent attentions a layer, experts that do nothing",
        {
            **LATENT,
            "num_hidden_layers": ...,
            "intermediate_size": ...,
            "num_layers": 2,
            "head_dim": 4,
            "ffn_hidden_size": 64,
            "expert_ffn_hidden_size": 32,
            "n_routed_experts": 4,
            "zero_expert_num": 2,
            "moe_topk": 2,
        },
    ),
    "deepseek_v32": tiny(
        "deepseek_v32",
        "latent attention to the best 8 slots",
        {**LATENT, **ROUTED_MOE, **INDEX, "head_dim": 4},
    ),
    "glm_moe_dsa": tiny(
        "glm_moe_dsa",
        "latent attention to the best 8 slots",
        {**LATENT, **ROUTED_MOE, **INDEX, "head_dim": 4},
    ),
}
