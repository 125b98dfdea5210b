"""The methods that transfer is measured against, behind the same contract."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferkit.config.poolings import STATIC, Pooling, parts_of
from transferkit.config.sections import LoraSection, Reads
from transferkit.decoder.backbone import FrozenBackbone
from transferkit.decoder.loading import input_embeddings
from transferkit.decoder.pooling import side_by_side
from transferkit.decoder.readout import Readout
from transferkit.errors import ConfigError
from transferkit.methods.embedder import BackboneEmbedder, Embedder, Group
from transferkit.prompting.adapters import add_lora
from transferkit.prompting.writer import Writer


class FrozenEmbedder(BackboneEmbedder):
    """The backbone as it is, read through a template: the floor."""

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """Nothing."""
        return {}

    @torch.no_grad()
    def embed(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Pooled vectors (B, d), without gradient."""
        return super().embed(texts, instructions)


class LoraEmbedder(BackboneEmbedder):
    """`peft` LoRA on every linear layer of the backbone; QLoRA where the backbone is loaded in 4 bits."""

    def __init__(self, backbone: FrozenBackbone, *, pooling: Pooling, lora: LoraSection, seed: int) -> None:
        super().__init__(backbone, pooling=pooling)
        self.lora = lora
        # The adapters are put into the trunk itself; the wrapper is kept to name, save and load them.
        self.peft = add_lora(backbone.trunk, lora, seed=seed)
        self._adapter_names = {name for name, p in self.peft.named_parameters() if p.requires_grad}
        self._dropouts = [module for name, module in backbone.trunk.named_modules() if name.endswith("lora_dropout")]

    def adapter(self) -> dict[str, nn.Parameter]:
        """Adapter weights, learning or frozen, named as the trunk's wrapper names them."""
        return {name: p for name, p in self.peft.named_parameters() if name in self._adapter_names}

    def load_adapter(self, tensors: dict[str, Tensor]) -> None:
        """Take adapter weights, named as the trunk's wrapper names them.

        Raises:
            ConfigError: names or shapes that are not this decoder's.
        """
        mine = self.adapter()
        if {n: p.shape for n, p in mine.items()} != {n: t.shape for n, t in tensors.items()}:
            raise ConfigError("the adapter in this checkpoint has other layers than the backbone")
        for name, parameter in mine.items():
            parameter.data.copy_(tensors[name])

    def without_adapters(self) -> AbstractContextManager[None]:
        """The decoder as it was before, inside the block."""
        wrapper: Any = self.peft
        return wrapper.disable_adapter()

    def train(self, mode: bool = True) -> "LoraEmbedder":
        """Only the adapters' own dropout follows the mode; the decoder stays in eval mode."""
        super().train(False)
        for dropout in self._dropouts:
            dropout.train(mode)
        return self

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """The adapters."""
        return {"model": [p for p in self.backbone.trunk.parameters() if p.requires_grad]}


class PromptTuningEmbedder(BackboneEmbedder):
    """k free vectors (k, d_e) in the place of the written soft tokens: the cheap rival (Lester et al., 2021)."""

    def __init__(self, backbone: FrozenBackbone, *, pooling: Pooling, tokens: int, seed: int) -> None:
        super().__init__(backbone, pooling=pooling)
        if not backbone.template.has_soft:
            raise ConfigError(f"template {backbone.template.source!r} has no {{soft}}, prompt tuning needs one")
        # Sampled token embeddings: started at random, prompt tuning is several times worse.
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, backbone.encoder.vocabulary_rows, (tokens,), generator=generator)
        self.prompt = nn.Parameter(backbone.token_table(ids.tolist()).float())

    def soft_prompt(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """The same k vectors for every text, (B, k, d_e)."""
        return self.prompt.unsqueeze(0).expand(len(texts), -1, -1)

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """The k vectors."""
        return {"model": [self.prompt]}


def check_reads_text(reads: Reads, *, where: str) -> None:
    """Refuse a Prompting LLM whose soft tokens are the same for every text as an embedding.

    Raises:
        ConfigError: opens with ``where``.
    """
    if reads == "instruction":
        raise ConfigError(
            f"{where}: this Prompting LLM reads the instruction alone, so its tokens are the same for every text; the "
            "row has no meaning"
        )


Join = Literal["mean", "side by side", "mean+static", "side by side+static"]


@dataclass
class Written:
    """What a Prompting LLM gives of a batch: ``soft`` (B, k, d_p) tokens; ``static`` gives mean token embeddings."""

    soft: Tensor
    static: Callable[[], Tensor]

    def pool(self, how: str) -> Tensor:
        """One vector a row: see :class:`PromptingAlone`."""
        made = {"mean": lambda: self.soft.mean(1), "side by side": lambda: self.soft.flatten(1), STATIC: self.static}
        return side_by_side([made[part]() for part in parts_of(how)])


class PromptingAlone(Embedder):
    """The soft tokens themselves as the embedding, without any backbone.

    A transfer that does not beat this row is worthless: its user would drop the backbone.

    Args:
        writer: the Prompting LLM.
        join: ``mean`` of the k soft tokens (d_p), or all of them ``side by side`` (k d_p); ``+static`` puts the mean
            of the Prompting LLM's own token embeddings beside them.
    """

    def __init__(self, writer: Writer, *, join: Join) -> None:
        super().__init__()
        check_reads_text(writer.reads, where="prompting-llm-alone")
        self.writer = writer
        self.join: Join = join
        self.readout = Readout("none", self.pooled_width(join))

    def pooled_width(self, join: str) -> int:
        """Length of the vectors that a join gives."""
        prompting = self.writer.prompting
        static = input_embeddings(prompting.model).weight.shape[1]
        widths = {"mean": prompting.width, "side by side": prompting.width * prompting.tokens, STATIC: static}
        return sum(widths[part] for part in parts_of(join))

    @torch.no_grad()
    def read(self, texts: Sequence[str], instructions: Sequence[str]) -> Written:
        """Soft tokens and token embeddings, without gradient."""
        static = partial(self.writer.prompting.mean_token_embeddings, texts)
        return Written(self.writer(texts, instructions).float(), static)

    def embed(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Joined vectors (B, :meth:`pooled_width`), without gradient."""
        return self.read(texts, instructions).pool(self.join)

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """Nothing."""
        return {}
