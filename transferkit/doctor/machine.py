"""What computes here: processor and GPUs, in which precision, and how much memory there is."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.doctor.findings import GIB, Finding, in_words

if TYPE_CHECKING:
    import torch

_SMALL = 2 * GIB
_DRIVER = Path("/proc/driver/nvidia/version")
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_MEMINFO = Path("/proc/meminfo")


def examine_devices() -> Iterator[Finding]:
    """The CPU and each GPU: what they are, what they compute in, and which precision ``auto`` takes there."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{_processor()}, {cores} cores, of which torch uses {torch.get_num_threads()}"
    yield _device(torch.device("cpu"), found)
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield _device(
            torch.device("cuda", index),
            f"{facts.name}, {in_words(facts.total_memory)}, compute capability {facts.major}.{facts.minor}",
        )
    if _DRIVER.exists() and not torch.cuda.is_available():
        why = "was built without CUDA" if torch.version.cuda is None else f"(CUDA {torch.version.cuda}) cannot use it"
        yield Finding(
            "devices",
            "cuda",
            "note",
            f"there is a driver of NVIDIA, and this torch {why}",
            "install the torch of your driver's CUDA version (https://pytorch.org), or work on the CPU",
        )


def _device(device: "torch.device", found: str) -> Finding:
    import torch

    from transferkit.decoder.device import choose_precision

    able, reason = [], ""
    for dtype in (torch.float32, torch.bfloat16):
        try:
            ones = torch.ones(8, 8, dtype=dtype, device=device)
            if bool((ones @ ones == 8).all()):
                able.append(str(dtype).removeprefix("torch."))
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
    if "float32" not in able:
        advice = "work on another with --device, or install a torch that was built for it"
        return Finding("devices", str(device), "wrong", f"{found}; does not compute ({reason or 'wrong sums'})", advice)
    chosen = choose_precision("auto", device)
    return Finding("devices", str(device), "ok", f"{found}; {' and '.join(able)}; auto is {chosen}")


def examine_memory() -> Iterator[Finding]:
    """Of the machine, or of the part of it that this process may use, and of each GPU."""
    total, free = _memory()
    if total is None:
        yield Finding("memory", "cpu", "skipped", "this system does not say how much there is")
    else:
        yield _room("cpu", total, total if free is None else free)
    import torch

    for index in range(torch.cuda.device_count()):
        free_there, total_there = torch.cuda.mem_get_info(index)
        yield _room(f"cuda:{index}", total_there, free_there)


def _room(name: str, total: int, free: int) -> Finding:
    found = f"{in_words(free)} free of {in_words(total)}"
    if free >= _SMALL:
        return Finding("memory", name, "ok", found)
    return Finding(
        "memory", name, "note", found, "end what else runs there, or take a small decoder, or --quantize nf4"
    )


def _memory() -> tuple[int | None, int | None]:
    """Bytes in all and free; a container's limit where it is lower."""
    total = free = None
    with suppress(ValueError, OSError, AttributeError):  # the last one on Windows
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, StopIteration, ValueError):
        lines = _MEMINFO.read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    with suppress(OSError, ValueError):  # "max" where there is none
        limit = int(_CGROUP.read_text())
        used = int(_CGROUP.with_name("memory.current").read_text())
        total, free = min(limit, total or limit), min(limit - used, limit if free is None else free)
    return total, free


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
