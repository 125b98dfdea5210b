"""Texts -> vectors: what every method has in common, and the PromptEmbedder itself.

A method gives ``embed(texts, instructions)`` and ``trainable()``; the training loop knows nothing else of it.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.config.poolings import STATIC, Pooling, available_poolings, of_states, parts_of, reads_soft
from transferkit.decoder.backbone import FrozenBackbone, Hidden
from transferkit.decoder.pooling import side_by_side
from transferkit.decoder.readout import Readout
from transferkit.decoder.text_states import TextStateMemory
from transferkit.errors import ConfigError
from transferkit.prompting.alignment import Alignment
from transferkit.prompting.writer import Writer

Group = Literal["model", "alignment", "offset"]  # parameter groups, each with its own learning rate


class Embedder(nn.Module):
    """Base of all methods: pooled vectors for training, finished vectors for users.

    Attributes:
        readout: fitted after training; ``encode`` applies it, the loss never sees it.
        instructions: training set -> task instruction that a loaded checkpoint was trained with, of the anchors.
        document_instructions: the same of what the anchors belong to.
        tokens_read: backbone tokens processed since :meth:`take_tokens`, for the convergence table.
        dev_states: while it is trained, what its backbone has read of the dev texts.
    """

    readout: Readout
    tokens_read: int = 0
    dev_states: TextStateMemory | None = None
    instructions: dict[str, str] = {}  # noqa: RUF012 - replaced, never filled
    document_instructions: dict[str, str] = {}  # noqa: RUF012 - likewise

    def embed(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Pooled vectors (B, d), fp32, of any norm, with gradient where something is trainable."""
        raise NotImplementedError

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """What learns, by learning-rate group."""
        raise NotImplementedError

    def begin_step(self, step: int) -> None:
        """Called before each training step, for a method whose steps differ."""

    @property
    def usual_instruction(self) -> str:
        """The one that it was trained with, where it was one alone; else none."""
        known = set(self.instructions.values())
        return known.pop() if len(known) == 1 else ""

    @property
    def writing_seconds(self) -> float:
        """Seconds spent so far on soft tokens that are written once and kept."""
        return 0.0

    def take_tokens(self) -> int:
        """Backbone tokens processed since the last call."""
        taken, self.tokens_read = self.tokens_read, 0
        return taken

    def encode(
        self,
        texts: Sequence[str],
        *,
        instruction: str | Sequence[str] | None = None,
        batch_size: int = 64,
        readout: bool = True,
    ) -> np.ndarray:
        """Finished vectors of ``texts`` in their order: pooled, read out, unit norm.

        Args:
            texts: any length; rows are sorted by length inside, which changes no vector.
            instruction: the task's, for all texts or one for each. None: the one that the checkpoint was trained with,
                where it was one alone; else none.
            batch_size: texts a forward pass.
            readout: False leaves the readout away (unit norm of the pooled vector).

        Returns:
            (n, d) float32.

        Raises:
            ConfigError: a single string instead of a list, something that is not text, or instructions that are
                not one a text.
        """
        if isinstance(texts, str):
            raise ConfigError("encode: expected a list of texts, got one text; write encode([text])")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise ConfigError(f"encode: text {i}: expected text, got {text!r}")
        if instruction is None:
            instruction = self.usual_instruction
        instructions = [instruction] * len(texts) if isinstance(instruction, str) else list(instruction)
        if len(instructions) != len(texts):
            got = f"{len(instructions)} instructions for {len(texts)} texts"
            raise ConfigError(f"encode: got {got}; pass one for all, or one for each")
        vectors = self.pooled(texts, instructions, batch_size=batch_size)
        finish = self.readout if readout else Readout("none", 0)
        return finish(vectors.to(self.device)).cpu().numpy()

    @torch.no_grad()
    def pooled(self, texts: Sequence[str], instructions: Sequence[str], *, batch_size: int) -> Tensor:
        """Pooled vectors (n, d) on the CPU, without gradient, in the order of ``texts``."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        result: Tensor | None = None
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            vectors = self.embed([texts[i] for i in chosen], [instructions[i] for i in chosen]).cpu()
            if result is None:
                result = torch.empty(len(texts), vectors.shape[1])
            result[chosen] = vectors
        return torch.zeros(0, len(self.readout.mean)) if result is None else result

    @property
    def device(self) -> torch.device:
        """Where vectors are computed and read out."""
        return self.readout.mean.device


class BackboneEmbedder(Embedder):
    """A method that embeds through a backbone: soft tokens of its own, or none."""

    def __init__(self, backbone: FrozenBackbone, *, pooling: Pooling, readout: Readout | None = None) -> None:
        super().__init__()
        if reads_soft(pooling) and not backbone.template.soft_sees_text:
            raise ConfigError(
                f"pooling {pooling!r} needs soft tokens after the text, the template is {backbone.template.source!r}; "
                f"use {', '.join(available_poolings(backbone.template.source))}"
            )
        self.backbone = backbone
        self.pooling: Pooling = pooling
        self.readout = (readout or Readout("none", self.pooled_width(pooling))).to(backbone.device)

    def pooled_width(self, pooling: str) -> int:
        """Length of the vectors that a pooling gives."""
        states, static = self.backbone.output_width, self.backbone.embedding_width
        return sum(static if part == STATIC else states for part in parts_of(pooling))

    @property
    def path(self) -> Literal["cached", "full"]:
        """How the backbone reads: text in a cache below the soft tokens, or whole rows at once."""
        soft = self.backbone.template.soft_sees_text
        return "cached" if soft and self.backbone.exactness.cached else "full"

    def soft_prompt(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor | None:
        """Soft tokens (B, k, d_e) in the backbone's embedding space; None for a method without."""
        return None

    def embed(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Pooled vectors (B, d) of the template filled with each text."""
        if of_states(self.pooling) is None:
            return self.backbone.mean_token_embeddings(self.backbone.rows(texts, instructions))
        return self.read(texts, instructions).pool(self.pooling)

    def read(self, texts: Sequence[str], instructions: Sequence[str]) -> Hidden:
        """Last hidden states of the template filled with each text."""
        rows = self.backbone.rows(texts, instructions)
        soft = self.soft_prompt(texts, instructions)
        self.tokens_read += rows.num_tokens() + (0 if soft is None else soft.shape[0] * soft.shape[1])
        hidden: Hidden = self.backbone(rows, soft, memory=None if self.training else self.dev_states)
        return hidden


class SeveralPoolings(Embedder):
    """A method that reads each text once and pools it in several ways; :meth:`part` gives the vectors of one of them.

    Args:
        method: has ``read``, whose result has ``pool``, and ``pooled_width``.
        poolings: that ``pool`` knows.
    """

    def __init__(self, method: Any, *, poolings: Sequence[str]) -> None:
        super().__init__()
        self.method = method
        # What several poolings put side by side with others is made and kept once.
        self.widths = {part: method.pooled_width(part) for pooling in poolings for part in parts_of(pooling)}
        self.readout = Readout("none", sum(self.widths.values())).to(method.device)

    @torch.no_grad()
    def embed(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """What the poolings are made of, (B, sum of widths), without gradient and without a readout."""
        if list(self.widths) == [STATIC]:
            alone: Tensor = self.method.embed(texts, instructions)  # no pass
            return alone
        read = self.method.read(texts, instructions)
        return torch.cat([read.pool(part) for part in self.widths], 1)

    @property
    def writing_seconds(self) -> float:
        """Of the method."""
        seconds: float = self.method.writing_seconds
        return seconds

    def part(self, vectors: Tensor, pooling: str) -> Tensor:
        """The vectors of one pooling, from what :meth:`embed` gave."""
        parts = dict(zip(self.widths, vectors.split(list(self.widths.values()), dim=1), strict=True))
        return side_by_side([parts[part] for part in parts_of(pooling)])

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """Nothing."""
        return {}


class PromptEmbedder(BackboneEmbedder):
    """Prompting LLM -> alignment -> frozen backbone -> pooling -> readout (PromptEmbedder, section 3).

    Args:
        writer: the Prompting LLM and what it reads; writes soft tokens (B, k, d_p).
        alignment: carries them into the backbone's space.
        backbone: frozen decoder whose template holds ``{soft}``.
        pooling: how its last hidden states become one vector.
        readout: closed-form map, fitted at the end of training.
    """

    def __init__(
        self,
        writer: Writer,
        alignment: Alignment,
        backbone: FrozenBackbone,
        *,
        pooling: Pooling = "soft",
        readout: Readout | None = None,
    ) -> None:
        if not backbone.template.has_soft:
            raise ConfigError(
                f"template {backbone.template.source!r} has no {{soft}}, so the soft tokens have no place"
            )
        super().__init__(backbone, pooling=pooling, readout=readout)
        self.writer = writer
        self.alignment = alignment

    def soft_prompt(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Written soft tokens, carried into the backbone's space: (B, k, d_e)."""
        soft = self.writer(texts, instructions)
        return self.alignment(soft.to(self.alignment.weight.device))

    @property
    def writing_seconds(self) -> float:
        """Of a frozen Prompting LLM; one that learns writes anew at each step."""
        return self.writer.seconds

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """Whatever of the Prompting LLM is not frozen, W and, where there are any, the offsets."""
        groups: dict[Group, list[nn.Parameter]] = {
            "model": [p for p in self.writer.parameters() if p.requires_grad],
            "alignment": [self.alignment.weight],
            "offset": [] if self.alignment.offset is None else [self.alignment.offset],
        }
        return {name: parameters for name, parameters in groups.items() if parameters}
