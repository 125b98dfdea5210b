"""What sentence-transformers finds in an export: a checkpoint behind the contract of its first module.

``modules.json`` of an export names this class, so the folder holds no code; sentence-transformers imports it from the
installed package.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from transferkit.checkpoints.checkpoint import load
from transferkit.errors import ConfigError
from transferkit.exports.folder import CHECKPOINT, copy_checkpoint
from transferkit.exports.requirements import NEEDS, check_versions
from transferkit.files.encoder_folder import EXPORTED
from transferkit.files.json import write_json
from transferkit.methods.base import Embedder
from transferkit.methods.encoding import Side
from transferkit.progress import drop_kernel_message
from transferkit.runs.checkpoint_folder import read_description

try:
    from sentence_transformers.base.modules import InputModule
except ImportError:
    check_versions(NEEDS, where="this export")  # one that is too old has its modules elsewhere
    raise


class CheckpointModule(InputModule):
    """A checkpoint as the one module of a ``SentenceTransformer``: its vectors are those of ``Embedder.encode``.

    A prompt is an instruction. Without one the checkpoint's own is taken, where it has one alone. The checkpoint is
    opened on the device where sentence-transformers puts the module, and again where it is moved.

    Args:
        checkpoint: checkpoint folder.
        backbone: where its decoder lies now, if it has moved.

    Raises:
        ConfigError: damaged.
    """

    config_file_name = EXPORTED
    place: Tensor

    def __init__(self, checkpoint: str | Path, *, backbone: str | None = None) -> None:
        super().__init__()
        self.checkpoint = Path(checkpoint)
        self.backbone = backbone
        self.width = int(read_description(self.checkpoint)["readout"]["width"])
        self.register_buffer("place", torch.empty(0), persistent=False)
        self._opened: tuple[Embedder, ...] = ()  # in a tuple: its weights are loaded where they belong and never moved

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **given: Any,
    ) -> Self:
        """The module of an export, a folder or a repository of the hub.

        Args:
            model_name_or_path: which.
            subfolder: of it.
            token: for the hub.
            cache_folder: of the hub's files.
            revision: on the hub.
            local_files_only: ask no hub.
            init_defaults: none are read.
            **given: ``model_kwargs``, in which ``backbone`` says where the decoder lies now; what else
                sentence-transformers gives to every module changes nothing.

        Raises:
            ConfigError: other versions than it needs, other ``model_kwargs``, or a damaged checkpoint.
        """
        drop_kernel_message()
        hub: dict[str, Any] = {
            "token": token,
            "cache_folder": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **hub)
        check_versions(config.get("needs", {}), where=model_name_or_path)
        options = dict(given.get("model_kwargs") or {})
        backbone = options.pop("backbone", None)
        if options:
            raise ConfigError(
                f"{model_name_or_path}: model_kwargs: expected backbone, got {', '.join(sorted(options))}; a "
                "checkpoint is computed as it was trained"
            )
        inner = f"{subfolder}/{CHECKPOINT}" if subfolder else CHECKPOINT
        folder = cls.load_dir_path(model_name_or_path, inner, **hub)
        if folder is None or not Path(folder).is_dir():
            raise ConfigError(f"{model_name_or_path}: no {inner} in it; export the checkpoint again")
        return cls(folder, backbone=backbone)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write what :meth:`load` reads; the checkpoint is copied as it is."""
        folder = Path(output_path)
        if (folder / CHECKPOINT).resolve() != self.checkpoint.resolve():
            copy_checkpoint(self.checkpoint, folder / CHECKPOINT)
        write_json(folder / EXPORTED, self.get_config_dict())

    def get_config_dict(self) -> dict[str, Any]:
        """The versions that it needs."""
        return {"needs": NEEDS}

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, task: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Texts, and the instruction that goes with them."""
        side: Side = "document" if task == "document" else "query"
        instruction = self.embedder.usual_instruction(side) if prompt is None else prompt
        return {"texts": list(inputs), "instruction": instruction}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """``sentence_embedding``: unit vectors (B, d) in float32 of what :meth:`preprocess` gave."""
        texts = features["texts"]
        vectors = self.embedder.encode(texts, instruction=features["instruction"], batch_size=max(1, len(texts)))
        return features | {"sentence_embedding": torch.from_numpy(vectors).to(self.place.device)}

    @property
    def embedder(self) -> Embedder:
        """The checkpoint, opened on the module's device."""
        if not self._opened or self._opened[0].device != self.place.device:
            self._opened = (load(self.checkpoint, backbone=self.backbone, device=str(self.place.device)),)
        return self._opened[0]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Follow the module to a device; whoever makes a SentenceTransformer comes by here, and meets what is wrong."""
        super()._apply(fn, recurse)
        _ = self.embedder
        return self

    def get_embedding_dimension(self) -> int:
        """Length of its vectors."""
        return self.width

    def get_sentence_embedding_dimension(self) -> int:
        """The same, by its earlier name."""
        return self.width

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of a text that are read; None: all."""
        return self.embedder.max_tokens

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        raise ConfigError(
            f"max_seq_length: this checkpoint reads {self.embedder.max_tokens} tokens of a text, as it was trained to; "
            "leave it, or train with another embedding.max_length"
        )
