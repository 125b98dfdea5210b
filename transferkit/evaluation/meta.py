"""What mteb's result files say of a model: real metadata, and a revision that changes with every vector."""

import hashlib
import json
import re
from typing import get_args

import torch
from mteb.models import ModelMeta
from mteb.models.model_meta import ScoringFunction
from mteb.types import Licenses

from transferkit.decoder.loading import num_parameters
from transferkit.methods.base import Embedder


def model_meta(embedder: Embedder, *, name: str, licence: str | None = None, weights: str | None = None) -> ModelMeta:
    """What result files say of the model. Its revision is :func:`revision`."""
    parameters = list(embedder.parameters())
    spdx = (licence or "").lower()
    return ModelMeta(
        loader=None,
        name=meta_name(name),
        revision=revision(embedder, weights=weights),
        release_date=None,
        languages=None,
        n_parameters=num_parameters(parameters),
        n_embedding_parameters=sum(table.weight.numel() for table in embedder.token_tables()),
        memory_usage_mb=round(sum(p.numel() * p.element_size() for p in parameters) / 2**20, 3),
        max_tokens=embedder.max_tokens,
        embed_dim=embedder.readout.mean.shape[0],
        license=spdx if spdx in get_args(Licenses) else None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch", "Transformers"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=embedder.reads_instruction,
        training_datasets=None,
    )


def meta_name(name: str) -> str:
    """A model's name as mteb wants it, with an organisation."""
    return f"transferkit/{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.') or 'model'}"


def revision(embedder: Embedder, *, weights: str | None = None) -> str:
    """Hash of every weight and setting that a vector depends on, the text and its instruction left aside.

    mteb looks up old scores by name and revision alone, so nothing may change a vector and leave this as it is. Where
    the files lie does not matter.

    Args:
        embedder: any method.
        weights: its :func:`state_sha256`, where it is known.
    """
    facts = embedder.fingerprint()
    facts["weights_sha256"] = weights or state_sha256(embedder)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def state_sha256(embedder: Embedder) -> str:
    """Hash of every parameter and buffer, bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(embedder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
