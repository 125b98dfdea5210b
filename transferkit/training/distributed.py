"""Gather vectors over processes with their gradients; nothing happens where there is one process."""

from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class _AllGather(torch.autograd.Function):
    """Concatenate the processes' rows; backward sums the gradients that every process has for mine."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()  # autograd may hand over a view of a buffer that others read
        dist.all_reduce(gradient)
        rows = len(gradient) // dist.get_world_size()
        start = dist.get_rank() * rows
        return gradient[start : start + rows]


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def is_main() -> bool:
    """Whether this process writes files and prints; the others only compute."""
    return world()[0] == 0


def from_main(value: T | None) -> T:
    """The main process's ``value``, in every process."""
    box = [value]
    if world()[1] > 1:
        dist.broadcast_object_list(box)
    return cast(T, box[0])


def any_process(flag: bool, *, device: torch.device) -> bool:
    """Whether ``flag`` is set in any process, so that all of them stop at the same step."""
    return bool(total(flag, device=device))


def total(value: float, *, device: torch.device) -> float:
    """Sum of ``value`` over processes."""
    if world()[1] == 1:
        return value
    summed = torch.tensor(float(value), device=device)
    dist.all_reduce(summed)
    return float(summed)


def gather(x: Tensor) -> Tensor:
    """(n, ...) of every process -> (world * n, ...), in rank order; gradients flow back to their owners."""
    return _AllGather.apply(x) if world()[1] > 1 else x


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Mean of the gradients over processes; a process without a gradient counts as zero, if another one has one."""
    size = world()[1]
    if size == 1 or not parameters:
        return
    found = torch.tensor([parameter.grad is not None for parameter in parameters], device=parameters[0].device).int()
    dist.all_reduce(found)
    for parameter, processes in zip(parameters, found.tolist(), strict=True):
        if not processes:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= size
