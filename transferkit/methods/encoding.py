"""Texts -> finished vectors: what every method does with what it is given, whoever calls it."""

import os
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from transferkit.decoder.text_states import TextStateMemory
from transferkit.decoder.tokens import cut_in_words
from transferkit.errors import ConfigError, CutTextWarning, RunError
from transferkit.methods.described import Described
from transferkit.progress import texts_read
from transferkit.readout.readout import Readout

Side = Literal["query", "document"]  # of a training set: the anchors, or what belongs to them


class Encoding(Described):
    """The part of a method that users call.

    Attributes:
        readout: fitted after training; ``encode`` applies it, the loss never sees it.
        instructions: training set -> task instruction that a loaded checkpoint was trained with, of the anchors.
        document_instructions: the same of what the anchors belong to.
    """

    readout: Readout

    def __init__(self, readout: Readout) -> None:
        super().__init__()
        self.readout = readout
        self.instructions: dict[str, str] = {}
        self.document_instructions: dict[str, str] = {}
        self._told_of_cut = False
        self._begin_here()

    def _begin_here(self) -> None:
        self._one_at_a_time = threading.RLock()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_one_at_a_time", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._begin_here()

    def embed(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Tensor:
        """Pooled vectors (B, d), fp32, of any norm, with gradient where something is trainable.

        ``memory`` keeps what a frozen decoder has read of these texts, until they come again.
        """
        raise NotImplementedError

    def use_readout(self, readout: Readout) -> None:
        """Finish vectors by ``readout`` from now on."""
        self.readout = readout

    def remember(self, instructions: dict[str, str], document_instructions: dict[str, str]) -> None:
        """Take the instructions that it was trained with."""
        self.instructions, self.document_instructions = instructions, document_instructions

    def usual_instruction(self, side: Side = "query") -> str:
        """The one that it was trained with on this side, where it was one alone; else none."""
        known = set((self.instructions if side == "query" else self.document_instructions).values())
        return known.pop() if len(known) == 1 else ""

    def document_instruction(self, instruction: str) -> str:
        """What documents are read with where questions are read with ``instruction``.

        As in the training sets that had it; where none had, the same, unless all had another one for documents.
        """
        trained = {self.document_instructions[name] for name, one in self.instructions.items() if one == instruction}
        if len(trained) == 1:
            return trained.pop()
        alike = any(self.document_instructions[name] == one for name, one in self.instructions.items())
        return instruction if trained or alike or not self.instructions else self.usual_instruction("document")

    @property
    def has_sides(self) -> bool:
        """Whether a text without an instruction of its own has another vector as a question than as a document."""
        return self.reads_instruction and self.usual_instruction("query") != self.usual_instruction("document")

    def encode(
        self,
        texts: Iterable[str],
        *,
        instruction: str | Iterable[str] | None = None,
        side: Side = "query",
        batch_size: int = 64,
        readout: bool = True,
    ) -> np.ndarray:
        """Finished vectors of ``texts`` in their order: pooled, read out, unit norm.

        Threads may share an embedder: they take turns. A process has its own, loaded there or sent to it by spawn; one
        that came by fork is refused where torch has more than one thread. The first call that has to cut texts warns
        with numbers.

        Args:
            texts: a list, a column of a table, an array, a generator, in the order in which they come. Any length; rows
                are sorted by length inside, which changes no vector beyond rounding.
            instruction: the task's, for all texts or one for each. None: the one that the checkpoint was trained with
                on this ``side``, where it was one alone; else none.
            side: ``query`` for questions and whatever else was an anchor, ``document`` for what is to be found.
            batch_size: texts a forward pass.
            readout: False leaves the readout away (unit norm of the pooled vector).

        Returns:
            (n, d) float32.

        Raises:
            ConfigError: a single string instead of a list, something that has no order or is no text, not one
                instruction a text, or another side or size than there are.
            RunError: a vector that is not finite, or an embedder that came by fork.
        """
        texts = _listed(texts, "texts")
        check_side(side)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"encode: batch_size: expected a whole number of at least 1, got {batch_size!r}")
        if instruction is None:
            instruction = self.usual_instruction(side)
        if isinstance(instruction, str):
            instructions = [instruction] * len(texts)
        else:
            instructions = _listed(instruction, "instructions")
        if len(instructions) != len(texts):
            got = f"{len(instructions)} instructions for {len(texts)} texts"
            raise ConfigError(f"encode: got {got}; pass one for all, or one for each")
        vectors = self._finished(self.pooled(texts, instructions, batch_size=batch_size), readout=readout)
        check_finite(vectors)
        if not self._told_of_cut and (said := cut_in_words(self.cut_texts())):
            self._told_of_cut = True
            warnings.warn("; ".join(said), CutTextWarning, stacklevel=2)
        return vectors

    def _finished(self, vectors: Any, *, readout: bool) -> np.ndarray:
        finish = self.readout if readout else Readout.plain(0)
        return finish(vectors.to(self.device)).cpu().numpy()

    @torch.no_grad()
    def pooled(
        self,
        texts: Sequence[str],
        instructions: Sequence[str],
        *,
        batch_size: int,
        memory: TextStateMemory | None = None,
    ) -> Any:
        """Pooled vectors (n, d) on the CPU, without gradient, in the order of ``texts``; one thread at a time."""
        if os.getpid() != self._process and torch.get_num_threads() > 1:
            raise RunError(
                "this embedder came to this process by fork, where torch's threads do not run and it would wait for "
                "them for ever; start workers with spawn, load it in each, or call torch.set_num_threads(1) in them"
            )
        with self._one_at_a_time:
            return self._pooled(texts, instructions, batch_size=batch_size, memory=memory)

    def _pooled(
        self, texts: Sequence[str], instructions: Sequence[str], *, batch_size: int, memory: TextStateMemory | None
    ) -> Any:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        result: Tensor | None = None
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            some, tasks = [texts[i] for i in chosen], [instructions[i] for i in chosen]
            vectors = self.embed(some, tasks, memory=memory).cpu()
            if result is None:
                result = torch.empty(len(texts), vectors.shape[1])
            result[chosen] = vectors
            texts_read(len(chosen))
        return torch.zeros(0, self.readout.takes) if result is None else result

    @property
    def device(self) -> torch.device:
        """Where vectors are computed and read out."""
        return self.readout.mean.device


