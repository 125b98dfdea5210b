"""GGUF files, the form in which llama.cpp and its relatives keep decoders: checked here, read by transformers.

Every block of packed weights becomes plain numbers, so what comes out are the ordinary modules of the family, as from
a folder. That is convenience and saves no memory.
"""

import copy
import importlib.util
import io
import mmap
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import lru_cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from transferkit.errors import ConfigError
from transferkit.files.locations import check_location, is_gguf
from transferkit.files.writable import writing

_ROOM = "make room there, or name another folder for temporary files in TMPDIR"
_NAME = "model.gguf"
_FREQUENCIES = "rope_freqs.weight"  # a tensor; among the facts whether it is there
_VERSIONS = (2, 3)  # transformers reads no other
_NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # kind of value -> its form in `struct`
_TEXT, _LIST = 8, 9
# Of metadata that are counted with, or stand in sentences.
_KINDS = {
    "general.type": (str, "text"),
    "general.alignment": (int, "whole number"),
    "split.count": (int, "whole number"),
}
_FORMS = {form: struct.Struct(f"<{form}") for form in _NUMBERS.values()}


def from_gguf(auto_class: Any, location: str, **options: Any) -> Any:
    """What ``auto_class.from_pretrained`` gives of the file: config, tokenizer, or model with its loading info.

    Args:
        auto_class: of transformers.
        location: the file.
        options: of a model, its ``dtype``; those that concern folders alone are passed over.

    Raises:
        ConfigError: the file is damaged, holds no decoder that transformers takes from GGUF, or gguf is missing.
    """
    facts = check_gguf(location)
    stamp = _stamp(location)
    try:
        # Both are read from metadata that take seconds to parse, and by each object that needs them.
        if auto_class is AutoConfig:
            return copy.deepcopy(_config(*stamp))
        if auto_class is AutoTokenizer:
            return _tokenizer(*stamp)
        packed = getattr(transformers, "GgufConfig", None)  # older versions unpack always
        with _alone(location) as folder:
            loaded = auto_class.from_pretrained(
                folder,
                gguf_file=_NAME,
                config=copy.deepcopy(_config(*stamp)),
                dtype=options["dtype"],
                output_loading_info=True,
                **({} if packed is None else {"quantization_config": packed(dequantize=True)}),
            )
        loaded[0].config.name_or_path = location
        return loaded
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if "ignore_mismatched_sizes" in reason:
            reason = "its weights have other shapes than its metadata say"
        raise ConfigError(
            f"{location}: transformers {transformers.__version__} cannot read this file of "
            f"{facts['general.architecture']} ({reason}); take another GGUF file of the model, its folder or its hub id"
        ) from None


def unpacked(location: str) -> list[str]:
    """What is said of a decoder: of one from a GGUF file what became of it there, of any other nothing."""
    if not is_gguf(location):
        return []
    facts, rope = check_gguf(location), getattr(_config(*_stamp(location)), "rope_parameters", None) or {}
    kinds = {one.get("rope_type", "default") for one in (rope, *rope.values()) if isinstance(one, dict)}
    named = facts.get(f"{facts['general.architecture']}.rope.scaling.type", "none") != "none"
    said = "unpacked from GGUF, which saves no memory"
    if (named or facts[_FREQUENCIES]) and kinds <= {"default"}:
        # Llama 3.1 and later, larger Gemma 3: as if their positions had never been stretched.
        said += ", without the scaling of its positions, which transformers does not read"
    return [said]


