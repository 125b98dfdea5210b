"""What the Prompting LLM reads for each text; once it is frozen, what it wrote is kept."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transferkit.config.sections import Reads
from transferkit.decoder.decoder import root_mean_square
from transferkit.decoder.tokens import CutTexts
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.memory import SoftTokenMemory


class Writer(nn.Module):
    """(texts, instructions) -> soft tokens (B, k, d_p), before the alignment.

    ``reads="text"`` writes P(instruction, text); ``"instruction"`` writes P(instruction), one prompt a task.

    With a ``gain`` what a text changes is made larger: P(no text) + gain (P(text) - P(no text)), each behind the same
    instruction. A soft token mixes the whole vocabulary, so most of it is the same for every text, and a decoder hardly
    sees the rest, which is the skill.
    """

    def __init__(self, prompting: PromptingLLM, *, reads: Reads = "text", gain: float | None = None) -> None:
        super().__init__()
        self.prompting = prompting
        self.reads: Reads = reads
        self.gain = gain
        self.memory: SoftTokenMemory | None = None
        # Of evaluations while something is trained, kept apart: training pays for its own texts and for no others.
        self.dev_memory: SoftTokenMemory | None = None
        self._instructions: dict[str, str] = {}
        self.cut_instructions = CutTexts(
            "the Prompting LLM",
            limit=prompting.max_length // 2,
            remedy="raise prompting.max_length, or say it in fewer words",
            what="instructions",
        )
        self.last_written: Tensor | None = None  # (B, k, d_p) from the texts of the last batch, for the collapse figure

    def freeze(self, *, memory_bytes: int = 1 << 30) -> None:
        """Adapt: nothing here learns any more, so each prompt's soft tokens are computed once and kept."""
        self.prompting.freeze()
        self.memory = SoftTokenMemory(budget_bytes=memory_bytes)

    def begin_training(self, groups: list[list[str]], *, seconds: float) -> None:
        """A frozen Prompting LLM takes up what was written before a run was interrupted, and keeps dev texts apart.

        Args:
            groups: see :class:`SoftTokenMemory`.
            seconds: that were spent on them.
        """
        if self.memory is None:
            return
        self.memory.restore(groups, seconds=seconds, write=self.prompting)
        self.dev_memory = SoftTokenMemory(budget_bytes=self.memory.budget_bytes)

    @property
    def seconds(self) -> float:
        """Seconds spent so far on soft tokens that are written once and kept."""
        return sum(memory.seconds for memory in (self.memory, self.dev_memory) if memory is not None)

    def forward(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Soft tokens (B, k, d_p), fp32."""
        if self.gain is not None:
            own, common = self._beside_no_text(texts, instructions)
            return common + self.gain * (own - common)
        soft = self._written(self.prompts(texts, instructions))
        self.last_written = soft.detach() if self.reads == "text" else None
        return soft

    def centred(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """What is written of each text less what is written of no text, (B, k, d_p)."""
        own, common = self._beside_no_text(texts, instructions)
        return own - common

    def _beside_no_text(self, texts: Sequence[str], instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What is written of each text, and of no text behind its instruction."""
        tasks = list(dict.fromkeys(instructions))
        prompts = self.prompts([*texts, *[""] * len(tasks)], [*instructions, *tasks])
        own, common = self._written(prompts).split([len(texts), len(tasks)])
        self.last_written = own.detach()
        return own, common[[tasks.index(task) for task in instructions]]

    @torch.no_grad()
    def measure_gain(self, contrast: float, texts: Sequence[str], instructions: Sequence[str]) -> None:
        """From now on, make what these texts change ``contrast`` times as large as what is written of no text."""
        training = self.training
        self.eval()
        parts = [slice(start, start + 64) for start in range(0, len(texts), 64)]
        both = [self._beside_no_text(texts[part], instructions[part]) for part in parts]
        own, common = (torch.cat(each) for each in zip(*both, strict=True))
        self.train(training)
        self.gain = contrast * root_mean_square(common) / max(root_mean_square(own - common), 1e-30)

    def prompts(self, texts: Sequence[str], instructions: Sequence[str]) -> list[str]:
        """What the Prompting LLM reads for each text; an instruction takes half of its room at most."""
        tasks = [self._short(instruction) for instruction in instructions]
        if self.reads == "instruction":
            return [f"{task}\n" for task in tasks]
        return [f"{task}\n{text}\n" for text, task in zip(texts, tasks, strict=True)]

    def _short(self, instruction: str) -> str:
        if instruction not in self._instructions:
            encoder, cut = self.prompting.encoder, self.cut_instructions
            before = len(cut.lengths)
            (row,) = encoder.texts([instruction], max_length=cut.limit, cut=cut)
            is_cut = len(cut.lengths) > before  # else it stays as it is: decoding may write it in another way
            self._instructions[instruction] = str(encoder.tokenizer.decode(row)) if is_cut else instruction
        return self._instructions[instruction]

    def cut_texts(self) -> list[CutTexts]:
        """What did not fit into a prompt."""
        return [self.prompting.cut_texts, self.cut_instructions]

    def rows(self, texts: Sequence[str], instructions: Sequence[str]) -> list[list[int]]:
        """Token ids of each different prompt."""
        encoder = self.prompting.encoder
        prompts = list(dict.fromkeys(self.prompts(texts, instructions)))
        return [encoder.bos + row for row in encoder.texts(prompts, max_length=self.prompting.max_length)]

    def kept_bytes(self, num_texts: int) -> int:
        """Memory for soft tokens of so many texts, fp32, at most its budget; 0 where they are written anew."""
        if self.memory is None:
            return 0
        return min(self.memory.budget_bytes, num_texts * self.prompting.tokens * self.prompting.width * 4)

    def _written(self, prompts: list[str]) -> Tensor:
        """Soft tokens of ``prompts``; equal prompts are written once."""
        unique = list(dict.fromkeys(prompts))
        memory = self.memory if self.training or self.dev_memory is None else self.dev_memory
        written = self.prompting(unique) if memory is None else memory.get(unique, write=self.prompting)
        if len(unique) == len(prompts):
            return written
        place = {prompt: i for i, prompt in enumerate(unique)}
        return written[torch.tensor([place[prompt] for prompt in prompts], device=written.device)]
