"""One pass over texts for several poolings of a loaded method: a text is read once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.methods.base import Embedder
from transferkit.methods.on_backbone import SeveralPoolings

_KEEP_BYTES = 2**30  # vectors of one task's texts that a shared pass keeps


class SharedPass:
    """One pass over texts for several poolings of one method behind one template.

    Pooled vectors are kept until :meth:`begin` names another task, up to a budget; beyond it texts are read again for
    each pooling: slower, never an error.

    Args:
        views: what :meth:`Embedder.reread` gave for one template, each with another pooling.
        keep_bytes: the budget.
    """

    def __init__(self, views: Sequence[Embedder], *, keep_bytes: int = _KEEP_BYTES) -> None:
        self.reader = SeveralPoolings(views[0], poolings=[str(view.pooling) for view in views]).eval()
        self.reads_instruction = any(view.reads_instruction for view in views)
        self.keep_bytes = keep_bytes
        self._task: str | None = None
        self._used_bytes = 0
        self._kept: dict[tuple[str, str], Tensor] = {}  # (instruction, text) -> what the poolings are made of

    def begin(self, task: str) -> None:
        """Forget the texts of any other task."""
        if task != self._task:
            self._task, self._used_bytes, self._kept = task, 0, {}

    def unread(self, texts: Sequence[str], *, instruction: str) -> int:
        """How many of the texts are not kept."""
        return sum((instruction, text) not in self._kept for text in texts)

    def encode(
        self, texts: Sequence[str], *, pooling: str, instruction: str, batch_size: int
    ) -> npt.NDArray[np.float32]:
        """Unit vectors (n, d) of different texts in their order, as the view of ``pooling`` encodes them."""
        new = [text for text in texts if (instruction, text) not in self._kept]
        read = self.reader.pooled(new, [instruction] * len(new), batch_size=batch_size)
        fresh = {(instruction, text): vector for text, vector in zip(new, read, strict=True)}
        if self._used_bytes + read.nbytes <= self.keep_bytes:
            self._kept |= fresh
            self._used_bytes += read.nbytes
        keys = [(instruction, text) for text in texts]
        vectors = [fresh[key] if key in fresh else self._kept[key] for key in keys]
        every = torch.stack(vectors) if vectors else torch.zeros(0, len(self.reader.readout.mean))
        own = self.reader.part(every, pooling).to(self.reader.method.device)
        return self.reader.method.readout(own).cpu().numpy()
