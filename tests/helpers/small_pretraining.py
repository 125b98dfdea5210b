"""A pretraining of seconds: the words of its texts and its recipe."""

from pathlib import Path
from typing import Any

from transferkit.config.schema import read_yaml

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "benchmarks" / "pretrain").glob("*.yaml"))
WORDS = ["the", "a", "red", "blue", "cat", "dog", "sees", "likes", "and", "then", "house", "tree", "under"]


def recipe_mapping(**train: Any) -> dict[str, Any]:
    """A two-layer, 16-wide recipe; ``train`` overrides its training keys."""
    mapping = read_yaml(RECIPES[0])
    mapping["model"] = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    }
    mapping["text"] |= {"weights": {"one": 3, "two": 1}, "heldout": "three", "vocab_size": 300}
    mapping["text"] |= {
        "sample_bytes": 5000,
        "context": 16,
        "heldout_bytes": 500,
        "bos": "<s>",
        "eos": "</s>",
    }
    mapping["text"]["pad"] = "</s>"
    mapping["train"] |= {
        "steps": 12,
        "batch_size": 4,
        "warmup_steps": 2,
        "cooldown_steps": 4,
        "compile": False,
    }
    mapping["train"] |= {"log_every": 2, "heldout_every": 4, "checkpoint_every": 5, **train}
    return mapping
