"""What a user may call a model: a checkpoint, a run folder or a plain decoder -> the embedder it is."""

from pathlib import Path

import torch

from transferkit.backbone import FrozenBackbone
from transferkit.baselines import FrozenEmbedder
from transferkit.checkpoint import load
from transferkit.embedder import Embedder
from transferkit.errors import ConfigError
from transferkit.probe import resolve
from transferkit.recipes import FrozenSection
from transferkit.resources import BUNDLED
from transferkit.schema import parse
from transferkit.template import Template


def open_model(
    model: str,
    *,
    template: str | None = None,
    pooling: str | None = None,
    backbone: str | None = None,
    device: str = "cpu",
) -> Embedder:
    """The embedder in a checkpoint or run folder, or a plain decoder as one.

    Args:
        model: checkpoint or run folder, ``bundled``, or a decoder: registry name, hub id or folder.
        template: what a decoder reads, a name or text; default its spec's, without soft tokens.
        pooling: for a decoder; default its spec's, ``mean`` where that reads soft tokens.
        backbone: where a checkpoint's decoder lies now.
        device: such as ``cpu``.

    Raises:
        ConfigError: not to be found, or an option that belongs to the other kind.
    """
    folder = Path(model)
    if folder == BUNDLED or (folder.is_dir() and not (folder / "config.json").is_file()):
        if template is not None or pooling is not None:
            raise ConfigError(
                f"{model}: --template and --pooling are for a decoder alone; a checkpoint reads as it was trained to"
            )
        return load(folder, backbone=backbone, device=device)
    if backbone is not None:
        raise ConfigError(f"{model}: --backbone says where a checkpoint's decoder lies; {model} is a decoder itself")
    spec = resolve(model)
    choice = {
        "templates": [template or Template.parse(spec.template).without_soft().source],
        "poolings": [pooling or ("mean" if spec.pooling == "soft" else spec.pooling)],
    }
    chosen = parse(FrozenSection, choice, where=model)
    frozen = FrozenBackbone.load(spec, template=chosen.templates[0], device=torch.device(device))
    return FrozenEmbedder(frozen, pooling=chosen.poolings[0])
