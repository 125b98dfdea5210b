"""A whole project in a temporary folder: three tiny decoders, small data files, recipes that run in seconds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zoo import FAMILIES, WORDS, save, tokenizer

from transferkit.config.recipe import Recipe
from transferkit.config.schema import dump_yaml, parse

INTENTS = ("water", "cat", "car", "dog")
PROMPTING, SOURCE, TARGET = "qwen3", "llama", "gpt_neox"  # families of the three decoders


@dataclass(frozen=True)
class Tiny:
    """Where everything lies."""

    root: Path

    @property
    def prompting(self) -> Path:
        return self.root / "prompting"

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def target(self) -> Path:
        return self.root / "target"

    @property
    def encoder(self) -> Path:
        """A folder of sentence-transformers, built when it is first asked for: the library takes seconds to import."""
        folder = self.root / "tiny-encoder"
        return folder if folder.is_dir() else ready_made(folder)

    @property
    def data(self) -> Path:
        return self.root / "data"

    def mapping(self, task: str, **changes: Any) -> dict[str, Any]:
        """A recipe as a mapping; ``changes`` replace whole top-level keys or, as mappings, single keys of a section."""
        base: dict[str, Any] = {
            "task": task,
            "seed": 3,
            "precision": "float32",  # figures of tests are exact, on every machine
            "embedding": {"backbone": str(self.target), "max_length": 24},
            "readout": {"kind": "whiten", "sample": 20},
            "data": {
                "train": [
                    {"name": "intents", "kind": "labelled", "path": "intents.csv", "instruction": "find the cat"},
                    {"name": "pairs", "kind": "pairs", "path": "pairs.jsonl", "instruction": "see"},
                ],
                "dev": [
                    {"name": "intents", "kind": "knn", "path": "intents_dev.csv", "train_path": "intents.csv"},
                    {"name": "sts", "kind": "sts", "path": "sts.tsv", "select": False},
                ],
            },
            "optim": {"steps": 4, "batch_size": 8},
            "eval": {"every": 2, "batch_size": 16},
            "save_every": 2,
        }
        if task == "train":
            base["prompting"] = {"backbone": str(self.prompting), "tokens": 3}
            base["embedding"]["backbone"] = str(self.source)
        for key, value in changes.items():
            base[key] = base.get(key, {}) | value if isinstance(value, dict) else value
        return base

    def recipe(self, task: str, **changes: Any) -> Recipe:
        """The same, validated."""
        return parse(Recipe, self.mapping(task, **changes), where="tiny recipe")

    def write(self, folder: Path, task: str, **changes: Any) -> Path:
        """The same as a file."""
        file = folder / f"{task}.yaml"
        file.write_text(dump_yaml(self.mapping(task, **changes)))
        return file


def ready_made(folder: Path) -> Path:
    """A tiny encoder in a folder of sentence-transformers: one layer of BERT, the mean of its states."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel

    own, parts = tokenizer(WORDS), folder.with_name(f"{folder.name}-parts")
    ends = [(token, own.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    own.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    torch.manual_seed(5)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(own), intermediate_size=32, **sizes)).save_pretrained(parts)
    own.save_pretrained(parts)
    body = Transformer(str(parts), max_seq_length=32)
    SentenceTransformer(modules=[body, Pooling(32)], device="cpu").save(str(folder))
    return folder


def make(root: Path) -> Tiny:
    """Write the decoders (different widths and vocabularies) and the data below ``root``."""
    tiny = Tiny(root)
    for family, folder, words in (
        (PROMPTING, tiny.prompting, WORDS),
        (SOURCE, tiny.source, WORDS[: len(WORDS) - 6]),
        (TARGET, tiny.target, WORDS[6:]),
    ):
        save(FAMILIES[family], folder, vocabulary=words)
    tiny.data.mkdir()
    rng = np.random.default_rng(0)

    def sentence(topic: str) -> str:
        words = [str(word) for word in rng.choice(WORDS, size=int(rng.integers(3, 9)))]
        return " ".join([*words, topic])

    for name, rows in (("intents.csv", 40), ("intents_dev.csv", 32)):
        lines = [f"{sentence(topic)},{topic}" for _ in range(rows // 4) for topic in INTENTS]
        (tiny.data / name).write_text("text,label\n" + "\n".join(lines) + "\n")
    pairs = [{"anchor": sentence(topic), "positive": sentence(topic)} for _ in range(8) for topic in INTENTS]
    (tiny.data / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    scored = [f"{sentence('cat')}\t{sentence('dog')}\t{rng.uniform(0, 5):.2f}" for _ in range(12)]
    (tiny.data / "sts.tsv").write_text("sentence1\tsentence2\tscore\n" + "\n".join(scored) + "\n")
    return tiny
