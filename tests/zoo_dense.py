"""Families whose layers all attend to everything before them, and single curiosities."""

from zoo_base import HALF_ROTARY, LATENT, Family, tiny

DENSE: dict[str, Family] = {
    "llama": tiny("llama", "rotary, grouped keys and values, RMS norm"),
    "mistral": tiny("mistral", "window switched off", {"sliding_window": None}),
    "ministral3": tiny("ministral3", "mistral with a query scale by position", {"sliding_window": None}),
    "qwen2": tiny("qwen2", "biases on queries, keys and values"),
    "qwen3": tiny("qwen3", "norms on queries and keys"),
    "gemma": tiny("gemma", "scaled embedding, tied head"),
    "gemma2": tiny(
        "gemma2", "soft caps, four norms a layer; window longer than any text", {"sliding_window": 64}
    ),
    "gemma3": tiny("gemma3_text", "two rotary bases; window longer than any text", {"sliding_window": 64}),
    "vaultgemma": tiny("vaultgemma", "gemma 2 without the norms after a block", {"sliding_window": 64}),
    "gpt2": tiny("gpt2", "learned positions: wrong without explicit position ids"),
    "gpt_bigcode": tiny("gpt_bigcode", "one head of keys and values"),
    "gptj": tiny("gptj", "partial rotary, parallel block", {"rotary_dim": 4}),
    "codegen": tiny("codegen", "gptj with another layout of queries, keys and values", {"rotary_dim": 4}),
    "gpt_neox": tiny("gpt_neox", "partial rotary, parallel block"),
    "gpt_neox_japanese": tiny("gpt_neox_japanese", "bias in the last layer only"),
    "opt": tiny("opt", "positions from the mask, ReLU", {"ffn_dim": 64, "word_embed_proj_dim": 48}),
    "opt-projected": tiny(
        "opt",
        "embedding narrower than the stack",
        {"ffn_dim": 64, "word_embed_proj_dim": 24, "do_layer_norm_before": False},
    ),
    "xglm": tiny("xglm", "sinusoidal positions", {"ffn_dim": 64}),
    "biogpt": tiny("biogpt", "learned positions from the mask"),
    "phi": tiny("phi", "partial rotary, parallel block, layer norm"),
    "phi3": tiny("phi3", "fused projections"),
    "falcon": tiny("falcon", "one head of keys and values, parallel block", {"head_dim": ...}),
    "falcon-alibi": tiny("falcon", "linear position bias", {"head_dim": ..., "alibi": True}),
    "bloom": tiny("bloom", "linear position bias from the mask"),
    "mpt": tiny("mpt", "linear position bias by slot"),
    "persimmon": tiny("persimmon", "squared ReLU, partial rotary"),
    "stablelm": tiny("stablelm", "partial rotary, layer norm", {"head_dim": ..., **HALF_ROTARY}),
    "nemotron": tiny("nemotron", "squared ReLU, shifted layer norm"),
    "olmo": tiny("olmo", "layer norm without weights"),
    "olmo2": tiny("olmo2", "norms after the blocks"),
    "smollm3": tiny("smollm3", "some layers without rotary", {"no_rope_layers": [1, 0]}),
    "granite": tiny(
        "granite",
        "multipliers on embedding and residual",
        {"embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    ),
    "cohere": tiny("cohere", "parallel block, one layer norm"),
    "glm": tiny("glm", "partial interleaved rotary"),
    "glm4": tiny("glm4", "glm with four norms a layer"),
    "internlm3": tiny("internlm3", "llama with optional biases"),
    "minicpm3": tiny("minicpm3", "latent attention, scaled embedding", {**LATENT, "head_dim": 4}),
    "seed_oss": tiny("seed_oss", "biases on queries, keys and values"),
    "apertus": tiny("apertus", "xIELU, norms on queries and keys"),
    "ernie4_5": tiny("ernie4_5", "interleaved rotary"),
    "arcee": tiny("arcee", "squared ReLU without a gate"),
    "jais2": tiny("jais2", "layer norm, squared ReLU"),
    "helium": tiny("helium", "interleaved rotary"),
    "diffllama": tiny("diffllama", "difference of two attentions"),
    "doge": tiny("doge", "dynamic mask attention"),
    "bitnet": tiny("bitnet", "norms inside the blocks"),
    "nanochat": tiny("nanochat", "norms without weights, no gate"),
    "hunyuan_v1_dense": tiny("hunyuan_v1_dense", "norms on queries and keys after rotary"),
    "hyperclovax": tiny("hyperclovax", "llama with multipliers"),
    "cwm": tiny("cwm", "llama with layer types", {"sliding_window": 64}),
    "modernbert-decoder": tiny(
        "modernbert-decoder", "local layers wider than any text", {"local_attention": 128}
    ),
}

OTHER: dict[str, Family] = {
    "hrm_text": tiny(
        "hrm_text", "two stacks that run in a loop", {"prefix_lm": False, "embedding_scale": 4.0}
    ),
    "openai-gpt": tiny("openai-gpt", "no cache at all", expected="full"),
    "ctrl": tiny("ctrl", "writes into its input", {"dff": 64}),
}
