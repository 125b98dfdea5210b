"""The optimizer, and the learning rate of each step."""

from collections.abc import Callable

import torch
from torch import nn

from transferkit.config.sections import OptimSection
from transferkit.methods.base import Group


def make_optimizer(
    groups: dict[Group, list[nn.Parameter]], optim: OptimSection, unit: Callable[[nn.Parameter], float] = lambda _: 1.0
) -> torch.optim.Optimizer:
    """AdamW with one learning rate a group, in each parameter's own ``unit``."""
    rates = {"model": optim.lr, "alignment": optim.lr_alignment, "offset": optim.lr_offset}
    found: dict[float, list[nn.Parameter]] = {}
    for name, parameters in groups.items():
        for parameter in parameters:
            found.setdefault(rates[name] * unit(parameter), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "peak_lr": rate} for rate, parameters in found.items()],
        weight_decay=optim.weight_decay,
    )


def set_learning_rates(optimizer: torch.optim.Optimizer, optim: OptimSection, step: int) -> None:
    """Linear warm-up over ``warmup_steps``, constant, linear cool-down over the last ``cooldown_steps``."""
    rising = (step + 1) / max(1, optim.warmup_steps)
    falling = (optim.steps - step) / (optim.cooldown_steps + 1)
    factor = min(1.0, rising, falling)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
