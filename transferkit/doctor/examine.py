"""All examinations, one after the other. One that cannot be made is a finding itself."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from transferkit.doctor.findings import Finding
from transferkit.doctor.kernels import examine_kernels
from transferkit.doctor.machine import examine_devices, examine_memory
from transferkit.doctor.network import examine_network
from transferkit.doctor.places import examine_caches, examine_disk


def examine(*, runs: Path = Path("runs"), offline: bool = False) -> Iterator[Finding]:
    """Look at packages, devices, 4-bit kernels, memory, disk, caches and network, in this order.

    Nothing is changed, but that a measured precision is kept for later runs.

    Args:
        runs: the folder in which runs are to be made; it need not exist.
        offline: ask nothing of the network.
    """
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": _packages,
        "devices": examine_devices,
        "4-bit": examine_kernels,
        "memory": examine_memory,
        "disk": partial(examine_disk, runs),
        "caches": examine_caches,
        "network": partial(examine_network, offline=offline),
    }
    for area, look in looks.items():
        try:
            yield from look()
        except Exception as error:  # whatever is broken here, the rest is looked at
            reason = " ".join(str(error).split())[:300]
            yield Finding(
                area,
                "all",
                "wrong",
                f"cannot be looked at ({type(error).__name__}: {reason})",
                "install what is missing; where nothing is, install transferkit in a new environment",
            )


def _packages() -> Iterator[Finding]:
    from transferkit.doctor.packages import examine_packages  # needs a package itself

    return examine_packages()
