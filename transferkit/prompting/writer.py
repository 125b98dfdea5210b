"""What the Prompting LLM reads for each text, and, once it is frozen, the memory of what it wrote."""

from collections.abc import Sequence
from time import perf_counter

import torch
from torch import Tensor, nn

from transferkit.config.sections import Reads
from transferkit.prompting.llm import PromptingLLM


class Writer(nn.Module):
    """(texts, instructions) -> soft tokens (B, k, d_p), before the alignment.

    ``reads="text"`` writes P(instruction, text); ``"instruction"`` writes P(instruction), one prompt a task.
    """

    def __init__(self, prompting: PromptingLLM, *, reads: Reads = "text") -> None:
        super().__init__()
        self.prompting = prompting
        self.reads: Reads = reads
        self.memory: SoftTokenMemory | None = None
        # Of evaluations while something is trained, kept apart: training pays for its own texts and for no others.
        self.dev_memory: SoftTokenMemory | None = None
        self.last_from_text: Tensor | None = None  # (B, k, d_p) of the last batch, for the collapse figure

    def freeze(self, *, memory_bytes: int = 1 << 30) -> None:
        """Adapt: nothing here learns any more, so each prompt's soft tokens are computed once and kept."""
        self.requires_grad_(False)
        self.memory = SoftTokenMemory(budget_bytes=memory_bytes)

    @property
    def seconds(self) -> float:
        """Seconds spent so far on soft tokens that are written once and kept."""
        return sum(memory.seconds for memory in (self.memory, self.dev_memory) if memory is not None)

    def forward(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Soft tokens (B, k, d_p), fp32."""
        if self.reads == "instruction":
            return self._written([f"{instruction}\n" for instruction in instructions])
        soft = self._written([f"{task}\n{text}\n" for text, task in zip(texts, instructions, strict=True)])
        self.last_from_text = soft.detach()
        return soft

    def _written(self, prompts: list[str]) -> Tensor:
        """Soft tokens of ``prompts``; equal prompts are written once."""
        unique = list(dict.fromkeys(prompts))
        memory = self.memory if self.training or self.dev_memory is None else self.dev_memory
        written = self.prompting(unique) if memory is None else memory.get(unique, write=self.prompting)
        if len(unique) == len(prompts):
            return written
        place = {prompt: i for i, prompt in enumerate(unique)}
        return written[torch.tensor([place[prompt] for prompt in prompts], device=written.device)]


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

    def restore(self, groups: list[list[str]], *, write: PromptingLLM) -> None:
        """Remember, to the last bit, what another process had kept under the same budget."""
        for group in groups:
            self.get(group, write=write)

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
