"""The decoder as it is, read through templates and poolings: the floor."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Self

import torch
from torch import Tensor

from transferkit.config.methods import MethodFacts
from transferkit.config.poolings import FrozenPooling, Pooling, of_states, without_soft_tokens
from transferkit.config.resolve import ResolvedRecipe
from transferkit.config.sections import FrozenSection
from transferkit.config.template import template_name
from transferkit.decoder.text_states import TextStateMemory
from transferkit.methods.base import Embedder, Given, Saved, Variant, WholeDecoder
from transferkit.methods.described import POOLED
from transferkit.methods.on_backbone import BackboneEmbedder, SeveralPoolings, build_reader, open_reader


class FrozenEmbedder(BackboneEmbedder):
    """A decoder behind a template, and nothing learned."""

    facts = MethodFacts(
        name="frozen",
        task="baseline",
        place=6,
        title="frozen",
        kind="frozen",
        sections=("embedding", "frozen"),
        learns=False,
        rereads=True,
    )

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """The recipe's decoder."""
        return cls(build_reader(recipe.reading, given), pooling=recipe.reading.pooling)

    @torch.no_grad()
    def embed(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Tensor:
        """Pooled vectors (B, d), without gradient."""
        return super().embed(texts, instructions, memory=memory)

    def variants(self, recipe: ResolvedRecipe) -> Iterator[tuple[Embedder, list[Variant]]]:
        """Every template x pooling; those of one template share a pass."""
        for template, poolings in _readings(recipe.frozen):
            reader = self.reader.behind(template)
            together = SeveralPoolings(FrozenEmbedder(reader, pooling=poolings[0]), poolings=poolings)
            yield (
                together,
                [
                    Variant(
                        variant_name(pooling, template),
                        FrozenEmbedder(reader, pooling=pooling),
                        partial(together.part, pooling=pooling),
                    )
                    for pooling in poolings
                ],
            )

    def label(self, recipe: ResolvedRecipe) -> str:
        """The variant says how it is read."""
        return "frozen backbone"

    def variant_names(self, recipe: ResolvedRecipe) -> list[str]:
        """Pooling and template of each."""
        return [variant_name(one, template) for template, poolings in _readings(recipe.frozen) for one in poolings]

    def poolings(self, recipe: ResolvedRecipe) -> list[str]:
        """Those of its variants."""
        return [*recipe.frozen.poolings]

    def examples_title(self) -> str:
        """Of one variant of several."""
        return f"examples, as tokens ({POOLED} makes the vector; the first variant)"

    @classmethod
    def open(cls, saved: Saved) -> Self:
        """The decoder, read as the best variant was."""
        return cls(open_reader(saved, soft_tokens=0), pooling=saved.description["backbone"]["pooling"])

    def whole_decoder(self, instruction: str) -> WholeDecoder:
        """The decoder as it is."""
        return WholeDecoder(self.backbone.trunk)

    def reread(self, *, template: str, pooling: Pooling) -> "FrozenEmbedder":
        """The same decoder behind another template."""
        return type(self)(self.reader.behind(template), pooling=pooling)


def _readings(frozen: FrozenSection) -> Iterator[tuple[str, list[FrozenPooling]]]:
    """Each template and its poolings. One that reads no state comes once: no template changes it."""
    for number, template in enumerate(frozen.templates):
        poolings = [pooling for pooling in frozen.poolings if number == 0 or of_states(pooling)]
        if poolings:
            yield template, poolings


def variant_name(pooling: str, template: str) -> str:
    """What a way to read a decoder is called."""
    return f"{pooling} · {template_name(template, soft=True)}"


def as_it_is(embedder: BackboneEmbedder) -> dict[str, Embedder]:
    """The decoder of a method with soft tokens, read without them; nothing where its full pass is not exact."""
    if not embedder.backbone.exactness.full:
        return {}
    template, pooling = without_soft_tokens(embedder.template, embedder.pooling)
    return {"the frozen decoder": FrozenEmbedder(embedder.reader.behind(template), pooling=pooling)}
