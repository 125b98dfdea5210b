"""Any embedder as an encoder of mteb: the same vectors as ``embed``, instructions by task and role."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mteb.abstasks import AbsTask
from mteb.abstasks.abstask import get_abstask_prompt
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType

from transferkit.embedder import BackboneEmbedder, Embedder
from transferkit.errors import RunError
from transferkit.mteb_meta import model_meta, reads_instruction
from transferkit.reread import SharedPass
from transferkit.specs import Pooling
from transferkit.template_files import template_name

_BATCHES_PER_BLOCK = 16  # between two steps of the progress bar
_DOCUMENT = "-document"  # ends the key of an instruction for documents


class TextEncoder(AbsEncoder):
    """What every encoder of texts has behind mteb's interface.

    Attributes:
        name: of the model in result files and tables, without an organisation.
        method: how it embeds, for tables.
        template: its name, or its text; None where there is none.
        pooling: None where there is none.
        device: where it computes.
        texts: different texts embedded since the encoder was made.
        seconds: time spent on them.
        on_progress: called with the texts done and in all of the present call.
    """

    name: str
    method: str
    template: str | None = None
    pooling: Pooling | None = None
    device: str = "cpu"

    def __init__(self, meta: ModelMeta) -> None:
        self.mteb_model_meta: ModelMeta = meta
        self.texts = 0
        self.seconds = 0.0
        self.on_progress: Callable[[int, int], None] = lambda done, total: None

    @property
    def revision(self) -> str:
        """Hash of all that a vector depends on, the text and its instruction left aside."""
        return str(self.mteb_model_meta.revision)

    def instruction(self, task: TaskMetadata, prompt_type: PromptType | None) -> str:
        """The instruction of a task's texts, or of its documents; empty where none is read."""
        return ""

    def prepare(self, task: AbsTask) -> None:
        """Called before a task is run."""

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
        """Unit vectors (n, d) for the texts of a data loader, in their order.

        Each different text is embedded once; texts of like length share a batch.

        Raises:
            RunError: a vector that is not finite, or memory that does not suffice.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        unique = sorted(dict.fromkeys(texts), key=len, reverse=True)
        started = perf_counter()
        vectors = self._embed(unique, self.instruction(task_metadata, prompt_type), batch_size, task_metadata.name)
        self.seconds += perf_counter() - started
        place = {text: i for i, text in enumerate(unique)}
        return vectors[[place[text] for text in texts]]

    def _embed(self, texts: Sequence[str], instruction: str, batch_size: int, task: str) -> npt.NDArray[np.float32]:
        """Vectors of different texts, longest first; adds to :attr:`texts`."""
        raise NotImplementedError


class MtebEncoder(TextEncoder):
    """An :class:`Embedder` behind mteb's interface.

    Args:
        embedder: any method.
        name: see :class:`TextEncoder`.
        method: see there.
        instructions: ``TASK`` or task type -> instruction of its texts and queries; ``TASK-document`` or
            ``TYPE-document`` -> of its documents.
        licence: of the weights, where it is known.
        shared: reads the texts, where the embedder is one of its views. Then :attr:`texts` are those that were
            not read for another view already.
        weights: :func:`transferkit.mteb_meta.state_sha256` of the embedder, where it is known.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        name: str,
        method: str = "",
        instructions: Mapping[str, str] | None = None,
        licence: str | None = None,
        shared: SharedPass | None = None,
        weights: str | None = None,
    ) -> None:
        super().__init__(model_meta(embedder, name=name, licence=licence, weights=weights))
        self.embedder = embedder.eval()
        self.name = name
        self.method = method
        self.instructions = dict(instructions or {})
        self.shared = shared
        self.device = str(embedder.device)
        if isinstance(embedder, BackboneEmbedder):
            self.template = template_name(embedder.backbone.template.source, soft=True)
            self.pooling = embedder.pooling

    def instruction(self, task: TaskMetadata, prompt_type: PromptType | None) -> str:
        """See :func:`instruction_for`."""
        if not reads_instruction(self.embedder):
            return ""
        return instruction_for(task, prompt_type, given=self.instructions, trained=self.embedder.instructions)

    def prepare(self, task: AbsTask) -> None:
        """A shared pass keeps the texts of one task."""
        if self.shared is not None:
            self.shared.begin(task.metadata.name)

    def _embed(self, texts: Sequence[str], instruction: str, batch_size: int, task: str) -> npt.NDArray[np.float32]:
        """Vectors of texts that are sorted by length already, so that blocks of them are as cheap as all at once."""
        self.texts += len(texts) if self.shared is None else self.shared.unread(texts, instruction=instruction)
        blocks = [self.embedder.encode([])]
        step = _BATCHES_PER_BLOCK * batch_size
        self.on_progress(0, len(texts))
        for start in range(0, len(texts), step):
            block = texts[start : start + step]
            try:
                vectors = self._read(block, instruction, batch_size)
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

    def _read(self, texts: Sequence[str], instruction: str, batch_size: int) -> npt.NDArray[np.float32]:
        if self.shared is None or self.pooling is None:
            return self.embedder.encode(texts, instruction=instruction, batch_size=batch_size)
        return self.shared.encode(texts, pooling=self.pooling, instruction=instruction, batch_size=batch_size)


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
