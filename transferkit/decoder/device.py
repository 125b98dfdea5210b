"""Which device computes."""

import torch

from transferkit.errors import ConfigError


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
