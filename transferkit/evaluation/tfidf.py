"""TF-IDF through mteb's interface: the floor under every row of an evaluation."""

import copy
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import mteb
import numpy as np
import numpy.typing as npt
from mteb.abstasks import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction

from transferkit.evaluation.encoder import TextEncoder
from transferkit.evaluation.meta import meta_name
from transferkit.evaluation.readings import TFIDF
from transferkit.methods.tfidf import Tfidf, unfitted

_MOST_BYTES = 4 * 2**30  # of the vectors of one call


class TfidfEncoder(TextEncoder):
    """Unit vectors with a dimension a word, the same as those of ``baseline --method tfidf``.

    Words and their weights are fitted, without labels, on the texts that a task embeds, queries and documents alike: a
    task of mteb brings no other texts. (A baseline fits them on the training texts of its recipe.)
    """

    method = "TF-IDF of the task's words"

    def __init__(self) -> None:
        self.name = TFIDF
        settings = json.dumps(unfitted().get_params(), sort_keys=True, default=str)
        super().__init__(_meta(revision=hashlib.sha256(settings.encode()).hexdigest()))
        self._heard: AbsTask | None = None
        self._texts: dict[str, list[str]] = {}  # task, or part of an aggregate -> its texts
        self._fitted: tuple[str, Tfidf] | None = None

    def prepare(self, task: AbsTask) -> None:
        """Hear which texts the task embeds: it is run once with vectors that mean nothing."""
        if task is self._heard:
            return
        listener: Any = _Listener(self.mteb_model_meta)  # its methods name no argument that they do not use
        mteb.evaluate(
            listener,
            copy.deepcopy(task),
            cache=None,
            encode_kwargs={"show_progress_bar": False},
            show_progress_bar=False,
            co2_tracker=False,
        )
        self._texts = {name: list(texts) for name, texts in listener.texts.items()}
        self._heard, self._fitted = task, None

    def _embed(self, texts: Sequence[str], instruction: str, batch_size: int, task: str) -> npt.NDArray[np.float32]:
        """Dense vectors (n, words), as mteb's scorers take them.

        Raises:
            MemoryError: there are too many.
        """
        self.texts += len(texts)
        if self._fitted is None or self._fitted[0] != task:
            self._fitted = (task, Tfidf(lambda: self._texts[task]))
        found = self._fitted[1].pooled(texts, [], batch_size=batch_size).astype(np.float32)
        size = 4 * found.shape[0] * found.shape[1]
        if size > _MOST_BYTES:
            raise MemoryError(
                f"{found.shape[0]:,} texts with {found.shape[1]:,} different words are {size / 2**30:.1f} GiB of "
                f"vectors, more than the {_MOST_BYTES / 2**30:g} GiB that TF-IDF may take"
            )
        dense: npt.NDArray[np.float32] = found.toarray()
        return dense


class _Listener(AbsEncoder):
    """Notes the texts of a task. It searches by itself, as scoring a ranking takes far longer than hearing it."""

    def __init__(self, meta: ModelMeta) -> None:
        self.mteb_model_meta = meta
        self.texts: dict[str, dict[str, None]] = {}
        self._document = ""
        self._random = np.random.default_rng(0)

    def encode(self, inputs: Any, *, task_metadata: TaskMetadata, **_: Any) -> npt.NDArray[np.float32]:
        """Two random numbers a text."""
        texts = [text for batch in inputs for text in batch["text"]]
        self._hear(task_metadata, texts)
        return self._random.standard_normal((len(texts), 2), dtype=np.float32)

    def index(self, corpus: Any, *, task_metadata: TaskMetadata, **_: Any) -> None:
        """Hear the documents."""
        self._document = corpus["id"][0]
        self._hear(task_metadata, _joined(corpus, "title", "text"))

    def search(self, queries: Any, *, task_metadata: TaskMetadata, **_: Any) -> dict[str, dict[str, float]]:
        """Hear the queries; each finds the first document."""
        self._hear(task_metadata, _joined(queries, "instruction", "text"))
        return {query: {self._document: 1.0} for query in queries["id"]}

    def _hear(self, task: TaskMetadata, texts: Sequence[str]) -> None:
        self.texts.setdefault(task.name, {}).update(dict.fromkeys(texts))


def _joined(rows: Any, *columns: str) -> list[str]:
    """One text a row, from those of the columns that are there."""
    there = [rows[column] for column in columns if column in rows.column_names]
    return [" ".join(str(value) for value in values) for values in zip(*there, strict=True)]


def _meta(*, revision: str) -> ModelMeta:
    return ModelMeta(
        loader=None,
        name=meta_name(TFIDF),
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=None,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=[],
        model_type=["sparse"],
        similarity_fn_name=ScoringFunction.DOT_PRODUCT,  # that of unit vectors: what cosine would be, at less memory
        use_instructions=False,
        training_datasets=None,
    )
