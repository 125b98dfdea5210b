"""Methods that embed through a frozen decoder, and the pass that several poolings share."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

import torch
from torch import Tensor, nn

from transferkit.config.poolings import STATIC, Pooling, check_soft_place, of_states, parts_of, reads_instruction
from transferkit.config.resolve import Reading, ResolvedRecipe
from transferkit.config.specs import BackboneSpec
from transferkit.data.examples import Batch
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.gguf import unpacked
from transferkit.decoder.identity import Identity
from transferkit.decoder.loading import input_embeddings, num_parameters
from transferkit.decoder.passes import Hidden
from transferkit.decoder.pooling import positions_read, side_by_side
from transferkit.decoder.probe import resolve
from transferkit.decoder.reader import Reader
from transferkit.decoder.text_states import TextStateMemory
from transferkit.decoder.tokens import CutTexts
from transferkit.errors import ConfigError, one_of
from transferkit.methods.base import Embedder, Given, Saved
from transferkit.methods.described import POOLED, Example, Rows, one_line, soft_names, token_names
from transferkit.readout.readout import Readout


class BackboneEmbedder(Embedder):
    """A method that embeds through a decoder: soft tokens of its own, or none.

    Args:
        reader: the decoder behind its template.
        pooling: how its last hidden states become one vector.
        readout: closed-form map; None: none yet.
    """

    pooling: Pooling
    template: str

    def __init__(self, reader: Reader, *, pooling: Pooling, readout: Readout | None = None) -> None:
        if pooling not in get_args(Pooling):
            raise ConfigError(f"pooling: expected {one_of(get_args(Pooling))}, got {pooling!r}")
        try:
            check_soft_place(reader.template.source, pooling, needs_soft=self.facts.soft_tokens)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        width = pooled_width(reader.decoder, pooling)
        super().__init__((readout or Readout.plain(width)).to(reader.decoder.device))
        self.backbone = reader.decoder
        self.reader = reader
        self.pooling = pooling
        self.template = reader.template.source

    def pooled_width(self, pooling: str) -> int:
        """Length of the vectors that a pooling gives."""
        return pooled_width(self.backbone, pooling)

    def soft_prompt(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor | None:
        """Soft tokens (B, k, d_e) in the backbone's embedding space; None for a method without."""
        return None

    def embed(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Tensor:
        """Pooled vectors (B, d) of the template filled with each text."""
        if not of_states(self.pooling):
            return self.reader.mean_token_embeddings(texts, instructions)
        return self.read(texts, instructions, memory=memory).pool(self.pooling)

    def read(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Hidden:
        """Last hidden states of the template filled with each text."""
        rows = self.reader.rows(texts, instructions)
        soft = self.soft_prompt(texts, instructions)
        self.tokens_read += rows.num_tokens() + (0 if soft is None else soft.shape[0] * soft.shape[1])
        return self.reader(rows, soft, memory=memory)

    @property
    def reads_instruction(self) -> bool:
        """Whether its template holds one, before states that are pooled."""
        return reads_instruction(self.template, self.pooling, prompting=False)

    def describe(self) -> dict[str, Any]:
        """With its backbone."""
        return super().describe() | {"backbone": describe_reader(self.reader, self.pooling)}

    def fingerprint(self) -> dict[str, Any]:
        """Of the spec, only what its tokenizer does; where its positions cut a text is in what they leave for one."""
        facts = self.describe()
        backbone = facts["backbone"]
        identity = {key: backbone["identity"][key] for key in ("config_sha256", "tokenizer_sha256")}
        own = {"spec": backbone["spec"]["tokenizer"], "identity": identity, "text_tokens": self.reader.text_tokens}
        return facts | {"backbone": backbone | own}

    def backbone_facts(self) -> dict[str, Any]:
        """Which decoder it is, how it is loaded and which path it takes."""
        facts = describe_reader(self.reader, self.pooling)
        spec, decoder, cached = facts.pop("spec"), self.backbone, self.reader.is_cached
        return {
            "name": spec["name"],
            "location": decoder.spec.where,
            "revision": spec.get("revision"),
            **facts.pop("identity"),
            **facts,
            "num_parameters": num_parameters(decoder.trunk.parameters()),
            "quantized_layers": decoder.quantized_layers,
            "path": "cached" if cached else "full",
            "errors": decoder.exactness.facts(cached=cached),
        }

    def summary(self) -> list[str]:
        """Which path, how exact, and how its weights are kept."""
        decoder, cached = self.backbone, self.reader.is_cached
        exact = decoder.exactness.in_words(cached=cached)
        said = [f"{decoder.spec.name}, {'cached' if cached else 'full'} path, {exact}"]
        said += unpacked(decoder.spec.location)
        return said + ([f"{decoder.quantized_layers} layers in 4 bits"] if decoder.quantized_layers else [])

    def sections(self, recipe: ResolvedRecipe, batch: Batch) -> list[tuple[str, Rows]]:
        """Its decoder."""
        decoder, exactness = self.backbone, self.backbone.exactness
        errors = f"cached text {max(exactness.cached_errors):.1e}, padded full pass {max(exactness.full_errors):.1e}"
        widths = sorted({self.pooled_width(pooling) for pooling in self.poolings(recipe)})
        vectors = " or ".join(f"{width:,}" for width in widths)
        weights = [str(decoder.dtype).removeprefix("torch."), f"quantization {decoder.quantization}"]
        weights += unpacked(decoder.spec.location)
        rows = [
            ("path", self._path(batch)),
            ("exactness, measured", f"{errors} (relative error to single rows without padding)"),
            ("widths", f"embeddings {decoder.embedding_width:,}, vectors {vectors}"),
            ("weights", ", ".join(weights)),
        ]
        return [(f"backbone: {decoder.spec.name}", rows)]

    def poolings(self, recipe: ResolvedRecipe) -> list[str]:
        """Those that a run of it uses."""
        return [self.pooling]

    def _path(self, batch: Batch) -> str:
        if not self.facts.soft_tokens:
            return "full: no soft tokens, so the whole row is one pass"
        if self.reader.takes_cached_path(self.reader.rows(batch.anchors, [batch.anchor_instruction] * len(batch))):
            return "cached: text runs once without gradient, soft tokens and what follows run on top of it"
        if not self.backbone.exactness.cached:
            return "full: cached text is not exact on this decoder"
        return "full: what stands after the soft tokens differs in length from text to text"

    def examples_title(self) -> str:
        """With pooling and template."""
        reads = "states at " if STATIC in parts_of(self.pooling) else ""
        makes = " and the text's token embeddings make the vector" if reads else " makes the vector"
        tail = f"pooling {self.pooling}, template {one_line(self.template)!r}"
        return f"examples, as tokens ({reads}{POOLED}{makes}; {tail})"

    @torch.no_grad()
    def example(self, text: str, instruction: str) -> Example:
        """What the decoder reads of a text."""
        rows, soft = self.reader.rows([text], [instruction]), self.soft_prompt([text], [instruction])
        tokenizer, hidden = self.backbone.encoder.tokenizer, self.reader(rows, soft)
        tokens = [
            *token_names(tokenizer, rows.before[0]),
            *soft_names(0 if soft is None else soft.shape[1]),
            *token_names(tokenizer, rows.after[0]),
        ]
        return Example(text, instruction, self._prompts(text, instruction), tokens, _pooled(hidden, self.pooling))

    def _prompts(self, text: str, instruction: str) -> list[list[str]]:
        """Tokens of what a Prompting LLM reads, where there is one."""
        return []

    def cut_texts(self) -> list[CutTexts]:
        """The decoder's."""
        return self.reader.rows.counts()

    def token_tables(self) -> list[nn.Embedding]:
        """The decoder's."""
        return [input_embeddings(self.backbone.trunk)]

    @property
    def max_tokens(self) -> int:
        """What the context leaves for a text, or less where less is asked for."""
        return self.reader.text_tokens


class SeveralPoolings(Embedder):
    """A method that reads each text once and pools it in several ways; :meth:`part` gives the vectors of one of them.

    Args:
        method: has ``read``, whose result has ``pool``, and ``pooled_width``.
        poolings: that ``pool`` knows.
    """

    def __init__(self, method: Any, *, poolings: Sequence[str]) -> None:
        # What several poolings put side by side with others is made and kept once.
        widths = {part: method.pooled_width(part) for pooling in poolings for part in parts_of(pooling)}
        super().__init__(Readout.plain(sum(widths.values())).to(method.device))
        self.method = method
        self.widths = widths

    @torch.no_grad()
    def embed(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Tensor:
        """What the poolings are made of, (B, sum of widths), without gradient and without a readout."""
        if list(self.widths) == [STATIC]:
            alone: Tensor = self.method.embed(texts, instructions)  # no pass
            return alone
        read = self.method.read(texts, instructions)
        return torch.cat([read.pool(part) for part in self.widths], 1)

    def cut_texts(self) -> list[CutTexts]:
        """The method's."""
        cut: list[CutTexts] = self.method.cut_texts()
        return cut

    @property
    def writing_seconds(self) -> float:
        """Of the method."""
        seconds: float = self.method.writing_seconds
        return seconds

    def part(self, vectors: Tensor, pooling: str) -> Tensor:
        """The vectors of one pooling, from what :meth:`embed` gave."""
        parts = dict(zip(self.widths, vectors.split(list(self.widths.values()), dim=1), strict=True))
        return side_by_side([parts[part] for part in parts_of(pooling)])


def pooled_width(decoder: Decoder, pooling: str) -> int:
    """Length of the vectors that a pooling gives."""
    return sum(decoder.embedding_width if part == STATIC else decoder.output_width for part in parts_of(pooling))


def build_reader(reading: Reading, given: Given, *, spec: BackboneSpec | None = None) -> Reader:
    """The decoder of a recipe's reading behind its template; ``spec``: another decoder, read in the same way."""
    decoder = Decoder.load(
        spec or reading.spec, quantization=reading.quantization, dtype=reading.dtype, device=given.device
    )
    return Reader(
        decoder,
        reading.template,
        max_length=reading.max_length,
        soft_tokens=reading.soft_tokens,
        layers=reading.layers,
    )


def open_reader(saved: Saved, *, soft_tokens: int) -> Reader:
    """The decoder that a checkpoint was trained against, behind its template.

    Raises:
        ConfigError: it cannot be had, or differs from the checkpoint's own.
    """
    own = saved.description["backbone"]
    spec = BackboneSpec.model_validate(own["spec"])
    if saved.backbone is not None:
        spec = resolve(saved.backbone).model_copy(update={"tokenizer": spec.tokenizer})
    decoder = Decoder.load(spec, quantization=own["quantization"], dtype=own["dtype"], device=saved.device)
    reader = Reader(
        decoder,
        own["template"],
        max_length=own["max_length"],
        soft_tokens=soft_tokens,
        layers=own.get("layers", 1),
    )
    different = Identity(**own["identity"]).differences(decoder.identity)
    if different:
        raise ConfigError(
            f"this checkpoint belongs to {own['spec']['name']} and {decoder.encoder.tokenizer.name_or_path} differs "
            f"from it in {', '.join(different)}; carry the skill over with `transferkit adapt --source CHECKPOINT "
            "--target MODEL`"
        )
    return reader


def describe_reader(reader: Reader, pooling: str) -> dict[str, Any]:
    """Everything needed to read through the same decoder again and to know that it is the same."""
    decoder = reader.decoder
    return {
        "spec": decoder.spec.model_dump(exclude_none=True),
        "identity": asdict(decoder.identity),
        "quantization": decoder.quantization,
        "dtype": str(decoder.dtype).removeprefix("torch."),
        "template": reader.template.source,
        "max_length": reader.max_length,
        "pooling": pooling,
        "layers": reader.layers,
    }


def _pooled(hidden: Hidden, pooling: str) -> list[bool]:
    """Positions whose states make the vector. With ``max`` each of them may give some of its numbers."""
    read = torch.zeros_like(hidden.mask)
    for part in of_states(pooling):
        read |= positions_read(hidden.mask, hidden.soft, part)
    marked: list[bool] = read[0].tolist()
    return marked
