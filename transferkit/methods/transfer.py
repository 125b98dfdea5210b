"""Transfer: a frozen Prompting LLM from a checkpoint on another decoder, whose alignment alone learns."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from transferkit.config.methods import MethodFacts
from transferkit.config.poolings import STATIC, Pooling, parts_of, reads_instruction
from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.examples import Batch
from transferkit.decoder.decoder import root_mean_square
from transferkit.decoder.identity import tokenizer_sha256
from transferkit.decoder.loading import input_embeddings
from transferkit.decoder.reader import Reader
from transferkit.decoder.tokens import CutTexts
from transferkit.errors import ConfigError
from transferkit.methods.base import Embedder, Given, Group, Saved, WholeDecoder
from transferkit.methods.described import Rows, token_names
from transferkit.methods.frozen import as_it_is
from transferkit.methods.on_backbone import BackboneEmbedder, build_reader, open_reader
from transferkit.methods.prompting_alone import Join, PromptingAlone
from transferkit.prompting.alignment import Alignment
from transferkit.prompting.alignment_start import start_alignment
from transferkit.prompting.llm import collapse
from transferkit.prompting.mixtures import TokenMixer
from transferkit.prompting.saved import load_learned, open_source, open_writer, save_writer, writer_settings
from transferkit.prompting.writer import Writer
from transferkit.readout.readout import Readout
from transferkit.runs.checkpoint_folder import LEARNED

COLLAPSED = 1e-3  # below this share of variance across texts, soft tokens no longer depend on the text


class PromptEmbedder(BackboneEmbedder):
    """Prompting LLM -> alignment -> frozen backbone -> pooling -> readout (PromptEmbedder, section 3).

    Args:
        writer: the Prompting LLM and what it reads; writes soft tokens (B, k, d_p).
        alignment: carries them into the backbone's space.
        reader: frozen decoder behind a template that holds ``{soft}``.
        pooling: how its last hidden states become one vector.
        readout: closed-form map, fitted at the end of training.
        record_facts: how it was built, for the record.
    """

    facts = MethodFacts(
        name="transfer",
        task="adapt",
        place=1,
        title="transfer",
        kind="transfer",
        sections=("prompting", "embedding", "alignment"),
        needs_source=True,
        soft_tokens=True,
        rereads=True,
        alone="prompting LLM alone",
    )
    divergence_remedy: ClassVar[str] = "lower optim.lr_alignment or optim.lr_offset, or raise prompting.tau"

    def __init__(
        self,
        writer: Writer,
        alignment: Alignment,
        reader: Reader,
        *,
        pooling: Pooling = "soft",
        readout: Readout | None = None,
        record_facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(reader, pooling=pooling, readout=readout)
        self.writer = writer
        self.alignment = alignment
        self._record_facts = dict(record_facts or {})

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """The source's Prompting LLM, frozen, on the recipe's decoder."""
        reader = build_reader(recipe.reading, given)
        source = open_source(given.source_folder)
        writer = source.writer(recipe.prompting, precision=recipe.precision, device=given.device)
        writer.freeze()
        alignment, facts = start_alignment(writer, reader.decoder, recipe.alignment, seed=recipe.seed, source=source)
        return cls(
            writer,
            alignment.to(given.device),
            reader,
            pooling=recipe.reading.pooling,
            record_facts={"alignment": facts},
        )

    def soft_prompt(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Written soft tokens, carried into the backbone's space: (B, k, d_e)."""
        soft = self.writer(texts, instructions)
        return self.alignment(soft.to(self.alignment.weight.device))

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """Whatever of the Prompting LLM is not frozen, W and, where there are any, the offsets."""
        groups: dict[Group, list[nn.Parameter]] = {
            "model": [p for p in self.writer.parameters() if p.requires_grad],
            "alignment": [self.alignment.weight],
            "offset": [] if self.alignment.offset is None else [self.alignment.offset],
        }
        return {name: parameters for name, parameters in groups.items() if parameters}

    def rate_unit(self, parameter: nn.Parameter) -> float:
        """Offsets are as large as the decoder's token embeddings, W as they are over those that the soft tokens mix."""
        if parameter is self.alignment.offset:
            return self.backbone.embedding_rms
        if parameter is self.alignment.weight:
            return self.backbone.embedding_rms / self._soft_size
        return 1.0

    @cached_property
    def _soft_size(self) -> float:
        """Root mean square of what soft tokens are made of, as it was at the start; hidden states are about ones."""
        prompting = self.writer.prompting
        table = prompting.token_table().detach()
        return root_mean_square(table) if prompting.width == table.shape[1] else 1.0

    def label(self, recipe: ResolvedRecipe) -> str:
        """With what learns beside W, and where W starts."""
        learns = "W + offsets" if recipe.alignment.offset == "position" else "W"
        return f"{self.facts.title}, {learns}, {recipe.alignment.init} start"

    # Hooks of the training loop

    def begin_training(self, resumed: Mapping[str, Any]) -> None:
        """Soft tokens that were kept are written again in the same groups, so that every bit is the same."""
        self.writer.gain = resumed.get("gain", self.writer.gain)
        self.writer.begin_training(resumed.get("soft_token_groups", []), seconds=resumed.get("seconds", 0.0))

    def to_resume(self) -> dict[str, Any]:
        """How large soft tokens are made, and which prompts were written together."""
        memory = self.writer.memory
        kept = {} if memory is None else {"soft_token_groups": memory.groups, "seconds": memory.seconds}
        return kept if self.writer.gain is None else kept | {"gain": self.writer.gain}

    @property
    def writing_seconds(self) -> float:
        """Of a frozen Prompting LLM; one that learns writes anew at each step."""
        return self.writer.seconds

    @property
    def cache_seconds(self) -> float:
        """See :attr:`writing_seconds`."""
        return 0.0 if self.writer.memory is None else self.writer.memory.seconds

    def figures(self) -> dict[str, float]:
        """How far soft tokens differ from text to text; a micro-batch of one text has no variance to speak of."""
        soft = self.writer.last_written
        return {} if soft is None or len(soft) < 2 else {"collapse": collapse(soft)}

    def warnings(self, step: int) -> list[str]:
        """That the soft tokens no longer depend on the text."""
        figure = self.figures().get("collapse")
        if figure is None or figure > COLLAPSED:
            return []
        return [
            f"step {step}: the soft tokens hardly depend on the text any more (collapse figure {figure:.1e}); raise "
            "prompting.tau or lower optim.lr"
        ]

    # Checkpoints

    def describe(self) -> dict[str, Any]:
        """With Prompting LLM and alignment."""
        alignment = {"offset": self.alignment.offset is not None}
        return super().describe() | {"prompting": writer_settings(self.writer), "alignment": alignment}

    def tensors(self) -> dict[str, Tensor]:
        """W and offsets, and both told in tokens, for whoever carries them on."""
        learned = self.alignment.state_dict()
        told = self._mixer.tell(learned)
        return {f"alignment.{name}": value for name, value in learned.items()} | {
            f"mixtures.{name}": value for name, value in told.items()
        }

    @cached_property
    def _mixer(self) -> TokenMixer:
        return TokenMixer(self.writer.prompting, self.backbone)

    def save_files(self, folder: Path, *, shared: Path | None) -> None:
        """The Prompting LLM."""
        save_writer(self.writer, folder, shared=shared)

    @classmethod
    def open(cls, saved: Saved) -> Self:
        """Prompting LLM, alignment and the decoder that they were trained on."""
        tokens = saved.description["prompting"]["tokens"]
        reader = open_reader(saved, soft_tokens=tokens)
        writer = open_writer(saved.folder, saved.description["prompting"], saved.device)
        start = torch.zeros(writer.prompting.width, reader.decoder.embedding_width, device=saved.device)
        alignment = Alignment(start, tokens=tokens, offset=saved.description["alignment"]["offset"])
        load_learned(alignment, saved.below("alignment"), where=str(saved.folder / LEARNED))
        return cls(writer, alignment, reader, pooling=saved.description["backbone"]["pooling"])

    # What is said of it

    @property
    def record_facts(self) -> dict[str, Any]:
        """How W started."""
        return self._record_facts

    @property
    def reads_instruction(self) -> bool:
        """The Prompting LLM does, before states that are pooled."""
        return reads_instruction(self.template, self.pooling, prompting=True)

    def sections(self, recipe: ResolvedRecipe, batch: Batch) -> list[tuple[str, Rows]]:
        """Decoder and alignment."""
        start = self._record_facts["alignment"]
        rows = [("W starts from", _start_in_words(start)), ("offsets", start["offset"])]
        return [*super().sections(recipe, batch), ("alignment", rows)]

    def kept_bytes(self, num_texts: int) -> int:
        """Of soft tokens that are written once, at most their budget."""
        return self.writer.kept_bytes(num_texts)

    def _prompts(self, text: str, instruction: str) -> list[list[str]]:
        encoder, rows = self.writer.prompting.encoder, self.writer.rows([text], [instruction])
        return [token_names(encoder.tokenizer, row) for row in rows]

    def cut_texts(self) -> list[CutTexts]:
        """The decoder's and the Prompting LLM's."""
        return [*super().cut_texts(), *self.writer.cut_texts()]

    def token_tables(self) -> list[nn.Embedding]:
        """The decoder's and the Prompting LLM's."""
        return [*super().token_tables(), input_embeddings(self.writer.prompting.model)]

    def fingerprint(self) -> dict[str, Any]:
        """With the Prompting LLM's tokenizer."""
        own = tokenizer_sha256(self.writer.prompting.encoder.tokenizer)
        return super().fingerprint() | {"prompting_tokenizer_sha256": own}

    def reread(self, *, template: str, pooling: Pooling) -> "PromptEmbedder":
        """The same Prompting LLM and W behind another template."""
        return type(self)(self.writer, self.alignment, self.reader.behind(template), pooling=pooling)

    @torch.no_grad()
    def whole_decoder(self, instruction: str) -> WholeDecoder:
        """The decoder, and what is written of the instruction alone.

        Raises:
            ConfigError: soft tokens are written of each text.
        """
        if self.writer.reads != "instruction":
            raise ConfigError(
                f"{self.facts.title}: a second model writes its soft tokens of each text; leave --baked away, or train "
                "with prompting.reads=instruction"
            )
        return WholeDecoder(self.backbone.trunk, self.soft_prompt([""], [instruction])[0])

    def rivals(self) -> dict[str, Embedder]:
        """The decoder without its soft tokens, and they without the decoder."""
        return {**as_it_is(self), "the Prompting LLM alone": self.without_backbone()}

    def without_backbone(self) -> Embedder:
        """The Prompting LLM alone; whatever this one has beside its states, that one has too."""
        join: Join = "mean+static" if STATIC in parts_of(self.pooling) else "mean"
        alone = PromptingAlone(self.writer, join=join)
        alone.remember(self.instructions, self.document_instructions)
        return alone


def _start_in_words(alignment: Mapping[str, Any]) -> str:
    """What the record says of the start."""
    if "through" in alignment:
        learned = f"the source's own W for {alignment['through']}"
        return f"{learned}, told in {alignment['tokens']:,} tokens" if "tokens" in alignment else learned
    if "anchors" in alignment:
        return f"{alignment['anchors']:,} tokens that both vocabularies share, R2 {alignment['anchor_r2']:.4f}"
    return "a random draw of matched size"
