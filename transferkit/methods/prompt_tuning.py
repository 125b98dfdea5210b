"""Prompt tuning: free vectors in the place of the written soft tokens, the cheap rival (Lester et al., 2021)."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from transferkit.config.methods import MethodFacts
from transferkit.config.poolings import Pooling
from transferkit.config.resolve import ResolvedRecipe
from transferkit.decoder.reader import Reader
from transferkit.errors import ConfigError
from transferkit.methods.base import Embedder, Given, Group, Saved, WholeDecoder
from transferkit.methods.frozen import as_it_is
from transferkit.methods.on_backbone import BackboneEmbedder, build_reader, open_reader
from transferkit.readout.readout import Readout
from transferkit.runs.checkpoint_folder import LEARNED


class PromptTuningEmbedder(BackboneEmbedder):
    """k free vectors (k, d_e), the same for every text."""

    facts = MethodFacts(
        name="prompt-tuning",
        task="baseline",
        place=4,
        title="prompt tuning",
        kind="prompt-tuning",
        sections=("prompting", "embedding"),
        soft_tokens=True,
        rereads=True,
    )

    def __init__(self, reader: Reader, prompt: Tensor, *, pooling: Pooling, readout: Readout | None = None) -> None:
        super().__init__(reader, pooling=pooling, readout=readout)
        self.prompt = nn.Parameter(prompt.float().to(reader.decoder.device))

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """K sampled token embeddings of the recipe's decoder."""
        reader, tokens = build_reader(recipe.reading, given), recipe.prompting.tokens
        return cls.on(reader, pooling=recipe.reading.pooling, tokens=tokens, seed=recipe.seed)

    @classmethod
    def on(cls, reader: Reader, *, pooling: Pooling, tokens: int, seed: int) -> Self:
        """Embeddings of ``tokens`` random tokens: started at random, prompt tuning is several times worse."""
        encoder = reader.decoder.encoder
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, encoder.vocabulary_rows, (tokens,), generator=generator)
        return cls(reader, reader.decoder.token_table(ids.tolist()), pooling=pooling)

    def label(self, recipe: ResolvedRecipe) -> str:
        """With their number and learning rate."""
        return f"{self.facts.title}, {len(self.prompt)} vectors, lr {recipe.optim.lr:g}"

    def soft_prompt(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """The same k vectors for every text, (B, k, d_e)."""
        return self.prompt.unsqueeze(0).expand(len(texts), -1, -1)

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """The k vectors."""
        return {"model": [self.prompt]}

    def rate_unit(self, parameter: nn.Parameter) -> float:
        """They are as large as token embeddings."""
        return self.backbone.embedding_rms

    def tensors(self) -> dict[str, Tensor]:
        """The k vectors."""
        return {"prompt": self.prompt}

    @classmethod
    def open(cls, saved: Saved) -> Self:
        """The k vectors on the decoder that they were trained on."""
        prompt = saved.tensors["prompt"]
        reader = open_reader(saved, soft_tokens=len(prompt))
        if prompt.ndim != 2 or prompt.shape[1] != reader.decoder.embedding_width:
            raise ConfigError(
                f"{saved.folder / LEARNED}: tensor 'prompt': expected rows of {reader.decoder.embedding_width}, got "
                f"shape {list(prompt.shape)}; restore the checkpoint from a copy"
            )
        return cls(reader, prompt, pooling=saved.description["backbone"]["pooling"])

    def rivals(self) -> dict[str, Embedder]:
        """The decoder without any soft tokens."""
        return as_it_is(self)

    def whole_decoder(self, instruction: str) -> WholeDecoder:
        """The decoder, and the k vectors."""
        return WholeDecoder(self.backbone.trunk, self.prompt.detach())

    def reread(self, *, template: str, pooling: Pooling) -> "PromptTuningEmbedder":
        """The same vectors behind another template."""
        return type(self)(self.reader.behind(template), self.prompt.detach(), pooling=pooling)
