"""What every method has in common: texts -> vectors, and the hooks by which all else asks it.

A method is one file in this folder. Its class is built from a resolved recipe, described, saved, opened and labelled;
the training loop, the runner, the dry run, evaluation and checkpoints know nothing else of it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from transferkit.config.methods import MethodFacts
from transferkit.config.poolings import Pooling
from transferkit.config.resolve import ResolvedRecipe
from transferkit.data.training_sets import TrainingData
from transferkit.errors import ConfigError
from transferkit.methods.encoding import Encoding
from transferkit.prompting.saved import below

Group = Literal["model", "alignment", "offset"]  # parameter groups, each with its own learning rate


@dataclass(frozen=True)
class Variant:
    """One way to read a method; ``part`` takes its vectors out of those that the ways share.

    ``name`` is None where it is the only one.
    """

    name: str | None
    embedder: "Embedder"
    part: Callable[[Any], Any]


@dataclass(frozen=True)
class Given:
    """What a method is built from besides its recipe."""

    source: Path | None
    device: torch.device
    data: TrainingData

    @property
    def source_folder(self) -> Path:
        """The source, for a method that starts from one.

        Raises:
            ConfigError: none was given.
        """
        if self.source is None:
            raise ConfigError("this method starts from a checkpoint of `train`; pass one with --source")
        return self.source


@dataclass(frozen=True)
class Saved:
    """A checkpoint whose files were checked. ``backbone``: where its decoder lies now, if it has moved."""

    folder: Path
    description: dict[str, Any]
    tensors: dict[str, Tensor]
    device: torch.device
    backbone: str | None = None

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors called ``prefix.NAME``, by NAME."""
        return below(self.tensors, prefix)


@dataclass(frozen=True)
class WholeDecoder:
    """A decoder that reads every text alike and needs nothing beside it.

    ``trunk``: with what was learned of its weights in them; ``soft``: tokens (k, d_e) in the template's place, the same
    for every text; ``merged``: whether the weights are others than the decoder's own.
    """

    trunk: PreTrainedModel
    soft: Tensor | None = None
    merged: bool = False


class Embedder(Encoding):
    """Base of all methods: pooled vectors for training, finished vectors for users.

    Attributes:
        facts: of the method; literals alone, see :mod:`transferkit.config.methods`.
        divergence_remedy: what a user can do about a loss that is no number.
        start_title: what it is before its first step.
        first_finished_step: from which on training makes the vectors that it delivers.
        tokens_read: backbone tokens processed since :meth:`take_tokens`, for the convergence table.
        template: what a decoder reads, as text; None where none reads.
        pooling: None where nothing is pooled by name.
    """

    facts: ClassVar[MethodFacts]
    takes_readout: ClassVar[bool] = True
    divergence_remedy: ClassVar[str] = "lower optim.lr"
    start_title: ClassVar[str] = "its start"
    tokens_read: int = 0
    first_finished_step: int = 0
    template: str | None = None
    pooling: str | None = None

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """The method as ``recipe`` asks for it, before its first step; a ConfigError says what cannot be had of it."""
        raise NotImplementedError

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """What learns, by learning-rate group."""
        return {}

    def rate_unit(self, parameter: nn.Parameter) -> float:
        """What its learning rate is a multiple of: AdamW moves by that, and embeddings differ in size sixtyfold."""
        return 1.0

    def label(self, recipe: ResolvedRecipe) -> str:
        """What the rows of its runs are called."""
        return self.facts.title

    # Variants: the ways in which one that learns nothing is read

    def variants(self, recipe: ResolvedRecipe) -> Iterator[tuple["Embedder", list[Variant]]]:
        """Each item is what reads the texts once, and the ways that share its pass; one way unless a method has more.

        A way's own embedder gives the same vectors alone.
        """
        yield self, [Variant(None, self, lambda vectors: vectors)]

    def variant_names(self, recipe: ResolvedRecipe) -> list[str]:
        """What they are called, without making them."""
        return []

    # Hooks of the training loop

    def begin_training(self, resumed: Mapping[str, Any]) -> None:
        """Called once before the first step; ``resumed`` is what :meth:`to_resume` gave when the run stopped."""

    def to_resume(self) -> dict[str, Any]:
        """What a resumed run must be given beside weights, as JSON."""
        return {}

    def before_step(self, step: int) -> None:
        """Called before each step."""

    def warnings(self, step: int) -> list[str]:
        """What a user should know after a step; the first warnings of a run are its last."""
        return []

    def end_training(self) -> None:
        """Called when the best weights are back."""

    # Checkpoints

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says of it: method, settings and, where it has one, its backbone."""
        return {"kind": self.facts.kind, "readout": self.readout.facts}

    def tensors(self) -> dict[str, Tensor]:
        """What it learned, by name; the readout left aside."""
        return {}

    def save_files(self, folder: Path, *, shared: Path | None) -> None:
        """Write what is no tensor of its own; ``shared`` is the checkpoint that it started from."""

    @classmethod
    def open(cls, saved: Saved) -> Self:
        """The method in a checkpoint, readout and instructions left aside.

        Raises:
            ConfigError: a part that cannot be had, or is another one now.
        """
        raise NotImplementedError

    # What plans and evaluations ask of it

    def outline(self, recipe: ResolvedRecipe) -> list[str]:
        """What a run of it does, for a plan."""
        if self.trainable():
            return [f"trained, evaluated from step 0 on; the {recipe.eval.keep} step becomes the checkpoint"]
        names = self.variant_names(recipe)
        return ["nothing learns; the best of these becomes the checkpoint:", *(f"  {name}" for name in names)]

    def fingerprint(self) -> dict[str, Any]:
        """Everything that a vector depends on beside weights, text and instruction; no place of a file."""
        return self.describe()

    def reread(self, *, template: str, pooling: Pooling) -> "Embedder":
        """The same weights behind another template, pooled in another way, without readout.

        Raises:
            ConfigError: it can be read in one way alone.
        """
        raise ConfigError(f"{self.facts.title}: is read in one way alone; leave --templates and --poolings away")

    def whole_decoder(self, instruction: str) -> WholeDecoder:
        """It as a decoder that other software serves, behind one instruction. Its own weights may change by that.

        Raises:
            ConfigError: it is more than a decoder, or reads texts in a way that depends on them.
        """
        raise ConfigError(f"{self.facts.title}: is no decoder alone; leave --merge and --baked away")

    def without_backbone(self) -> "Embedder | None":
        """What is left of it where its decoder is taken away; None: nothing, as the fact ``alone`` says too."""
        return None

    def rivals(self) -> dict[str, "Embedder"]:
        """What it must beat to be worth its training, by name: what one has without it. Its start is beside these."""
        return {}

    def unadapted(self) -> AbstractContextManager[None]:
        """Inside the block its decoder is as it was before anything was learned."""
        return nullcontext()

    def take_tokens(self) -> int:
        """Backbone tokens processed since the last call."""
        taken, self.tokens_read = self.tokens_read, 0
        return taken
