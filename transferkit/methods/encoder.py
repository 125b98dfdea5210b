"""A ready-made encoder: a folder of sentence-transformers as it comes, which is what a user would pick instead."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from transferkit.config.methods import MethodFacts
from transferkit.config.recipe import required_encoder
from transferkit.config.resolve import ResolvedRecipe
from transferkit.config.sections import Computed
from transferkit.decoder.loading import quiet_transformers
from transferkit.decoder.text_states import TextStateMemory
from transferkit.errors import ConfigError, first_line
from transferkit.files.encoder_folder import check_encoder, encoder_sha256, is_encoder
from transferkit.methods.base import Embedder, Given, Saved
from transferkit.methods.described import Example, one_line, token_names
from transferkit.progress import drop_kernel_message
from transferkit.readout.readout import Readout

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class EncoderEmbedder(Embedder):
    """The vectors of ``SentenceTransformer(folder).encode``, and a readout fitted to them.

    Lengths, pooling, norm and the default prompt are those of its own config; it reads no instruction beside that.
    A checkpoint names the folder and its hash, and holds none of its weights.

    Args:
        model: what sentence-transformers loaded.
        location: where from, a path or the name of a local copy.
        sha256: of its files, see :func:`transferkit.files.encoder_folder.encoder_sha256`.
        precision: in which it computes.
        width: length of its vectors.
    """

    facts = MethodFacts(
        name="encoder",
        task="baseline",
        place=8,
        title="ready-made encoder",
        kind="encoder",
        sections=("embedding",),
        has_backbone=False,
        has_encoder=True,
        learns=False,
    )

    def __init__(
        self, model: "SentenceTransformer", *, location: str, sha256: str, precision: Computed, width: int
    ) -> None:
        super().__init__(Readout.plain(width).to(model.device))
        self.model = model.requires_grad_(False)
        self.location = location
        self.sha256 = sha256
        self.precision: Computed = precision

    @classmethod
    def build(cls, recipe: ResolvedRecipe, given: Given) -> Self:
        """What the recipe's target names."""
        required_encoder(recipe)
        return cls.load(recipe.embedding.backbone or "", device=given.device, precision=recipe.precision)

    @classmethod
    def load(cls, location: str | Path, *, device: torch.device, precision: Computed = "float32") -> Self:
        """The encoder in a local folder: no code of its own, no pickle, nothing from the hub.

        Raises:
            ConfigError: it is none, is not safe to load, is damaged, or sentence-transformers is not installed.
        """
        folder = check_encoder(str(location)).resolve()
        lasting = str(folder if Path(location).exists() else location)
        drop_kernel_message()
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise ConfigError(
                f"{folder}: is a model of sentence-transformers, which is not installed; `pip install "
                "sentence-transformers`, or name another model"
            ) from None
        options: dict[str, Any] = {"use_safetensors": True, "dtype": getattr(torch, precision)}
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with quiet_transformers():
                model = SentenceTransformer(str(folder), device=str(device), model_kwargs=options, **safe)
                width = model.encode(["a"], show_progress_bar=False).shape[1]
        except Exception as error:  # whatever the libraries stumble over in a file that is damaged
            raise ConfigError(f"{folder} cannot be loaded ({first_line(error)}); restore it") from None
        return cls(model, location=lasting, sha256=encoder_sha256(folder), precision=precision, width=width)

    @torch.no_grad()
    def embed(
        self, texts: Sequence[str], instructions: Sequence[str], *, memory: TextStateMemory | None = None
    ) -> Tensor:
        """Vectors (B, d) as the model itself gives them, without gradient."""
        found: Tensor = self.model.encode(
            list(texts), batch_size=len(texts), show_progress_bar=False, convert_to_tensor=True
        )
        return found.float()

    def label(self, recipe: ResolvedRecipe) -> str:
        """With the name of its folder."""
        return f"{self.facts.title} {Path(self.location).name}"

    def describe(self) -> dict[str, Any]:
        """With folder and hash."""
        place = {"name": Path(self.location).name, "location": self.location}
        own = {"sha256": self.sha256, "precision": self.precision}
        return super().describe() | {"encoder": place | own}

    def fingerprint(self) -> dict[str, Any]:
        """Without its place and name."""
        facts = self.describe()
        return facts | {"encoder": {key: facts["encoder"][key] for key in ("sha256", "precision")}}

    @property
    def record_facts(self) -> dict[str, Any]:
        """Which encoder it is."""
        own = self.describe()["encoder"]
        return {"encoder": {key: own[key] for key in ("name", "location", "sha256")}}

    @classmethod
    def open(cls, saved: Saved) -> Self:
        """The encoder that the checkpoint names, where it lies now.

        Raises:
            ConfigError: it is gone, or is another one now.
        """
        own = saved.description["encoder"]
        location = saved.backbone or own["location"]
        if not is_encoder(location):
            raise ConfigError(
                f"{saved.folder}: its encoder {own['name']} is not at {location}; put it back, or say where it lies "
                "now with --backbone FOLDER"
            )
        found = cls.load(location, device=saved.device, precision=own["precision"])
        if found.sha256 != own["sha256"]:
            raise ConfigError(
                f"{saved.folder}: its encoder is {own['name']} with the hash {own['sha256'][:12]}, and {location} "
                f"differs from it ({found.sha256[:12]}); give that very folder with --backbone, or score this one anew "
                "with `transferkit baseline`"
            )
        return found

    def summary(self) -> list[str]:
        """How it reads a text."""
        prompt = f"prompt {self._prompt!r}" if self._prompt else "no prompt"
        return [f"reads {self.max_tokens or 'all'} tokens of a text, {prompt}"]

    def outline(self, recipe: ResolvedRecipe) -> list[str]:
        """What is measured, and what is left."""
        return ["nothing learns; it is scored as it comes, and its readout becomes the checkpoint"]

    def examples_title(self) -> str:
        """It reads tokens of its own."""
        return "examples, as tokens"

    def example(self, text: str, instruction: str) -> Example:
        """Prompt and text, as tokens where its tokenizer names them."""
        read, tokenizer = self._prompt + text, getattr(self.model, "tokenizer", None)
        tokens = [one_line(read)]
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            ids = tokenizer(read, truncation=self.max_tokens is not None, max_length=self.max_tokens)["input_ids"]
            tokens = token_names(tokenizer, ids)
        return Example(text, "", tokens=tokens, pooled=[False] * len(tokens), reader="encoder reads")

    def token_tables(self) -> list[nn.Embedding]:
        """Its first one: other tables are of positions and kinds of tokens."""
        return [module for module in self.model.modules() if isinstance(module, nn.Embedding)][:1]

    @property
    def max_tokens(self) -> int | None:
        """Of a text, as its own config says."""
        longest = self.model.max_seq_length
        return None if longest is None else int(longest)

    @property
    def _prompt(self) -> str:
        """What its own config puts before every text."""
        name = self.model.default_prompt_name
        return "" if name is None else str(self.model.prompts[name])
