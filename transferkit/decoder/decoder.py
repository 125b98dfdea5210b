"""A frozen decoder: trunk and tokenizer, and what was measured of them when they were loaded."""

from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn

from transferkit.config.specs import BackboneSpec, Quantization
from transferkit.decoder.exactness import Exactness, measure, measure_stack_scale
from transferkit.decoder.identity import Identity, all_weights_sha256, identify
from transferkit.decoder.loading import DTYPES, input_embeddings, load_tokenizer, load_trunk, num_quantized_layers
from transferkit.decoder.passes import Passes
from transferkit.decoder.tokens import Rows, TextEncoder
from transferkit.errors import ConfigError


class Decoder(nn.Module):
    """A decoder that is whole when it is made and never changed (adapters of a method are put on its trunk).

    Attributes:
        trunk: the decoder without its head.
        passes: the ways of running it.
        encoder: its tokenizer.
        spec: what was declared of it, pinned to the commit that was loaded.
        quantization: as it was loaded.
        exactness: what the check at load time measured; it decides between the cached and the full path.
        embedding_width: d_e, what soft tokens must have (differs from ``output_width`` in a few decoders).
        output_width: d_out, width of the last hidden states.
        context: positions; None: no limit is known.
        identity: what a checkpoint is tied to.
        quantized_layers: linear layers that hold 4-bit weights.
    """

    def __init__(self, passes: Passes, *, spec: BackboneSpec, quantization: Quantization, context: int | None) -> None:
        super().__init__()
        self.trunk: Final = passes.trunk
        self.encoder: Final = passes.encoder
        self.spec: Final = spec
        self.quantization: Final[Quantization] = quantization
        self.context: Final = context
        self.embedding_width: Final[int] = input_embeddings(passes.trunk).weight.shape[1]
        self.quantized_layers: Final = num_quantized_layers(passes.trunk)
        with torch.no_grad():
            probe = passes.full_pass(Rows(before=[[passes.encoder.filler]], after=[[]]), None)
        self.output_width: Final[int] = probe.states.shape[-1]
        self.exactness: Final[Exactness] = measure(passes, name=spec.name)
        self.passes: Final = passes.with_short_attention() if self.exactness.short else passes
        _compare_with_spec(self)
        self.identity: Final[Identity] = identify(
            spec.location,
            revision=spec.revision,
            tokenizer=passes.encoder.tokenizer,
            embedding_scale=_embedding_scale(passes),
        )

    @classmethod
    def load(
        cls,
        spec: BackboneSpec,
        *,
        quantization: Quantization = "none",
        dtype: str = "float32",
        device: torch.device | None = None,
    ) -> "Decoder":
        """Load the decoder that ``spec`` describes and check it against what the spec declares.

        Args:
            spec: from the registry or probed.
            quantization: ``nf4`` loads linear layers in 4 bits.
            dtype: of weights and activations; ``float32`` or ``bfloat16``.
            device: default CPU.

        Raises:
            ConfigError: weights not found or incomplete, a declared fact that does not hold, or a decoder whose padded
                batches are wrong on every path.
        """
        trunk = load_trunk(
            spec.location,
            revision=spec.revision,
            dtype=DTYPES[dtype],
            quantization=quantization,
            device=device or torch.device("cpu"),
        )
        all_weights_sha256(spec.location, revision=spec.revision)  # NaN is refused before anything is measured
        encoder = TextEncoder(
            load_tokenizer(spec.location, revision=spec.revision),
            num_rows=input_embeddings(trunk).weight.shape[0],
            add_bos=spec.tokenizer.add_bos,
            append_eos=spec.tokenizer.append_eos,
        )
        positions = getattr(trunk.config.get_text_config(), "max_position_embeddings", None)
        limits = (spec.max_length, positions, _switch(trunk.config.get_text_config()))
        # An unpinned spec is pinned here, so that a checkpoint asks for this commit and not for a newer one.
        revision = spec.revision or getattr(trunk.config, "_commit_hash", None)
        return cls(
            Passes(trunk, encoder, stack_scale=measure_stack_scale(Passes(trunk, encoder))),
            spec=spec.model_copy(update={"revision": revision}),
            quantization=quantization,
            context=min((limit for limit in limits if limit), default=None),
        )

    @cached_property
    def embedding_rms(self) -> float:
        """Root mean square of the token embeddings as the layers receive them, over some thousand rows."""
        rows = range(0, self.encoder.num_rows, max(1, self.encoder.num_rows // 4096))
        return root_mean_square(self.passes.token_table(rows))

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.passes.device

    @property
    def dtype(self) -> torch.dtype:
        """Of embeddings and activations."""
        return self.passes.dtype

    def train(self, mode: bool = True) -> "Decoder":
        """Stays in eval mode: dropout would make texts random and checkpointing would drop the KV cache."""
        return super().train(False)

    def token_table(self, ids: list[int] | None = None) -> Tensor:
        """See :meth:`Passes.token_table`."""
        return self.passes.token_table(ids)


def _switch(config: Any) -> int | None:
    """Positions beyond which all rows of a batch would be read in another way (longrope), so that no row may be longer.

    A text would have another vector beside a long one than alone. Other kinds of rope switch beyond the context.
    """
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [found] if {"rope_type", "type"} & set(found) else [one for one in found.values() if isinstance(one, dict)]
    of_config = getattr(config, "original_max_position_embeddings", None)
    limits = [
        one.get("original_max_position_embeddings") or of_config
        for one in kinds
        if "longrope" in (one.get("rope_type"), one.get("type"))
    ]
    return min((limit for limit in limits if limit), default=None)


def root_mean_square(table: Tensor) -> float:
    """Size of the numbers in a table of embeddings."""
    return float(table.float().square().mean().sqrt())


def _embedding_scale(passes: Passes) -> float:
    """Size of the embeddings that the layers receive over that of the weight rows (sqrt(d) in some families)."""
    weight = input_embeddings(passes.trunk).weight[:64].float()
    seen = passes.token_table(range(min(64, passes.encoder.num_rows))).float()
    return round(float(seen.norm() / weight.norm().clamp(min=1e-30)), 6)


def _compare_with_spec(decoder: Decoder) -> None:
    """Declared facts are checked facts: a wrong spec is a wrong result later."""
    config, spec = decoder.trunk.config, decoder.spec
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    facts = {
        "model_type": (spec.model_type, config.model_type),
        "hidden_size": (spec.hidden_size, getattr(config.get_text_config(), "hidden_size", spec.hidden_size)),
        "embedding_size": (spec.embedding_size or spec.hidden_size, decoder.embedding_width),
        "num_layers": (spec.num_layers or layers, layers),
    }
    for key, (declared, found) in facts.items():
        if declared != found:
            raise ConfigError(
                f"backbone {spec.name}: {key}: the spec says {declared!r}, the model has {found!r}; mend the spec"
            )
