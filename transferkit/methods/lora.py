"""LoRA from scratch, the reference; QLoRA where the decoder is loaded in 4 bits."""

from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from torch import Tensor, nn

from transferkit.config.methods import MethodFacts
from transferkit.config.poolings import Pooling
from transferkit.config.resolve import ResolvedRecipe
from transferkit.config.sections import LoraSection
from transferkit.decoder.reader import Reader
from transferkit.errors import ConfigError
from transferkit.methods.base import Given, Group, Saved, WholeDecoder
from transferkit.methods.on_backbone import BackboneEmbedder, build_reader, open_reader
from transferkit.prompting.adapters import add_lora
from transferkit.readout.readout import Readout


class LoraEmbedder(BackboneEmbedder):
    """`peft` LoRA on every linear layer of the backbone."""

    facts = MethodFacts(
        name="lora",
        task="baseline",
        place=2,
        title="LoRA",
        kind="lora",
        sections=("embedding", "lora"),
        rereads=True,
    )
    start_title = "its start, the frozen decoder"

    def __init__(
        self,
        reader: Reader,
        peft: nn.Module,
        *,
        pooling: Pooling,
        lora: LoraSection,
        readout: Readout | None = None,
    ) -> None:
        super().__init__(reader, pooling=pooling, readout=readout)
        self.lora = lora
        # The adapters are in the trunk itself; the wrapper is kept to name, save and load them.
        self.peft = peft
        modules = self.backbone.trunk.named_modules()
        self._dropouts = [module for name, module in modules if name.endswith("lora_dropout")]

    @classmethod
    def on(cls, reader: Reader, *, pooling: Pooling, lora: LoraSection, seed: int) -> Self:
        """Fresh adapters on a decoder, which has none yet; they are drawn from ``seed``."""
        decoder = reader.decoder
        peft = add_lora(decoder.trunk, lora, seed=seed, autocast=decoder.dtype is torch.bfloat16)
        return cls(reader, peft, pooling=pooling, lora=lora)

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """Fresh adapters on the recipe's decoder."""
        reader = build_reader(recipe.reading, given)
        return cls.on(reader, pooling=recipe.reading.pooling, lora=recipe.lora, seed=recipe.seed)

    def label(self, recipe: ResolvedRecipe) -> str:
        """With rank, learning rate and pooling."""
        return f"{self.facts.title} r {recipe.lora.r}, lr {recipe.optim.lr:g}, {self.pooling}"

    def adapter(self) -> dict[str, nn.Parameter]:
        """Adapter weights, learning or frozen, named as the trunk's wrapper names them."""
        return {name: p for name, p in self.peft.named_parameters() if "lora_" in name}

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

    def unadapted(self) -> AbstractContextManager[None]:
        """Without its adapters."""
        wrapper: Any = self.peft
        return wrapper.disable_adapter()

    def train(self, mode: bool = True) -> Self:
        """Only the adapters' own dropout follows the mode; the decoder stays in eval mode."""
        super().train(False)
        for dropout in self._dropouts:
            dropout.train(mode)
        return self

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """The adapters."""
        return {"model": [p for p in self.backbone.trunk.parameters() if p.requires_grad]}

    def describe(self) -> dict[str, Any]:
        """With the adapters' settings."""
        return super().describe() | {"lora": self.lora.model_dump()}

    def tensors(self) -> dict[str, Tensor]:
        """The adapters."""
        return {f"adapter.{name}": p for name, p in self.adapter().items()}

    @classmethod
    def open(cls, saved: Saved) -> Self:
        """The adapters on the decoder that they were trained on."""
        lora = LoraSection.model_validate(saved.description["lora"])
        pooling = saved.description["backbone"]["pooling"]
        embedder = cls.on(open_reader(saved, soft_tokens=0), pooling=pooling, lora=lora, seed=0)
        embedder.load_adapter(saved.below("adapter"))
        return embedder

    def whole_decoder(self, instruction: str) -> WholeDecoder:
        """The decoder with the adapters in its weights, which are float32 from then on: nothing is rounded away."""
        wrapper: Any = self.peft.float()
        return WholeDecoder(wrapper.merge_and_unload(), merged=True)

    def reread(self, *, template: str, pooling: Pooling) -> Self:
        """The same adapters behind another template."""
        return type(self)(self.reader.behind(template), self.peft, pooling=pooling, lora=self.lora)


class QloraEmbedder(LoraEmbedder):
    """The same on a decoder in 4 bits."""

    facts = MethodFacts(
        name="qlora",
        task="baseline",
        place=3,
        title="QLoRA",
        kind="lora",
        sections=("embedding", "lora"),
        rereads=True,
        quantization="nf4",
    )
