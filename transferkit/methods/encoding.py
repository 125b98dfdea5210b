"""Texts -> finished vectors: what every method does with what it is given, whoever calls it."""

import os
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from transferkit.decoder.text_states import TextStateMemory
from transferkit.decoder.tokens import cut_in_words
from transferkit.errors import ConfigError, CutTextWarning, RunError
from transferkit.files.text_files import listed_texts
from transferkit.files.vectors.finite import check_finite
from transferkit.files.vectors.precision import Precision
from transferkit.methods.described import Described, Side, check_side
from transferkit.progress import Work, texts_read
from transferkit.readout.bridged import Bridged
from transferkit.readout.form import Form, Kind, cosines
from transferkit.readout.readout import Readout


class Options(TypedDict, total=False):
    """What :meth:`Encoding.encode` takes beside texts, their side and the kind of its result."""

    instruction: str | Iterable[str] | None
    batch_size: int
    readout: bool
    normalize_embeddings: bool
    show_progress_bar: bool | None
    precision: Precision
    truncate_dim: int | None
    ranges: npt.ArrayLike | None


class Encoding(Described):
    """The part of a method that users call.

    Attributes:
        readout: fitted after training; ``encode`` applies it, the loss never sees it.
    """

    readout: Readout

    def __init__(self, readout: Readout) -> None:
        super().__init__()
        self.readout = readout
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

    @overload
    def encode(
        self,
        texts: Iterable[str],
        *,
        convert_to_tensor: Literal[True],
        convert_to_numpy: bool = ...,
        side: Side = ...,
        **options: Unpack[Options],
    ) -> Tensor: ...
    @overload
    def encode(
        self, texts: Iterable[str], *, convert_to_numpy: Literal[False], side: Side = ..., **options: Unpack[Options]
    ) -> list[Tensor]: ...
    @overload
    def encode(self, texts: Iterable[str], *, side: Side = ..., **options: Unpack[Options]) -> np.ndarray: ...
    def encode(
        self,
        texts: Iterable[str],
        *,
        instruction: str | Iterable[str] | None = None,
        side: Side = "query",
        batch_size: int = 64,
        readout: bool = True,
        normalize_embeddings: bool = True,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        show_progress_bar: bool | None = None,
        precision: Precision = "float32",
        truncate_dim: int | None = None,
        ranges: npt.ArrayLike | None = None,
    ) -> Any:
        """Finished vectors of ``texts`` in their order: pooled, read out, unit norm.

        Names are those of sentence-transformers, and so are the bytes of every precision but ``float16``.

        Threads may share an embedder: they take turns. A process has its own, loaded there or sent to it by spawn; one
        that came by fork is refused where torch has more than one thread. The first call that has to cut texts warns
        with numbers.

        Args:
            texts: a list, a column of a table, an array, a generator, in the order in which they come. Any length; rows
                are sorted by length inside, which changes no vector beyond rounding. One string gives one vector.
            instruction: the task's, for all texts or one for each. None: the one that the checkpoint was trained with
                on this ``side``, where it was one alone; else none.
            side: ``query`` for questions and whatever else was an anchor, ``document`` for what is to be found.
            batch_size: texts a forward pass.
            readout: False leaves the readout away (unit norm of the pooled vector).
            normalize_embeddings: False leaves the last unit norm away.
            convert_to_numpy: False gives a list with a tensor a vector.
            convert_to_tensor: one tensor on :attr:`device` instead of an array.
            show_progress_bar: a bar in a terminal, else a line every 30 seconds, on standard error.
            precision: of the numbers, see :mod:`transferkit.files.vectors.precision`.
            truncate_dim: columns that are kept, those that count most first; they have unit length again.
            ranges: (2, d) for ``int8`` and ``uint8``, such as a file of vectors has; None: those of these vectors.

        Returns:
            (n, d) float32, where nothing else was asked for; of one string (d,).

        Raises:
            ConfigError: something that has no order or is no text, not one instruction a text, another side, size or
                precision than there are, steps that one text alone cannot give, or vectors in another space without
                the readout.
            RunError: a vector that is not finite, or an embedder that came by fork.
        """
        kind: Kind = "tensor" if convert_to_tensor else "numpy" if convert_to_numpy else "list"
        form = Form(kind, precision, truncate_dim, normalize_embeddings, ranges)
        given = [texts] if isinstance(texts, str) else listed_texts(texts, "texts")
        found = self._encoded(given, instruction, side, batch_size, readout, form, show=bool(show_progress_bar))
        return found[0] if isinstance(texts, str) else found

    def _encoded(
        self,
        texts: list[str],
        instruction: str | Iterable[str] | None,
        side: Side,
        batch_size: int,
        readout: bool,
        form: Form,
        *,
        show: bool,
    ) -> Any:
        check_side(side)
        form.check(self.get_embedding_dimension(), texts=len(texts))
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"encode: batch_size: expected a whole number of at least 1, got {batch_size!r}")
        if instruction is None:
            instruction = self.usual_instruction(side)
        each = [instruction] * len(texts) if isinstance(instruction, str) else listed_texts(instruction, "instructions")
        if len(each) != len(texts):
            got = f"{len(each)} instructions for {len(texts)} texts"
            raise ConfigError(f"encode: got {got}; pass one for all, or one for each")
        if not readout and isinstance(self.readout, Bridged):
            raise ConfigError(
                "encode: readout=False: a map into another space starts from the readout; load without space"
            )
        with Work(Console(stderr=True), "encode", total=len(texts)) if show else nullcontext():
            pooled = self.pooled(texts, each, batch_size=batch_size)
        vectors = self._finished(pooled, form, readout=readout)
        check_finite(vectors)
        if not self._told_of_cut and (said := cut_in_words(self.cut_texts())):
            self._told_of_cut = True
            warnings.warn("; ".join(said), CutTextWarning, stacklevel=_levels_to_the_caller())
        return form(vectors, device=self.device)

    def _finished(self, vectors: Any, form: Form, *, readout: bool) -> np.ndarray:
        finish, x = self.readout if readout else Readout.plain(0), vectors.to(self.device)
        return finish.finished(x, count=form.truncate_dim, normalize=form.normalize).cpu().numpy()

    @overload
    def encode_query(
        self, texts: Iterable[str], *, convert_to_tensor: Literal[True], **options: Unpack[Options]
    ) -> Tensor: ...
    @overload
    def encode_query(
        self, texts: Iterable[str], *, convert_to_numpy: Literal[False], **options: Unpack[Options]
    ) -> list[Tensor]: ...
    @overload
    def encode_query(self, texts: Iterable[str], **options: Unpack[Options]) -> np.ndarray: ...
    def encode_query(self, texts: Iterable[str], **options: Any) -> Any:
        """:meth:`encode` of questions, or of whatever else was an anchor."""
        return self.encode(texts, side="query", **options)

    @overload
    def encode_document(
        self, texts: Iterable[str], *, convert_to_tensor: Literal[True], **options: Unpack[Options]
    ) -> Tensor: ...
    @overload
    def encode_document(
        self, texts: Iterable[str], *, convert_to_numpy: Literal[False], **options: Unpack[Options]
    ) -> list[Tensor]: ...
    @overload
    def encode_document(self, texts: Iterable[str], **options: Unpack[Options]) -> np.ndarray: ...
    def encode_document(self, texts: Iterable[str], **options: Any) -> Any:
        """:meth:`encode` of what is to be found."""
        return self.encode(texts, side="document", **options)

    def similarity(self, first: Any, second: Any) -> Tensor:
        """Cosines (n, m) of vectors (n, d) and (m, d), see :func:`transferkit.readout.form.cosines`."""
        return cosines(first, second)

    def get_embedding_dimension(self) -> int:
        """Numbers a vector, before any are cut."""
        return len(self.readout.mean)

    def get_sentence_embedding_dimension(self) -> int:
        """The same, by its older name."""
        return self.get_embedding_dimension()

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
            return self._pooled(texts, instructions, batch_size, memory)

    def _pooled(
        self,
        texts: Sequence[str],
        instructions: Sequence[str],
        batch_size: int,
        memory: TextStateMemory | None,
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


def _levels_to_the_caller() -> int:
    """Frames between whoever warns and the line that called this module: ``encode`` has several doors."""
    frame, levels = sys._getframe(1), 1
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame, levels = frame.f_back, levels + 1
    return levels
