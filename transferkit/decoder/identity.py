"""What makes a backbone this backbone: hashes of config, tokenizer and weights, and the embedding scale."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils import cached_file

from transferkit.decoder.device import keep, recalled
from transferkit.decoder.gguf import architecture_facts
from transferkit.decoder.loading import config_file
from transferkit.errors import ConfigError
from transferkit.files.json import read_json
from transferkit.files.locations import is_gguf
from transferkit.files.manifest import sha256_file

_KEPT = "weights.json"
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
    all_weights_sha256: str | None = None  # checkpoints of earlier versions know the sampled ones alone

    def differences(self, other: "Identity") -> list[str]:
        """Names of the facts in which ``other`` differs; the scale may differ by one part in a thousand."""
        mine, theirs = asdict(self), asdict(other)
        names = [key for key in ("config_sha256", "tokenizer_sha256", "weights_sha256") if mine[key] != theirs[key]]
        both = (self.all_weights_sha256, other.all_weights_sha256)
        if "weights_sha256" not in names and None not in both and both[0] != both[1]:
            names.append("weights_sha256")
        if abs(self.embedding_scale - other.embedding_scale) > 1e-3 * abs(self.embedding_scale):
            names.append("embedding_scale")
        return [name.removesuffix("_sha256") for name in names]


def identify(
    location: str, *, revision: str | None, tokenizer: PreTrainedTokenizerBase, embedding_scale: float
) -> Identity:
    """Identity of the decoder at ``location``, whose tokenizer and embedding scale are known."""
    return Identity(
        config_sha256=config_sha256(location, revision=revision),
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        weights_sha256=weights_sha256(location, revision=revision),
        embedding_scale=embedding_scale,
        all_weights_sha256=all_weights_sha256(location, revision=revision),
    )


def config_sha256(location: str, *, revision: str | None) -> str:
    """Hash of what config.json, or the metadata of a GGUF file, says about the architecture.

    The file, not the object: a newer library fills in defaults that an older one did not know.
    """
    if is_gguf(location):
        return _sha256_json(architecture_facts(location))
    config = read_json(config_file(location, revision=revision))
    return _sha256_json({key: value for key, value in config.items() if key not in _VOLATILE})


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of vocabulary, of which tokens are special and, for fast tokenizers, of the whole pipeline."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    pipeline = json.loads(backend.to_str()) if backend is not None else {}
    pipeline.pop("truncation", None)  # state of the last call, not of the tokenizer
    pipeline.pop("padding", None)
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id]
    return _sha256_json([sorted(tokenizer.get_vocab().items()), special, pipeline])


def weights_sha256(location: str, *, revision: str | None) -> str:
    """Hash of sampled numbers of every weight in the checkpoint's files: up to 16 rows of 512 a weight.

    Read from the files, so that it is the same whatever dtype or quantisation the model is loaded in, however the
    weights are spread over files, and so that a fine-tune that leaves the embeddings alone (merged LoRA) is told
    from its base. Numbers are compared in bfloat16. A GGUF file is one file: its sha256.

    Raises:
        ConfigError: no safetensors weights at ``location``.
    """
    if is_gguf(location):
        return sha256_file(Path(location))
    digest = hashlib.sha256()
    with ExitStack() as stack:
        homes = _opened(stack, weight_files(location, revision=revision))
        for name in sorted(homes):
            rows = homes[name].get_slice(name)
            shape = rows.get_shape()
            digest.update(f"{name}{shape}".encode())
            for sampled in _sample(rows, shape):
                digest.update(sampled.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def all_weights_sha256(location: str, *, revision: str | None) -> str:
    """Hash of every number of every weight, compared in bfloat16 as in :func:`weights_sha256`.

    It is kept beside the user's other measurements by the files' place, size and times, so all are read once. Among
    these is the time of the last change, which no program sets: `cp -p`, `rsync -t` and `touch` do the other.

    Raises:
        ConfigError: no safetensors weights at ``location``, or NaN in them.
    """
    files = [Path(location)] if is_gguf(location) else weight_files(location, revision=revision)
    stats = [(file.resolve(), file.stat()) for file in files]
    key = " ".join(f"{file}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}" for file, stat in stats)
    known = recalled(_KEPT).get(key)
    if known is None:
        known = sha256_file(files[0]) if is_gguf(location) else _hash_all(files)
        keep(_KEPT, key, known)
    return str(known)


def _hash_all(files: list[Path]) -> str:
    digest = hashlib.sha256()
    with ExitStack() as stack:
        homes = _opened(stack, files)
        for name in sorted(homes):
            tensor = homes[name].get_tensor(name)
            digest.update(f"{name}{list(tensor.shape)}".encode())
            if tensor.is_floating_point():
                if tensor.isnan().any():
                    raise ConfigError(
                        f"{files[0].parent}: weight {name} holds NaN, so every vector would; restore the model's files "
                        "from their source"
                    )
                tensor = tensor.to(torch.bfloat16).view(torch.int16)
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _opened(stack: ExitStack, files: list[Path]) -> dict[str, Any]:
    """Name of a weight -> the open file that holds it."""
    opened = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
    return {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - not a dict


def weight_files(location: str, *, revision: str | None) -> list[Path]:
    """Local paths of the safetensors files that ``transformers`` would load: one file, or those of the index.

    Raises:
        ConfigError: there are none.
    """
    single = _find(location, "model.safetensors", revision)
    if single is not None:
        return [single]
    index = _find(location, "model.safetensors.index.json", revision)
    if index is None:
        raise ConfigError(f"{location}: holds no safetensors weights; convert the checkpoint first")
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        files = [index.with_name(name) for name in names]
    except (KeyError, AttributeError, TypeError, ValueError):  # with_name takes no path
        raise ConfigError(
            f"{index}: expected a weight_map of names of files beside it; restore the model's files from one source"
        ) from None
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ConfigError(f"{location}: lacks {missing[0]}, which {index.name} names; copy it there")
    return files


def _find(location: str, name: str, revision: str | None) -> Path | None:
    if Path(location).is_dir():
        return Path(location, name) if Path(location, name).is_file() else None
    found = cached_file(location, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def _sample(rows: Any, shape: list[int]) -> Iterator[Tensor]:
    """Up to 16 evenly spread rows of a matrix, each cut to 512 numbers; of a vector its first 512."""
    if len(shape) < 2:
        yield rows[: min(512, shape[0])] if shape else torch.zeros(0)
        return
    for i in sorted({round(i * (shape[0] - 1) / 15) for i in range(16)}):
        yield rows[i : i + 1].flatten()[:512]


def _sha256_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
