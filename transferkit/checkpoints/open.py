"""What a user may call a model: a checkpoint, a run folder, a ready-made encoder or a plain decoder -> an embedder."""

from dataclasses import dataclass

import torch

from transferkit.checkpoints.checkpoint import load
from transferkit.config.poolings import FrozenReading, Pooling, without_soft_tokens
from transferkit.config.schema import parse
from transferkit.config.specs import BackboneSpec, Quantization
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.probe import resolve
from transferkit.decoder.reader import Reader
from transferkit.errors import ConfigError
from transferkit.files.encoder_folder import is_encoder
from transferkit.methods.base import Embedder
from transferkit.methods.encoder import EncoderEmbedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.runs.checkpoint_folder import is_checkpoint


@dataclass(frozen=True)
class FoundDecoder:
    """A decoder that was found, and how it is read; its weights are not loaded yet."""

    spec: BackboneSpec
    template: str
    pooling: Pooling

    def load(
        self,
        *,
        device: str = "cpu",
        quantization: Quantization = "none",
        dtype: str = "float32",
        max_length: int = 128,
        layers: int = 1,
    ) -> FrozenEmbedder:
        """The frozen decoder as an embedder; options as for :meth:`Decoder.load` and :class:`Reader`."""
        decoder = Decoder.load(self.spec, quantization=quantization, dtype=dtype, device=torch.device(device))
        reader = Reader(decoder, self.template, max_length=max_length, layers=layers)
        return FrozenEmbedder(reader, pooling=self.pooling)


def find_decoder(model: str, *, template: str | None = None, pooling: str | None = None) -> FoundDecoder:
    """The decoder that a registry name, a hub id, a spec file, a folder or a .gguf file stands for.

    Args:
        model: one of these.
        template: what it reads, a name or text; default its spec's, without soft tokens.
        pooling: default its spec's, ``mean`` where that reads soft tokens.

    Raises:
        ConfigError: none of these, or a template or pooling that a decoder alone cannot be read with.
    """
    spec = resolve(model)
    own_template, own_pooling = without_soft_tokens(spec.template, spec.pooling)
    chosen = parse(
        FrozenReading, {"template": template or own_template, "pooling": pooling or own_pooling}, where=model
    )
    return FoundDecoder(spec, chosen.template, chosen.pooling)


def open_model(
    model: str,
    *,
    template: str | None = None,
    pooling: str | None = None,
    backbone: str | None = None,
    device: str = "cpu",
    readout: str | None = None,
) -> Embedder:
    """The embedder in a checkpoint or run folder, or a ready-made encoder or a plain decoder as one.

    A folder of sentence-transformers is read as it says itself; where a template or a pooling is given, as a decoder.

    Args:
        model: checkpoint or run folder, ``bundled``, a folder of sentence-transformers, or a decoder as
            :func:`find_decoder` takes it.
        template: for a decoder.
        pooling: for a decoder.
        backbone: where a checkpoint's decoder lies now.
        device: such as ``cpu``.
        readout: of a checkpoint, as :func:`transferkit.checkpoints.checkpoint.load` takes it.

    Raises:
        ConfigError: not to be found, or an option that belongs to the other kind.
    """
    if is_checkpoint(model):
        if template is not None or pooling is not None:
            raise ConfigError(
                f"{model}: --template and --pooling are for a decoder alone; a checkpoint reads as it was trained to"
            )
        return load(model, backbone=backbone, device=device, readout=readout)
    if backbone is not None:
        raise ConfigError(f"{model}: --backbone says where a checkpoint's decoder lies; {model} is a model itself")
    if readout not in (None, "none"):
        raise ConfigError(f"{model}: readout {readout}: a model without a checkpoint holds none; leave it away")
    if is_encoder(model) and template is None and pooling is None:
        return EncoderEmbedder.load(model, device=torch.device(device)).eval()
    return find_decoder(model, template=template, pooling=pooling).load(device=device)
