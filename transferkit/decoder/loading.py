"""Load weights and tokenizers from a folder, a GGUF file or the hub: no pickle, no remote code, no random weights."""

import errno
import importlib.util
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from transferkit.config.specs import Quantization
from transferkit.decoder.gguf import from_gguf
from transferkit.decoder.layers import check_complete
from transferkit.errors import ConfigError, RunError, TransferkitError, first_line
from transferkit.files.decoder_folder import check_is_decoder
from transferkit.files.locations import check_location, is_gguf

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def config_file(location: str, *, revision: str | None) -> Path:
    """Where config.json lies on this machine, in the folder or in the hub's cache; a GGUF file has none."""
    found = Path(location, "config.json")
    return found if found.is_file() else Path(str(cached_file(location, "config.json", revision=revision)))


def load_config(location: str, *, revision: str | None = None) -> PreTrainedConfig:
    """The model's config.json, or what stands for it in a GGUF file.

    Raises:
        ConfigError: not found, not reachable, or of a kind this transformers version does not know.
    """
    check_location(location)
    return _from_pretrained(AutoConfig, location, revision=revision)


def load_tokenizer(location: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    check_location(location)
    tokenizer = _from_pretrained(AutoTokenizer, location, revision=revision, padding_side="left")
    # Without its files the library makes an empty tokenizer that reads every text as nothing.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ConfigError(f"{location}: its tokenizer has no tokens; put tokenizer.json beside config.json")
    try:
        tokenizer(["a b"], add_special_tokens=False)
    except Exception as error:  # settings of another type are found only when they are used
        raise ConfigError(
            f"{location}: its tokenizer cannot read a text ({first_line(error)}); restore tokenizer_config.json and "
            "tokenizer.json from their source"
        ) from None
    return tokenizer


def load_trunk(
    location: str, *, revision: str | None, dtype: torch.dtype, quantization: Quantization, device: torch.device
) -> PreTrainedModel:
    """The decoder without its head, frozen, in eval mode.

    Composite checkpoints (text and vision) give their text decoder.

    Raises:
        ConfigError: not found, no decoder, no safetensors, weights missing or left over there, or quantisation
            impossible.
    """
    check_location(location)
    check_is_decoder(location)
    quantizer = _nf4_config(location, dtype) if quantization == "nf4" else None
    # Of some families the library finds the weights of a GGUF file only where the head is there too.
    auto_class = AutoModelForCausalLM if is_gguf(location) else AutoModel
    model = _load_weights(auto_class, location, revision, dtype, quantizer, device)
    if quantizer is not None:
        prepare_linear4bit(model, location)
    trunk: PreTrainedModel = model.get_decoder() if hasattr(model, "get_decoder") else model
    return trunk.eval().requires_grad_(False)


def load_causal_lm(
    location: str, *, revision: str | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A decoder with its language-model head.

    Raises:
        ConfigError: as :func:`load_trunk`.
    """
    check_location(location)
    return _load_weights(AutoModelForCausalLM, location, revision, dtype, None, device).eval()


def load_seq2seq_lm(
    location: str, *, revision: str | None, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """An encoder-decoder with its language-model head.

    Raises:
        ConfigError: as :func:`load_trunk`.
    """
    check_location(location)
    return _load_weights(AutoModelForSeq2SeqLM, location, revision, dtype, None, device).eval()


def input_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The module that turns ids into embeddings; its output, not its weight, is what the layers expect."""
    return cast(nn.Embedding, model.get_input_embeddings())


def num_parameters(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers ``parameters`` stand for: bitsandbytes packs two 4-bit weights, and padding, into bytes."""
    packed_shapes = [(p, getattr(p, "quant_state", None)) for p in parameters]
    return sum(p.numel() if state is None else math.prod(state.shape) for p, state in packed_shapes)


def num_quantized_layers(model: nn.Module) -> int:
    """Linear layers that hold 4-bit weights."""
    bitsandbytes = sys.modules.get("bitsandbytes")  # three seconds to import, and without it nothing is quantised
    if bitsandbytes is None:
        return 0
    return sum(isinstance(module, bitsandbytes.nn.Linear4bit) for module in model.modules())


def _load_weights(
    auto_class: Any,
    location: str,
    revision: str | None,
    dtype: torch.dtype,
    quantizer: BitsAndBytesConfig | None,
    device: torch.device,
) -> PreTrainedModel:
    if Path(location, "adapter_config.json").is_file():
        raise _with_adapter(location)
    config = None if is_gguf(location) else load_config(location, revision=revision)
    if getattr(config, "quantization_config", None) is not None:
        raise ConfigError(
            f"{location}: its weights are stored quantised, and their gradients cannot be trusted here; take the "
            "original checkpoint and --quantize nf4"
        )
    # safetensors only: a pickle can run code, and a hub commit can hold both.
    model, info = _from_pretrained(
        auto_class,
        location,
        revision=revision,
        dtype=dtype,
        quantization_config=quantizer,
        output_loading_info=True,
        use_safetensors=True,
        **({"device_map": {"": device}} if quantizer is not None and device.type != "cpu" else {}),
    )
    if getattr(model, "_hf_peft_config_loaded", False):  # from the hub
        raise _with_adapter(location)
    check_complete(model, info, location=location)
    if quantizer is not None:
        return model
    try:
        return model.to(device)
    except torch.OutOfMemoryError:
        raise _too_large(location) from None


def _with_adapter(location: str) -> ConfigError:
    return ConfigError(
        f"{location}: a PEFT adapter lies beside the weights (adapter_config.json); transformers would apply it, and "
        "no identity would tell; merge it into the weights, or load a folder without it"
    )


def _too_large(location: str) -> RunError:
    return RunError(f"{location}: does not fit into the GPU's memory; use precision: bfloat16 or --quantize nf4")


def _from_pretrained(auto_class: Any, location: str, **options: Any) -> Any:
    """``auto_class.from_pretrained`` with its many failures told in one sentence, and without its console output."""
    with quiet_transformers():
        try:
            if is_gguf(location):
                return from_gguf(auto_class, location, **options)
            return auto_class.from_pretrained(location, trust_remote_code=False, **options)
        except torch.OutOfMemoryError:
            raise _too_large(location) from None
        except TransferkitError:
            raise
        except Exception as error:  # whatever the libraries stumble over in a file that is damaged or of another kind
            raise ConfigError(f"{location}: {_reason(location, error)}") from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No load reports, progress bars or warnings of ``transformers`` inside the block; errors still raise."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()


def _files(location: str) -> list[Path]:
    """In a local folder that this user may list."""
    with suppress(OSError):
        return sorted(Path(location).iterdir())
    return []


def _reason(location: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if closed := [file.name for file in _files(location) if not os.access(file, os.R_OK)]:
        return f"its {closed[0]} may not be read by this user; change the file's mode (chmod a+r)"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; make room for the hub's files, or name another folder for them in HF_HOME"
    on_hub = not Path(location).is_dir() and isinstance(error, OSError)
    if on_hub and "gated repo" in text:
        return "a gated model; accept its licence on the hub, then `hf auth login`"
    if on_hub and "is not a valid git identifier" in text:
        return "the hub has no such revision; check the spec's revision"
    if on_hub and "safetensors" not in text:
        return (
            "neither a local folder nor reachable or cached on the hub; check the name, the network (HF_HUB_OFFLINE) "
            "and, for gated models, `hf auth login`"
        )
    if "SentencePiece" in text and isinstance(error, ImportError):
        return "its tokenizer needs sentencepiece; `pip install sentencepiece`"
    if "trust_remote_code" in text:
        return "needs code of its own from the checkpoint, which transferkit does not run"
    if "safetensors" in text and isinstance(error, OSError):
        return "holds no safetensors weights; convert the checkpoint first (pickled weights are not loaded)"
    if isinstance(error, SafetensorError):
        return f"its weights are damaged ({text}); download or copy them again"
    if "ignore_mismatched_sizes" in text:
        return "its weights have other shapes than its config.json says; restore both from one source"
    if "does not recognize this architecture" in text:
        name = re.search("model type `([^`]*)`", text)
        kind = f" {name[1]!r}" if name else ""
        return f"transformers {transformers.__version__} does not know its model type{kind}; a newer version may"
    return f"cannot be loaded ({text[:300]})"


def _nf4_config(location: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    if is_gguf(location):
        raise ConfigError(
            f"{location}: quantization nf4 would round the weights of a GGUF file a second time; use quantization: "
            "none, or the model's original folder or hub id"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(f"{location}: quantization nf4 needs bitsandbytes; `pip install bitsandbytes`")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )


def prepare_linear4bit(model: nn.Module, location: str) -> None:
    """Make the 4-bit layers of a model that was just loaded fit for gradients.

    Raises:
        ConfigError: it has none.
    """
    import bitsandbytes

    layers = [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    if not layers:
        raise ConfigError(f"{location}: quantization nf4 found no layer that it can quantise; use quantization: none")
    for layer in layers:
        # bitsandbytes 0.50 repacks weights for a CPU inference kernel at the first forward without gradients; that
        # kernel has no backward, so later gradients would be silently wrong (cosine 0.03 to the truth).
        layer.support_avx512bf16_for_cpu = False
