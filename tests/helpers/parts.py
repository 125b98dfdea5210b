"""Loaded parts of the tiny project, and small measures that the tests of the core share."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.tiny import Tiny
from transferkit.checkpoints.checkpoint import save
from transferkit.config.poolings import Pooling
from transferkit.config.sections import Reads
from transferkit.config.specs import BackboneSpec
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.probe import probe
from transferkit.decoder.reader import Reader
from transferkit.methods.base import Embedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import Alignment, random_start
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer
from transferkit.readout.readout import Readout

TEXTS = [
    "a red cat",
    "i see two cars in the water",
    "no",
    "i had to be with them as they were by the water",
    "a cat that was in the water is now on the red car but they do not see it",
    "he is by the car",
    "",
]
"""Seven lengths, one of them nothing."""


def load_prompting(folder: Path, **options: Any) -> PromptingLLM:
    return PromptingLLM.load(str(folder), **({"tokens": 3} | options))


def load_reader(folder: Path, *, spec: BackboneSpec | None = None, **options: Any) -> Reader:
    """The decoder in ``folder`` behind a template; ``options`` of :class:`Reader` and of :meth:`Decoder.load`."""
    of_decoder = {key: options.pop(key) for key in ("quantization", "dtype") if key in options}
    decoder = Decoder.load(spec or probe(str(folder)), **of_decoder)
    return Reader(decoder, **({"max_length": 24, "soft_tokens": 3} | options))


def prompt_embedder(
    tiny: Tiny,
    *,
    template: str = "{text}{soft}",
    pooling: Pooling = "soft",
    reads: Reads = "text",
    readout: Readout | None = None,
) -> PromptEmbedder:
    """The tiny project's Prompting LLM on its target, with a random W and offsets that are not zero."""
    prompting = load_prompting(tiny.prompting)
    reader = load_reader(tiny.target, template=template)
    start = random_start(prompting.token_table().detach(), reader.decoder.token_table(), seed=0)
    alignment = Alignment(start, tokens=3, offset=True)
    assert alignment.offset is not None
    nn.init.normal_(alignment.offset, std=0.1, generator=torch.Generator().manual_seed(1))
    return PromptEmbedder(Writer(prompting, reads=reads), alignment, reader, pooling=pooling, readout=readout)


def relative(value: Tensor, truth: Tensor) -> float:
    """Relative error in the norm; infinite where something is NaN."""
    error = float((value.detach().double() - truth.detach().double()).norm() / truth.detach().double().norm())
    return error if error == error else float("inf")


def ridge_regression(x: np.ndarray, y: np.ndarray, *, ridge: float = 0.1) -> np.ndarray:
    """W of ``x W = y`` in float64, c = ridge x mean diagonal of X'X: least squares augmented with sqrt(c) I, no X'X."""
    x, y = x.astype(float), y.astype(float)
    width = x.shape[1]
    c = ridge * np.square(x).sum() / width
    augmented = np.concatenate([x, np.sqrt(c) * np.eye(width)]), np.concatenate([y, np.zeros((width, y.shape[1]))])
    return np.asarray(np.linalg.lstsq(*augmented, rcond=None)[0])


def digests(module: nn.Module) -> dict[str, str]:
    """Name -> sha256 of every parameter and buffer, bit for bit."""
    return {
        name: hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, tensor in module.state_dict().items()
    }


def source_checkpoint(tiny: Tiny, folder: Path, *, backbone: Path | None = None, offsets: float = 0.0) -> Path:
    """A checkpoint such as ``train`` writes: the tiny Prompting LLM aligned with a backbone, untrained.

    ``backbone``: the tiny source where nothing is given. ``offsets``: their standard deviation.
    """
    prompting = load_prompting(tiny.prompting)
    reader = load_reader(backbone or tiny.source)
    start = random_start(prompting.token_table().detach(), reader.decoder.token_table(), seed=4)
    alignment = Alignment(start, tokens=3, offset=True)
    assert alignment.offset is not None
    nn.init.normal_(alignment.offset, std=offsets, generator=torch.Generator().manual_seed(2))
    embedder = PromptEmbedder(Writer(prompting), alignment, reader)
    save(embedder, folder, instructions={"intents": "find the cat", "pairs": "see"})
    return folder


def flip_bit(file: Path, *, at: int = -9) -> None:
    """Damage one bit of a file."""
    content = bytearray(file.read_bytes())
    content[at] ^= 4
    file.write_bytes(bytes(content))


def counted_texts(patch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of ``Embedder.encode`` gets from now on; the list grows."""
    counts: list[int] = []
    encode = Embedder.encode

    def counted(self: Embedder, texts: list[str], **options: Any) -> Any:
        counts.append(len(texts))
        return encode(self, texts, **options)

    patch.setattr(Embedder, "encode", counted)
    return counts
