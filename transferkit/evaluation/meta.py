"""What mteb's result files say of a model: real metadata, and a revision that changes with every vector."""

import hashlib
import json
import re
from typing import get_args

import torch
from mteb.models import ModelMeta
from mteb.models.model_meta import ScoringFunction
from mteb.types import Licenses

from transferkit.checkpoints.checkpoint import describe
from transferkit.checkpoints.instructions import reads_instruction
from transferkit.decoder.identity import tokenizer_sha256
from transferkit.decoder.loading import input_embeddings, num_parameters
from transferkit.methods.baselines import PromptingAlone
from transferkit.methods.embedder import BackboneEmbedder, Embedder, PromptEmbedder


def model_meta(embedder: Embedder, *, name: str, licence: str | None = None, weights: str | None = None) -> ModelMeta:
    """What result files say of the model. Its revision is :func:`revision`."""
    parameters = list(embedder.parameters())
    if isinstance(embedder, BackboneEmbedder):
        tables = [input_embeddings(embedder.backbone.trunk)]
        max_tokens = embedder.backbone.rows.max_length
    else:
        assert isinstance(embedder, PromptingAlone)
        tables = []
        max_tokens = embedder.writer.prompting.max_length
    if isinstance(embedder, PromptEmbedder | PromptingAlone):
        tables.append(input_embeddings(embedder.writer.prompting.model))
    spdx = (licence or "").lower()
    return ModelMeta(
        loader=None,
        name=meta_name(name),
        revision=revision(embedder, weights=weights),
        release_date=None,
        languages=None,
        n_parameters=num_parameters(parameters),
        n_embedding_parameters=sum(table.weight.numel() for table in tables),
        memory_usage_mb=round(sum(p.numel() * p.element_size() for p in parameters) / 2**20, 3),
        max_tokens=max_tokens,
        embed_dim=embedder.readout.mean.shape[0],
        license=spdx if spdx in get_args(Licenses) else None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch", "Transformers"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=reads_instruction(embedder),
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
    facts = describe(embedder)
    if isinstance(embedder, BackboneEmbedder):
        backbone = facts["backbone"]
        identity = {key: backbone["identity"][key] for key in ("config_sha256", "tokenizer_sha256")}
        # Of the spec, only what its tokenizer does; where its positions cut a text is in what they leave for one.
        facts["backbone"] = backbone | {
            "spec": backbone["spec"]["tokenizer"],
            "identity": identity,
            "text_tokens": embedder.backbone.rows.max_length,
        }
    if isinstance(embedder, PromptEmbedder | PromptingAlone):
        facts["prompting_tokenizer_sha256"] = tokenizer_sha256(embedder.writer.prompting.encoder.tokenizer)
    facts["weights_sha256"] = weights or state_sha256(embedder)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def state_sha256(embedder: Embedder) -> str:
    """Hash of every parameter and buffer, bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(embedder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
