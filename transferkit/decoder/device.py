"""Which device computes, and in which precision: what bfloat16 is worth on a machine is measured on it, once."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers import PreTrainedModel

from transferkit.config.resolve import ChosenPrecision
from transferkit.config.sections import Precision
from transferkit.errors import ConfigError
from transferkit.files.json import read_json, write_json

FASTER = 1.5  # times float32's speed that bfloat16 must have to be worth its rounding
CACHE = "TRANSFERKIT_CACHE"  # environment variable: folder of what was measured
_FILE = "precision.json"
_TOKENS, _WIDTH, _ROUNDS, _SECONDS = 256, 576, 6, 0.3
_SHORT = 128 * 128  # queries times keys: at 256 times 256 fused attention is as fast


def usable_device(device: str | None) -> str:
    """``device``, or CUDA where there is one, else the CPU.

    Raises:
        ConfigError: ``device`` is not to be had here.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--device {device}: not to be had here ({reason}); expected for example cpu, cuda or cuda:1, or leave "
            "the option away"
        ) from None
    return device


# Which precision


def choose_precision(asked: Precision, device: torch.device) -> ChosenPrecision:
    """What was asked for, or what ``auto`` comes to on ``device``: bfloat16 where it is :data:`FASTER`.

    A GPU is asked whether it has bfloat16 arithmetic; anything else is measured, and the figure kept for later runs.
    """
    if asked != "auto":
        return ChosenPrecision(asked)
    if device.type == "cuda":
        return ChosenPrecision("bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32")
    speed = bfloat16_speed(device)
    return ChosenPrecision("bfloat16" if speed >= FASTER else "float32", speed)


def bfloat16_speed(device: torch.device) -> float:
    """Of bfloat16 in times float32's, from the cache or measured now: less than a second, once a machine.

    A cache that cannot be read or written is no error: it is measured again.
    """
    key = _machine(device)
    known = _speeds().get(key)
    if known is None:
        known = round(measure_bfloat16(device), 2)
        remember(device, known)
    return known


def remember(device: torch.device, speed: float) -> None:
    """Keep a figure for later runs on this machine."""
    keep(_FILE, _machine(device), speed)


def _speeds() -> dict[str, float]:
    return {name: speed for name, speed in recalled(_FILE).items() if isinstance(speed, float)}


def keep(name: str, key: str, value: Any) -> None:
    """Note something in a file of the cache, where that can be written."""
    with suppress(OSError, ConfigError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_json(cache_folder() / name, recalled(name) | {key: value})


def recalled(name: str) -> dict[str, Any]:
    """All that was noted in a file of the cache; nothing where it cannot be read."""
    with suppress(ConfigError):
        return read_json(cache_folder() / name)
    return {}


def cache_folder() -> Path:
    """Where measurements, and the decoder that the demo brought, are kept: ``TRANSFERKIT_CACHE``, else the user's.

    The latter is ``transferkit`` in the user's folder for caches.

    Raises:
        ConfigError: nothing names it, and the user has no home, as in some containers.
    """
    if given := os.environ.get(CACHE):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "transferkit"
    except RuntimeError:
        raise ConfigError(f"this user has no home, and so no folder for caches; name one with {CACHE}") from None


def _machine(device: torch.device) -> str:
    """All that the figure depends on: processor, threads, device, version."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError):  # virtual machines call different processors by one name, so what they can do counts too
        facts = dict(line.split("\t: ", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if "\t: " in line)
        able = [flag for flag in facts.get("flags", "").split() if "bf16" in flag or "avx512f" in flag]
        processor = " ".join([facts.get("model name", processor), *able])
    return f"{processor}, {torch.get_num_threads()} threads, {device.type}, torch {torch.__version__}"


def measure_bfloat16(device: torch.device) -> float:
    """How many times as fast as in float32 a decoder layer's products run in bfloat16, forward and backward.

    The median of paired rounds, of which the first one warms up. 0 where the device has no bfloat16.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = (_TOKENS, _WIDTH), (_WIDTH, 3 * _WIDTH), (3 * _WIDTH, _WIDTH)
    tensors = [(torch.randn(shape, generator=generator) / shape[1] ** 0.5).to(device) for shape in shapes]
    started, ratios = perf_counter(), list[float]()
    while len(ratios) < 2 or (len(ratios) < _ROUNDS and perf_counter() - started < _SECONDS):
        try:
            slow, fast = (_seconds([t.to(dtype) for t in tensors]) for dtype in (torch.float32, torch.bfloat16))
        except (RuntimeError, TypeError):
            return 0.0
        ratios.append(slow / fast)
    return median(ratios[1:])


def _seconds(tensors: list[Tensor]) -> float:
    x, up, down = (t.requires_grad_() for t in tensors)
    started = perf_counter()
    gradients = torch.autograd.grad((silu(x @ up) @ down).sum(), (x, up, down))
    float(gradients[0].sum())  # waits for the device
    return perf_counter() - started


# How a pass runs in it


@contextmanager
def short_attention(model: PreTrainedModel, *, queries: int, keys: int) -> Iterator[None]:
    """Inside the block ``model`` attends as fast as it can in bfloat16 from so many positions to so many.

    For models of which it was measured that this is exact: some decoders' scores are too large to be rounded, as plain
    products round them.

    torch 2.13 on a CPU: over short texts the backward pass of fused attention takes two to five times as long in
    bfloat16 as that of plain products, and longer than its own in float32. Over long ones it wins, and keeps no matrix.
    """
    config = model.config.get_text_config()
    usual = config._attn_implementation
    try:
        if has_short_attention(model) and is_short(queries, keys):
            config._attn_implementation = "eager"
        yield
    finally:
        config._attn_implementation = usual


def is_short(queries: int, keys: int) -> bool:
    """Whether so many positions that look at so many attend as :func:`short_attention` has it."""
    return queries * keys <= _SHORT


def has_short_attention(model: PreTrainedModel) -> bool:
    """Whether :func:`short_attention` changes how ``model`` attends."""
    usual: str = model.config.get_text_config()._attn_implementation
    return usual == "sdpa" and next(model.parameters()).device.type == "cpu"
