"""Families with local attention, its window (8) shorter than the test texts."""

from zoo.base import GEMMA4, MIXED, ROPE, VOCABULARY_SIZE, WINDOW, Family, tiny

WINDOWED: dict[str, Family] = {
    "mistral-window": tiny("mistral", "every layer local", WINDOW),
    "ministral-window": tiny("ministral", "local and global layers", MIXED),
    "ministral3-window": tiny("ministral3", "every layer local", WINDOW),
    "qwen2-window": tiny("qwen2", "local layers from a layer on", {**MIXED, "use_sliding_window": True}),
    "phi3-window": tiny("phi3", "every layer local", WINDOW),
    "starcoder2-window": tiny("starcoder2", "every layer local, layer norm", WINDOW),
    "gemma2-window": tiny("gemma2", "local and global layers", MIXED),
    "gemma3-window": tiny("gemma3_text", "local and global layers, two rotary bases", MIXED),
    "gemma3n-window": tiny(
        "gemma3n_text",
        "four streams, embeddings per layer, shared keys and values",
        {
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "sliding_window": 8,
            "vocab_size_per_layer_input": VOCABULARY_SIZE,
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 8,
            "num_kv_shared_layers": 2,
            "activation_sparsity_pattern": [0.0] * 4,
            "intermediate_size": [64] * 4,
        },
    ),
    "gemma4-window": tiny("gemma4_text", "local layers, global layers with wider heads", MIXED | GEMMA4),
    "gemma4-layer-embeddings": tiny(
        "gemma4_text", "embeddings per layer", {**MIXED, **GEMMA4, "hidden_size_per_layer_input": 8}
    ),
    "gemma4-shared-cache": tiny(
        "gemma4_text",
        "later layers reuse the keys and values of earlier ones",
        {
            **GEMMA4,
            "per_layer_config": {"01": {"head_dim": 24}, "03": {"head_dim": 24}},
            "hidden_size_per_layer_input": 8,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "sliding_window": 8,
            "num_kv_shared_layers": 2,
        },
    ),
    "vaultgemma-window": tiny("vaultgemma", "local and global layers", MIXED),
    "olmo3-window": tiny("olmo3", "local and global layers, norms after the blocks", MIXED),
    "cohere2-window": tiny("cohere2", "local layers rotary, global layers without positions", MIXED),
    "exaone4-window": tiny("exaone4", "local layers rotary, global layers without positions", MIXED),
    "cwm-window": tiny("cwm", "local and global layers", MIXED),
    "gpt_oss-window": tiny(
        "gpt_oss", "attention sinks, experts", {**MIXED, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "llama4-chunked": tiny(
        "llama4_text",
        "attention in chunks, experts",
        {
            "attention_chunk_size": 8,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
            "intermediate_size_mlp": 64,
            "num_local_experts": 4,
        },
    ),
    "modernbert-decoder-window": tiny(
        "modernbert-decoder",
        "local and global layers",
        {"local_attention": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gpt_neo-window": tiny(
        "gpt_neo",
        "local and global layers, learned positions",
        {
            "num_hidden_layers": ...,
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "intermediate_size": 64,
        },
    ),
    "granite_swa-window": tiny("granite_swa", "local and global layers, sinks", MIXED),
    "cohere_compass-window": tiny(
        "cohere_compass_text",
        "local and global layers",
        {**MIXED, "rope_parameters": dict.fromkeys(("sliding_attention", "full_attention"), ROPE)},
    ),
}
