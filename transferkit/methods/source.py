"""The source: Prompting LLM and alignment learn together, on one frozen decoder or on several in turn.

The Prompting LLM may learn alone first, which costs no pass of a decoder: then soft tokens tell texts apart before a
decoder is to make something of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from transferkit.config.methods import MethodFacts
from transferkit.config.resolve import ResolvedRecipe
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.gguf import unpacked
from transferkit.decoder.identity import weights_sha256
from transferkit.decoder.probe import resolve
from transferkit.decoder.text_states import TextStateMemory
from transferkit.methods.base import Given, Group
from transferkit.methods.on_backbone import build_reader
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import Alignment
from transferkit.prompting.alignment_start import start_alignment
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer

_MEASURED = 512  # texts that say how much a text changes


class SourceEmbedder(PromptEmbedder):
    """A skill in the making. Its checkpoint is one of transfer's: nothing tells them apart but what learned.

    With ``others`` steps take turns, and each backbone has an alignment of its own, so that the soft tokens suit no
    single one of them. The first one stands for all where one is asked for: it is what evaluations read and what a
    checkpoint holds.

    Args:
        others: on further backbones, of any width, with the Prompting LLM that all share.
        alone_steps: the first steps, in which the Prompting LLM learns without a backbone: the vector of a text is its
            soft tokens side by side.
        measure: how much what a text changes is enlarged, anew, where it is.
        restart: of the alignment for one of the backbones, from the Prompting LLM as it is now. Whatever reads
            through a backbone after such steps starts from there.
    """

    facts = MethodFacts(
        name="source",
        task="train",
        place=0,
        title="source",
        kind="transfer",
        sections=("prompting", "embedding", "alignment"),
        soft_tokens=True,
        rereads=True,
        alone="prompting LLM alone",
    )
    divergence_remedy: ClassVar[str] = "lower optim.lr, optim.lr_alignment or optim.lr_offset, or raise prompting.tau"

    def __init__(
        self,
        *parts: Any,
        others: Sequence[PromptEmbedder] = (),
        alone_steps: int = 0,
        measure: Callable[[], None] = lambda: None,
        restart: Callable[[Decoder], Alignment] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*parts, **options)
        if others:
            self.others = nn.ModuleList(others)
        self._others = list(others)
        self._turn = 0
        self._alone = False
        self.first_finished_step = alone_steps
        self._measure = measure
        self._restart = restart

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """A Prompting LLM from its own pretrained weights, on each of the recipe's decoders."""
        settings = recipe.prompting
        assert settings.backbone is not None  # the recipe saw to it
        spec = resolve(settings.backbone)
        reader = build_reader(recipe.reading, given)
        prompting = PromptingLLM.load(
            spec.location,
            revision=spec.revision,
            device=given.device,
            tokens=settings.tokens,
            tau=settings.tau,
            relaxation=settings.relaxation,
            max_length=settings.max_length,
            precision=recipe.precision,
        )
        if settings.tuning == "lora":
            prompting.add_lora(settings.lora, seed=recipe.seed)
        writer = Writer(prompting, reads=settings.reads)

        def measure() -> None:
            if settings.contrast is not None:
                sample = given.data.sample_with_pairs(_MEASURED, recipe.seed)
                writer.measure_gain(settings.contrast, sample.texts, sample.instructions)

        def restart(decoder: Decoder) -> Alignment:
            return start_alignment(writer, decoder, recipe.alignment, seed=recipe.seed)[0]

        measure()
        alignment, facts = start_alignment(writer, reader.decoder, recipe.alignment, seed=recipe.seed)
        others, fits = _others(recipe, given, writer)
        facts |= {"more_backbones": fits} if others else {}
        origin = weights_sha256(spec.location, revision=spec.revision)
        return cls(
            writer,
            alignment.to(given.device),
            reader,
            pooling=recipe.reading.pooling,
            record_facts={"alignment": facts, "prompting_weights_sha256": origin},
            others=others,
            alone_steps=settings.alone_steps,
            measure=measure,
            restart=restart,
        )

    def summary(self) -> list[str]:
        """With how the weights of its Prompting LLM came."""
        origin = self.writer.prompting.model.config.name_or_path or ""
        return super().summary() + [f"Prompting LLM {how}" for how in unpacked(origin)]

    def before_step(self, step: int) -> None:
        """The backbone of this step, or none."""
        self._turn = step % (1 + len(self._others))
        if step == self.first_finished_step > 0:
            self._start_alignments()
        self._alone = step < self.first_finished_step

    def train(self, mode: bool = True) -> Self:
        """An evaluation after steps without a backbone reads through alignments that start there."""
        if not mode and self._alone:
            self._start_alignments()
        return super().train(mode)

    @torch.no_grad()
    def _start_alignments(self) -> None:
        assert self._restart is not None  # whoever asks for such steps says how W starts
        self._measure()
        for one in (self, *self._others):
            started = self._restart(one.backbone).state_dict()
            one.alignment.load_state_dict(started)

    def embed(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Tensor:
        """Pooled vectors (B, d) of the backbone whose turn it is; outside of training the first one's.

        While the Prompting LLM learns alone, what it writes of each text (B, k d_p).
        """
        if self.training and self._alone:
            # What all texts have in common would make every cosine near 1.
            return self.writer.centred(texts, instructions).flatten(1)
        if not self.training or self._turn == 0:
            return super().embed(texts, instructions, memory=memory)
        other = self._others[self._turn - 1]
        vectors = other.embed(texts, instructions)
        self.tokens_read += other.take_tokens()
        return vectors

    def rate_unit(self, parameter: nn.Parameter) -> float:
        """Every alignment's is its own backbone's."""
        owner = next((one for one in self._others if any(parameter is p for p in one.alignment.parameters())), None)
        return super().rate_unit(parameter) if owner is None else owner.rate_unit(parameter)

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """The Prompting LLM once, and every alignment."""
        groups = super().trainable()
        for other in self._others:
            for name, parameters in other.trainable().items():
                if name != "model":
                    groups[name] = groups[name] + parameters
        return groups


def _others(
    recipe: ResolvedRecipe, given: Given, writer: Writer
) -> tuple[list[PromptEmbedder], list[Mapping[str, Any]]]:
    """Embedders on the recipe's further backbones, which share ``writer``, and what the record says of each."""
    embedders: list[PromptEmbedder] = []
    facts: list[Mapping[str, Any]] = []
    for name in recipe.embedding.more_backbones:
        spec = resolve(name)
        reader = build_reader(recipe.reading, given, spec=spec)
        alignment, fit = start_alignment(writer, reader.decoder, recipe.alignment, seed=recipe.seed)
        embedders.append(PromptEmbedder(writer, alignment.to(given.device), reader, pooling=recipe.reading.pooling))
        facts.append({"backbone": spec.name, "weights_sha256": reader.decoder.identity.weights_sha256, **fit})
    return embedders, facts
