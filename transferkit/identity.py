"""What makes a backbone this backbone: hashes of config, tokenizer and sampled weights, and the embedding scale."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file

from transferkit.errors import ConfigError

_VOLATILE = {  # keys of config.json that change between library versions and ways of loading, not between models
    "_name_or_path",
    "architectures",
    "dtype",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "_attn_implementation",
}


@dataclass(frozen=True)
class Identity:
    """Facts that a checkpoint was trained against and that its backbone must still have."""

    config_sha256: str
    tokenizer_sha256: str
    weights_sha256: str
    embedding_scale: float

    def differences(self, other: "Identity") -> list[str]:
        """Names of the facts in which ``other`` differs; the scale may differ by one part in a thousand."""
        mine, theirs = asdict(self), asdict(other)
        names = [key for key in ("config_sha256", "tokenizer_sha256", "weights_sha256") if mine[key] != theirs[key]]
        if abs(self.embedding_scale - other.embedding_scale) > 1e-3 * abs(self.embedding_scale):
            names.append("embedding_scale")
        return [name.removesuffix("_sha256") for name in names]


def config_sha256(config: PreTrainedConfig) -> str:
    """Hash of what config.json says about the architecture."""
    facts = {key: value for key, value in config.to_dict().items() if key not in _VOLATILE}
    return _sha256_json(facts)


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of vocabulary, special tokens and, for fast tokenizers, the whole pipeline."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    pipeline = json.loads(backend.to_str()) if backend is not None else {}
    pipeline.pop("truncation", None)  # state of the last call, not of the tokenizer
    pipeline.pop("padding", None)
    return _sha256_json([sorted(tokenizer.get_vocab().items()), pipeline])


def weights_sha256(location: str, *, revision: str | None) -> str:
    """Hash of sampled rows of every weight in the checkpoint's files.

    Read from the files, so that it is the same whatever dtype or quantisation the model is loaded in, and so that a
    fine-tune that leaves the embeddings alone (merged LoRA) is told from its base. Rows are compared in bfloat16.

    Raises:
        ConfigError: no safetensors weights at ``location``.
    """
    digest = hashlib.sha256()
    for file in weight_files(location, revision=revision):
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                rows = tensors.get_slice(name)
                shape = rows.get_shape()
                digest.update(f"{name}{shape}".encode())
                for i in sorted({0, shape[0] // 2, shape[0] - 1}) if shape else ():
                    row = rows[i : i + 1].flatten()[:512]
                    digest.update(row.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def weight_files(location: str, *, revision: str | None) -> list[Path]:
    """Local paths of the checkpoint's safetensors files, sorted.

    Raises:
        ConfigError: there are none.
    """
    folder = Path(location)
    if folder.is_dir():
        files = sorted(folder.glob("*.safetensors"))
    else:
        index = cached_file(
            location, "model.safetensors.index.json", revision=revision, _raise_exceptions_for_missing_entries=False
        )
        if index is None:
            single = cached_file(
                location, "model.safetensors", revision=revision, _raise_exceptions_for_missing_entries=False
            )
            files = [] if single is None else [Path(single)]
        else:
            names = sorted(set(json.loads(Path(index).read_text())["weight_map"].values()))
            files = [Path(index).with_name(name) for name in names]
    if not files:
        raise ConfigError(f"{location}: holds no safetensors weights; convert the checkpoint first")
    return files


def _sha256_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
