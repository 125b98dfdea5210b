"""What a method really reads of a text: its tokens, with the positions that become the vector marked."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from transferkit.config.poolings import of_states
from transferkit.decoder.backbone import FrozenBackbone, Hidden
from transferkit.decoder.tokens import Rows
from transferkit.methods.baselines import PromptingAlone
from transferkit.methods.embedder import BackboneEmbedder, PromptEmbedder

POOLED = "▸"
Reader = BackboneEmbedder | PromptingAlone
_SHOWN = 12  # tokens at either end of a long row


@dataclass(frozen=True)
class Example:
    """One text as the models read it.

    Attributes:
        prompts: tokens of each prompt that the Prompting LLM read.
        tokens: tokens that the backbone read, soft ones as ``⟨soft 1⟩``.
        pooled: whether each of ``tokens`` is part of the vector.
        alone: no backbone reads anything, ``tokens`` are the Prompting LLM's own.
    """

    text: str
    instruction: str
    prompts: list[list[str]]
    tokens: list[str]
    pooled: list[bool]
    alone: bool

    def lines(self) -> list[str]:
        """The example as lines, indented below its text."""
        instruction = f"  instruction {one_line(self.instruction)!r}" if self.instruction else ""
        lines = [f"{one_line(self.text)!r}{instruction}"]
        lines += [f"  Prompting LLM reads  {_row(prompt, [False] * len(prompt))}" for prompt in self.prompts]
        label = "soft tokens it wrote " if self.alone else "backbone reads       "
        return [*lines, f"  {label}{_row(self.tokens, self.pooled)}"]


@torch.no_grad()
def example(embedder: Reader, text: str, instruction: str) -> Example:
    """Run ``embedder`` on one text and note what its models received."""
    prompts, passes = _watch(embedder, text, instruction)
    read = []
    if isinstance(embedder, PromptEmbedder | PromptingAlone):
        prompting = embedder.writer.prompting
        rows = prompting.encoder.texts(prompts, max_length=prompting.max_length)
        read = [token_names(prompting.encoder.tokenizer, prompting.encoder.bos + row) for row in rows]
    if isinstance(embedder, BackboneEmbedder):
        ids, hidden = passes[0]
        tokens = _sequence(embedder.backbone, ids, soft=int(hidden.soft.sum()))
        return Example(text, instruction, read, tokens, _pooled(hidden, embedder.pooling), alone=False)
    assert isinstance(embedder, PromptingAlone)
    tokens = soft_names(embedder.writer.prompting.tokens)
    return Example(text, instruction, read, tokens, [True] * len(tokens), alone=True)


def _watch(embedder: Reader, text: str, instruction: str) -> tuple[list[str], list[tuple[Rows, Hidden]]]:
    """What the Prompting LLM and the backbone are called with while one text is embedded."""
    prompts: list[str] = []
    passes: list[tuple[Rows, Hidden]] = []
    hooks = []
    if isinstance(embedder, PromptEmbedder | PromptingAlone):
        prompting, memory = embedder.writer.prompting, embedder.writer.memory
        hooks.append(prompting.register_forward_pre_hook(lambda _, args: prompts.extend(args[0])))
        embedder.writer.memory = None  # a prompt written before would not be written again
    if isinstance(embedder, BackboneEmbedder):
        hooks.append(embedder.backbone.register_forward_hook(lambda _, args, hidden: passes.append((args[0], hidden))))
    try:
        embedder.read([text], [instruction])
    finally:
        for hook in hooks:
            hook.remove()
        if isinstance(embedder, PromptEmbedder | PromptingAlone):
            embedder.writer.memory = memory
    return prompts, passes


def token_names(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Each token as its vocabulary writes it, on one line."""
    return [one_line(str(name)) for name in tokenizer.convert_ids_to_tokens(list(ids))]


def one_line(text: str) -> str:
    """``text`` on one line, shortened."""
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return text if len(text) <= 100 else f"{text[:97]}..."


def _sequence(backbone: FrozenBackbone, rows: Rows, *, soft: int) -> list[str]:
    tokenizer = backbone.encoder.tokenizer
    return [
        *token_names(tokenizer, rows.before[0]),
        *soft_names(soft),
        *token_names(tokenizer, rows.after[0]),
    ]


def soft_names(count: int) -> list[str]:
    """What soft tokens, which no vocabulary holds, are called."""
    return [f"⟨soft {i}⟩" for i in range(1, count + 1)]


def _pooled(hidden: Hidden, pooling: str) -> list[bool]:
    """Positions whose states make the vector. With ``max`` each of them may give some of its numbers."""
    states = of_states(pooling)
    mask: list[bool] = (hidden.soft if states == "soft" else hidden.mask)[0].tolist()
    if states is None:
        return [False] * len(mask)
    if states == "last":
        last = max(i for i, real in enumerate(mask) if real)
        return [i == last for i in range(len(mask))]
    return mask


def _row(tokens: list[str], pooled: list[bool]) -> str:
    marked = [POOLED * mark + token for token, mark in zip(tokens, pooled, strict=True)]
    if len(marked) <= 2 * _SHOWN:
        return " ".join(marked)
    hidden = pooled[_SHOWN:-_SHOWN]
    note = f"({len(hidden)} more, {sum(hidden)} of them pooled)" if any(hidden) else f"({len(hidden)} more)"
    return " ".join([*marked[:_SHOWN], f"… {note} …", *marked[-_SHOWN:]])
