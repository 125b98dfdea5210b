"""Soft tokens that a frozen Prompting LLM wrote, kept so that each prompt is written once."""

from collections.abc import Iterable
from time import perf_counter

import torch
from torch import Tensor

from transferkit.prompting.llm import PromptingLLM


class SoftTokenMemory:
    """Soft tokens of prompts already read by a frozen Prompting LLM, k x d_p numbers each, under a memory budget.

    Beyond the budget they are computed again each time: slower, never an error. ``seconds`` is the time spent
    writing them, which convergence tables count.

    Kernels round differently for every shape, so the last bit of what is kept depends on which prompts were written
    together. ``groups`` notes that, in order; a resumed run writes them again in the same groups.
    """

    def __init__(self, *, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self.seconds = 0.0
        self.groups: list[list[str]] = []
        self._kept: dict[str, Tensor] = {}

    def restore(self, groups: Iterable[list[str]], *, seconds: float, write: PromptingLLM) -> None:
        """Remember, to the last bit, what another process had kept under the same budget, in so many seconds."""
        for group in groups:
            self.get(group, write=write)
        self.seconds = seconds

    @torch.no_grad()
    def get(self, prompts: list[str], *, write: PromptingLLM) -> Tensor:
        """(B, k, d_p) for ``prompts``, all different; those not kept are written now."""
        new = [prompt for prompt in prompts if prompt not in self._kept]
        fresh: dict[str, Tensor] = {}
        if new:
            started = perf_counter()
            written = write(new).cpu()  # waits for the device, so that the clock below tells the truth
            self.seconds += perf_counter() - started
            fresh = dict(zip(new, written.unbind(0), strict=True))
        used_before = self.used_bytes
        for prompt, soft in fresh.items():
            size = soft.numel() * soft.element_size()
            if self.used_bytes + size <= self.budget_bytes:
                self._kept[prompt] = soft.clone()  # a view would keep the whole batch alive
                self.used_bytes += size
        if self.used_bytes > used_before:
            self.groups.append(new)
        return torch.stack([fresh[p] if p in fresh else self._kept[p] for p in prompts]).to(write.device)
