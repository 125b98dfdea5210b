"""Any embedder as an encoder of mteb: the same vectors as ``embed``, instructions by task and role."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from mteb.abstasks import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType

from transferkit.config.template import template_name
from transferkit.decoder.tokens import CutTexts
from transferkit.embed.files import in_blocks
from transferkit.evaluation.instructions import Instructions
from transferkit.evaluation.meta import model_meta
from transferkit.evaluation.shared_pass import SharedPass
from transferkit.methods.base import Embedder


class TextEncoder(AbsEncoder):
    """What every encoder of texts has behind mteb's interface.

    Attributes:
        name: of the model in result files and tables, without an organisation.
        method: how it embeds, for tables.
        template: its name, or its text; None where there is none.
        pooling: None where there is none.
        device: where it computes.
        precision: in which it computes; None where no model does.
        shares: whether texts that were read for another encoder of its group are not read again.
        given: texts that it was given since it was made, equal ones counted again.
        texts: different texts read since the encoder was made.
        seconds: time spent on them.
        on_progress: called with the texts done and in all of the present call.
    """

    name: str
    method: str
    template: str | None = None
    pooling: str | None = None
    device: str = "cpu"
    precision: str | None = None
    shares: bool = False

    def __init__(self, meta: ModelMeta) -> None:
        self.mteb_model_meta: ModelMeta = meta
        self.given = 0
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

    def take_cut_texts(self) -> list[CutTexts]:
        """What its models had to cut since the last call."""
        return []

    def _read_with(self, task: TaskMetadata, prompt_type: PromptType | None) -> str:
        """The instruction that its texts are given to the model with."""
        return self.instruction(task, prompt_type)

    def prepare(self, task: AbsTask) -> None:
        """Called before a task is run, for an aggregate before each of its parts that is run."""

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
        self.given += len(texts)
        unique = sorted(dict.fromkeys(texts), key=len, reverse=True)
        started = perf_counter()
        vectors = self._embed(unique, self._read_with(task_metadata, prompt_type), batch_size, task_metadata.name)
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
        instructions: those that are given, see :class:`Instructions`.
        licence: of the weights, where it is known.
        shared: reads the texts, where the embedder is one of its views. Then :attr:`texts` are those that were
            not read for another view already.
        weights: :func:`transferkit.evaluation.meta.state_sha256` of the embedder, where it is known.
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
        self.instructions = Instructions(instructions or {}, embedder.instructions, embedder.document_instructions)
        self.shared = shared
        self.shares = shared is not None
        self.device = str(embedder.device)
        description = embedder.describe()
        for part, key in (("backbone", "dtype"), ("prompting", "precision"), ("encoder", "precision")):
            if part in description:
                self.precision = description[part][key]
                break
        if embedder.template is not None:
            self.template = template_name(embedder.template, soft=True)
            self.pooling = embedder.pooling

    def instruction(self, task: TaskMetadata, prompt_type: PromptType | None) -> str:
        """See :meth:`Instructions.of`."""
        return self.instructions.of(task, prompt_type) if self.embedder.reads_instruction else ""

    def _read_with(self, task: TaskMetadata, prompt_type: PromptType | None) -> str:
        """One that reads none takes that of the pass that it shares, so that its texts are not read again."""
        shares = self.shared is not None and self.shared.reads_instruction
        return self.instructions.of(task, prompt_type) if shares else self.instruction(task, prompt_type)

    def take_cut_texts(self) -> list[CutTexts]:
        """Of the embedder, or of the pass that it shares."""
        reader = self.embedder if self.shared is None else self.shared.reader
        return [one.take() for one in reader.cut_texts()]

    def prepare(self, task: AbsTask) -> None:
        """A shared pass keeps the texts of one task."""
        if self.shared is not None:
            self.shared.begin(task.metadata.name)

    def _embed(self, texts: Sequence[str], instruction: str, batch_size: int, task: str) -> npt.NDArray[np.float32]:
        """Vectors of texts that are sorted by length already, so that blocks of them are as cheap as all at once."""
        self.texts += len(texts) if self.shared is None else self.shared.unread(texts, instruction=instruction)
        found, done = [self.embedder.encode([])], 0
        self.on_progress(done, len(texts))
        blocks = in_blocks(
            texts,
            lambda block: self._read(block, instruction, batch_size),
            batch_size=batch_size,
            kept=lambda: "the tasks before are kept, go on with",
            where=f"{task}: ",
        )
        for _, vectors in blocks:
            found.append(vectors)
            done += len(vectors)
            self.on_progress(done, len(texts))
        return np.concatenate(found)

    def _read(self, texts: Sequence[str], instruction: str, batch_size: int) -> npt.NDArray[np.float32]:
        if self.shared is None or self.pooling is None:
            return self.embedder.encode(texts, instruction=instruction, batch_size=batch_size)
        return self.shared.encode(texts, pooling=self.pooling, instruction=instruction, batch_size=batch_size)