def architectures() -> list[str]:
    """The decoders that this version of transformers takes from GGUF, by its own lists."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known = {_bare(name) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    # The list is of sections too, and of encoder-decoders.
    found = {name for name in GGUF_SUPPORTED_ARCHITECTURES if _bare(name) in known}
    try:
        from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
    except ImportError:  # older versions have one list
        return sorted(found)
    return sorted(found | set(GGUF_CONFIG_ARCHS))


def architecture_facts(location: str) -> dict[str, Any]:
    """What the file itself says of the architecture: the same in every version of every library."""
    facts = check_gguf(location)
    name = facts["general.architecture"]
    return {key: value for key, value in facts.items() if key == "general.architecture" or key.startswith(f"{name}.")}


def check_gguf(location: str) -> dict[str, Any]:
    """The file's metadata (of lists of texts only their lengths), once it is known to be a whole decoder.

    Raises:
        ConfigError: see :func:`from_gguf`.
    """
    check_location(location)
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(f"{location}: a GGUF file needs the package gguf; `pip install 'transferkit[gguf]'`")
    return _checked(*_stamp(location))


def _stamp(location: str) -> tuple[str, int, int, int]:
    """Tells a file from another one of its name, so that what was read of it may be kept."""
    stat = Path(location).stat()
    return location, stat.st_ino, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4)
def _checked(location: str, *stamp: int) -> dict[str, Any]:
    with Path(location).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            facts, needed = _header(content)
        except (struct.error, ValueError, TypeError, KeyError, ArithmeticError, MemoryError) as error:
            why = "it ends there" if isinstance(error, struct.error) else error
            raise ConfigError(
                f"{location}: damaged or cut short before its weights ({why}); copy or download it again"
            ) from None
        size = len(content)
    kind, architecture = facts.get("general.type", "model"), facts["general.architecture"]
    if kind != "model" or _bare(architecture) not in map(_bare, architectures()):
        what = architecture if kind == "model" else f"a part of the kind {kind!r} ({architecture})"
        raise ConfigError(
            f"{location}: holds {what}, and transformers {transformers.__version__} takes from GGUF only whole "
            f"decoders of {', '.join(architectures())}; take the model's folder or hub id"
        )
    if facts.get("split.count", 1) > 1:
        raise ConfigError(
            f"{location}: one of {facts['split.count']} parts; join them first (`llama-gguf-split --merge`)"
        )
    if size < needed:
        raise ConfigError(f"{location}: cut short, {size:,} of {needed:,} bytes are there; copy or download it again")
    return facts


class _Cursor:
    """Reads values one after the other from behind the four letters that open the file."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.at = 4

    def number(self, form: str) -> Any:
        (value,) = _FORMS[form].unpack_from(self.content, self.at)
        self.at += _FORMS[form].size
        return value

    def text(self) -> str:
        length = self.number("Q")
        start, self.at = self.at, self.at + length
        if self.at > len(self.content):
            raise ValueError("a text ends behind the file")
        return self.content[start : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            return self.number(_NUMBERS[kind])
        inner, count = self.number("I"), self.number("Q")
        if inner != _TEXT:
            return [self.number(_NUMBERS[inner]) for _ in range(count)]
        for _ in range(count):  # a vocabulary: nothing here asks for its texts
            length = self.number("Q")
            self.at += length
        return count


def _header(content: mmap.mmap) -> tuple[dict[str, Any], int]:
    """Metadata, and how many bytes the file must have. The package's own reader takes ten seconds for it."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    read = _Cursor(content)
    version, tensors, entries = read.number("I"), read.number("Q"), read.number("Q")
    if version not in _VERSIONS:
        raise ValueError(f"its version is {version}, expected 2 or 3")
    facts: dict[str, Any] = {}
    for _ in range(entries):
        key = read.text()
        facts[key] = read.value(read.number("I"))
    if not isinstance(facts.get("general.architecture"), str):
        raise ValueError("it names no architecture")
    for key, (kind, what) in _KINDS.items():
        if not isinstance(facts.get(key, kind()), kind):
            raise ValueError(f"its {key} is no {what}")
    end = 0
    facts[_FREQUENCIES] = False
    for _ in range(tensors):
        facts[_FREQUENCIES] |= read.text() == _FREQUENCIES
        shape = [read.number("Q") for _ in range(read.number("I"))]
        packing = read.number("I")
        if packing not in set(GGMLQuantizationType):
            raise ValueError(f"a tensor is packed in a way, number {packing}, that the installed gguf does not know")
        block, size = GGML_QUANT_SIZES[packing]
        end = max(end, read.number("Q") + prod(shape) // block * size)
    step = facts.get("general.alignment", 32)
    return facts, -(-read.at // step) * step + end


@lru_cache(maxsize=4)
def _config(location: str, *stamp: int) -> PreTrainedConfig:
    with _alone(location) as folder:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, gguf_file=_NAME)
    config.name_or_path = location
    return config


@lru_cache(maxsize=4)
def _tokenizer(location: str, *stamp: int) -> PreTrainedTokenizerBase:
    with _alone(location) as folder:
        made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, gguf_file=_NAME)
        # llama.cpp writes a BOS into every file. Where the file says that none is put in front, the model was trained
        # without: it has none, also once the tokenizer was saved, which drops the flag.
        if check_gguf(location).get("tokenizer.ggml.add_bos_token") is False:
            made.bos_token = None
        # From a folder the family's own class puts parts in their place that no file tells of, such as Qwen's Unicode
        # normalisation. A checkpoint's Prompting LLM comes back from one, so it must start as it will come back.
        with writing(f"{folder}: cannot be written", way_out=_ROOM):
            _config(location, *stamp).save_pretrained(folder)
            made.save_pretrained(folder)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.name_or_path = location
    return tokenizer


@contextmanager
def _alone(location: str) -> Iterator[str]:
    """A folder with the file in it and nothing else: a tokenizer.json or an adapter beside it would come first.

    Inside, nothing is written to standard error: a progress bar of the library's heeds no setting.
    """
    with writing("no folder for temporary files", way_out=_ROOM):
        temporary = TemporaryDirectory(prefix="transferkit-", ignore_cleanup_errors=True)
    with temporary as folder:
        here = Path(folder, _NAME)
        try:
            here.symlink_to(Path(location).resolve())
        except OSError:  # a file system without links
            with writing(f"{here}: cannot be written", way_out=_ROOM):
                shutil.copyfile(location, here)
        with redirect_stderr(io.StringIO()):
            yield folder


def _bare(architecture: str) -> str:
    """The library writes ``qwen2_moe`` where files have ``qwen2moe``."""
    return architecture.replace("_", "").replace("-", "")
