"""Any embedder as an encoder of mteb: the same vectors as ``embed``, real metadata, instructions by task and role."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from mteb.abstasks.abstask import get_abstask_prompt
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from mteb.types import Licenses, PromptType

from transferkit.baselines import PromptingAlone
from transferkit.checkpoint import describe
from transferkit.embedder import BackboneEmbedder, Embedder, PromptEmbedder
from transferkit.errors import RunError
from transferkit.identity import tokenizer_sha256
from transferkit.loading import input_embeddings, num_parameters

_BATCHES_PER_BLOCK = 16  # between two steps of the progress bar
_DOCUMENT = "-document"  # ends the key of an instruction for documents


class MtebEncoder(AbsEncoder):
    """An :class:`Embedder` behind mteb's interface.

    Args:
        embedder: any method.
        name: of the model in result files and tables, without an organisation.
        method: how it embeds, for tables.
        instructions: ``TASK`` or task type -> instruction of its texts and queries; ``TASK-document`` or
            ``TYPE-document`` -> of its documents.
        licence: of the weights, where it is known.

    Attributes:
        texts: different texts embedded since the encoder was made.
        seconds: time spent on them.
        on_progress: called with the texts done and in all of the present call.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        name: str,
        method: str = "",
        instructions: Mapping[str, str] | None = None,
        licence: str | None = None,
    ) -> None:
        self.embedder = embedder.eval()
        self.name = name
        self.method = method
        self.instructions = dict(instructions or {})
        self.mteb_model_meta: ModelMeta = model_meta(embedder, name=name, licence=licence)
        self.texts = 0
        self.seconds = 0.0
        self.on_progress: Callable[[int, int], None] = lambda done, total: None

    @property
    def revision(self) -> str:
        """See :func:`revision`."""
        return str(self.mteb_model_meta.revision)

    def instruction(self, task: TaskMetadata, prompt_type: PromptType | None) -> str:
        """The instruction of a task's texts, or of its documents; empty where the embedder reads none."""
        if not reads_instruction(self.embedder):
            return ""
        return instruction_for(task, prompt_type, given=self.instructions, trained=self.embedder.instructions)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        batch_size: int = 64,
        **_: Any,
    ) -> npt.NDArray[np.float32]:
        """Vectors (n, d) of unit norm for the texts of a data loader, in their order.

        Each different text is embedded once; texts of like length share a batch.

        Raises:
            RunError: a vector that is not finite, or memory that does not suffice.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        unique = sorted(dict.fromkeys(texts), key=len, reverse=True)
        started = perf_counter()
        vectors = self._embed(unique, self.instruction(task_metadata, prompt_type), batch_size, task_metadata.name)
        self.seconds += perf_counter() - started
        self.texts += len(unique)
        place = {text: i for i, text in enumerate(unique)}
        return vectors[[place[text] for text in texts]]

    def _embed(self, texts: Sequence[str], instruction: str, batch_size: int, task: str) -> npt.NDArray[np.float32]:
        """Vectors of texts that are sorted by length already, so that blocks of them are as cheap as all at once."""
        blocks = [self.embedder.encode([])]
        step = _BATCHES_PER_BLOCK * batch_size
        self.on_progress(0, len(texts))
        for start in range(0, len(texts), step):
            block = texts[start : start + step]
            try:
                vectors = self.embedder.encode(block, instruction=instruction, batch_size=batch_size)
            except torch.OutOfMemoryError:
                raise RunError(
                    f"{task}: out of memory at {batch_size} texts a forward pass; the tasks before are kept, go on "
                    f"with --batch-size {max(1, batch_size // 2)}"
                ) from None
            if not np.isfinite(vectors).all():
                text = block[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
                raise RunError(f"{task}: the vector of {text[:60]!r} holds NaN or infinity; use another dtype")
            blocks.append(vectors)
            self.on_progress(start + len(block), len(texts))
        return np.concatenate(blocks)


def instruction_for(
    task: TaskMetadata, prompt_type: PromptType | None, *, given: Mapping[str, str], trained: Mapping[str, str]
) -> str:
    """The instruction that texts of a task are embedded with.

    The first that exists: the one given for the task, for its type, the one that the checkpoint was trained with
    under the task's name, the task's own prompt in mteb, mteb's prompt for tasks of that type. Documents of retrieval
    and reranking get the one given for them or, where mteb's task has a prompt for documents, that; else none.

    Args:
        task: mteb's description of the task.
        prompt_type: what mteb says of these texts.
        given: ``TASK`` or type, with ``-document`` for documents -> instruction.
        trained: training set -> instruction.
    """
    document = prompt_type == PromptType.document
    for name in (task.name, task.type):
        if (key := f"{name}{_DOCUMENT}" if document else name) in given:
            return given[key]
    prompt = task.prompt
    if document:
        return prompt.get("document", "") if isinstance(prompt, dict) else ""
    if task.name in trained:
        return trained[task.name]
    own = prompt.get("query") if isinstance(prompt, dict) else prompt
    return own or get_abstask_prompt(task.name)


def instruction_keys(tasks: Sequence[TaskMetadata]) -> list[str]:
    """The keys that :func:`instruction_for` looks up for any of these tasks."""
    names = dict.fromkeys(name for task in tasks for name in (task.name, task.type))
    return [f"{name}{ending}" for ending in ("", _DOCUMENT) for name in names]


def reads_instruction(embedder: Embedder) -> bool:
    """Whether an instruction can change a vector: a Prompting LLM reads it, or the template holds it."""
    if isinstance(embedder, PromptEmbedder | PromptingAlone):
        return True
    return isinstance(embedder, BackboneEmbedder) and "{instruction}" in embedder.backbone.template.parts


def model_meta(embedder: Embedder, *, name: str, licence: str | None = None) -> ModelMeta:
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
        name=f"transferkit/{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.') or 'model'}",
        revision=revision(embedder),
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


def revision(embedder: Embedder) -> str:
    """Hash of every weight and setting that a vector depends on, the text and its instruction left aside.

    mteb looks up old scores by name and revision alone, so nothing may change a vector and leave this as it is. Where
    the files lie does not matter.
    """
    facts = describe(embedder)
    facts.pop("instructions", None)
    if "backbone" in facts:
        backbone = facts["backbone"]
        identity = {key: backbone["identity"][key] for key in ("config_sha256", "tokenizer_sha256")}
        facts["backbone"] = backbone | {"spec": backbone["spec"]["tokenizer"], "identity": identity}
    if isinstance(embedder, PromptEmbedder | PromptingAlone):
        facts["prompting_tokenizer_sha256"] = tokenizer_sha256(embedder.writer.prompting.encoder.tokenizer)
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(embedder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