def check_side(side: str) -> None:
    """Refuse a side that there is not.

    Raises:
        ConfigError: says which there are.
    """
    if side not in get_args(Side):
        raise ConfigError(f"side: expected one of {', '.join(get_args(Side))}, got {side!r}")


class NotFiniteError(RunError):
    """A vector that holds NaN or infinity; ``row`` is its text's place, from 0."""

    def __init__(self, row: int, *, name: str) -> None:
        self.row = row
        super().__init__(
            f"{name}: its vector holds NaN or infinity; use float32 (train again with precision: float32, or read a "
            "frozen backbone with --precision float32)"
        )


def check_finite(vectors: np.ndarray, *, what: str = "encode: text") -> None:
    """Refuse vectors (n, d) that hold NaN or infinity; ``what`` opens the message, before the row's number.

    Raises:
        NotFiniteError: of the first one.
    """
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise NotFiniteError(int(wrong[0]), name=f"{what} {wrong[0]}")


def _listed(given: Iterable[str], what: str) -> list[str]:
    """Texts in the order in which they come; what has no order, or would come as something else, is refused."""
    one = what.removesuffix("s")
    if isinstance(given, str):
        raise ConfigError(f"encode: expected a list of {what}, got one {one}; write encode([text])")
    # A table would give the names of its columns.
    if isinstance(given, bytes | Mapping | AbstractSet) or hasattr(given, "columns"):
        got = type(given).__name__
        raise ConfigError(f"encode: expected {what} in an order, got a {got}; pass a list, or one column of a table")
    try:
        listed = list(given)
    except TypeError:
        raise ConfigError(f"encode: expected a list of {what}, got {given!r}") from None
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise ConfigError(f"encode: {one} {i}: expected text, got {' '.join(repr(text)[:60].split())}")
    return listed
