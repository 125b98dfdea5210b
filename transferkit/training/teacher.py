"""Who teaches: the source through its own backbone, another checkpoint, a decoder, a ready-made encoder, or vectors.

All of them are texts -> vectors; what they are is known by a hash before anything is read.
"""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.checkpoints.open import open_model
from transferkit.config.datasets import ROLES, DevSet, TrainSet
from transferkit.config.resolve import ResolvedRecipe
from transferkit.config.sections import TeacherSection
from transferkit.data.tables import local_source, read_columns
from transferkit.errors import ConfigError, RunError
from transferkit.files.builtin import BUNDLED
from transferkit.files.encoder_folder import is_encoder
from transferkit.files.manifest import sha256_file
from transferkit.files.vectors.finite import NotFiniteError, check_finite
from transferkit.files.vectors.reading import read_vectors
from transferkit.methods.base import Embedder
from transferkit.request.named import cannot_teach, needs_teacher
from transferkit.runs.checkpoint_folder import is_checkpoint, lacks_own_decoder, read_description, source_facts

Encode = Callable[[list[str], list[str], int], np.ndarray]  # texts, instructions, texts a pass -> (n, d_t)
_DECODER = ("config_sha256", "tokenizer_sha256", "weights_sha256", "template", "pooling", "layers", "max_length")


class Teacher:
    """Texts -> vectors that teach.

    Args:
        kind: ``source``, ``checkpoint``, ``decoder``, ``encoder`` or ``vectors``.
        name: of a run, model or file.
        digest: sha256 of what its vectors come from.
        encode: makes them.
        lineage: equal for checkpoints that differ in their seed alone.
        known: texts that it has vectors of; None: it reads any.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        digest: str,
        encode: Encode,
        *,
        lineage: str | None = None,
        known: frozenset[str] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.digest = digest
        self.lineage = lineage
        self.known = known
        self._encode: Encode | None = encode

    @property
    def facts(self) -> dict[str, Any]:
        """For the run record."""
        return {"kind": self.kind, "name": self.name, "sha256": self.digest, "lineage": self.lineage}

    @property
    def identity(self) -> str:
        """What the seeds of one experiment share."""
        return self.lineage or self.digest

    def check(self, texts: Sequence[str]) -> None:
        """Refuse texts that it cannot have vectors of.

        Raises:
            ConfigError: names the first one.
        """
        missing = [] if self.known is None else [text for text in texts if text not in self.known]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ConfigError(
                f"teacher.vectors: {self.name} holds no vector of {_short(missing[0])!r}{more}; embed the texts of "
                "this recipe again with `transferkit embed`"
            )

    def vectors(self, texts: list[str], instructions: list[str], *, batch_size: int) -> np.ndarray:
        """(n, d_t) float32 of ``texts``, in their order.

        Raises:
            RunError: a vector that is not finite.
        """
        assert self._encode is not None  # not dismissed
        try:
            vectors = np.asarray(self._encode(texts, instructions, batch_size), dtype=np.float32)
            check_finite(vectors)
        except NotFiniteError as error:
            text = _short(texts[error.row])
            raise RunError(
                f"teacher {self.name}: its vector of {text!r} holds NaN or infinity; choose another teacher"
            ) from None
        return vectors

    def dismiss(self) -> None:
        """Free its memory; who it was stays known."""
        self._encode = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def find_teacher(
    recipe: ResolvedRecipe, *, source: Path | None, data_dir: Path | None, device: torch.device
) -> Teacher | None:
    """The teacher of a recipe, loaded; None where nothing in it is taught.

    Args:
        recipe: with its section ``teacher``.
        source: of the run; teaches where no other is named.
        data_dir: what a relative path of vectors starts from.
        device: where a model is loaded.

    Raises:
        ConfigError: it cannot be found or loaded, is another than it says, or is not safe to load.
    """
    section = recipe.teacher
    if section is None or not needs_teacher(recipe):
        return None
    if section.vectors is not None:
        return _kept_vectors(recipe, (data_dir or Path()) / section.vectors, data_dir)
    if section.model is None:
        assert source is not None  # resolving saw to it
        return _checkpoint("source", str(source), section, device)
    if is_encoder(section.model) and section.backbone is not None:
        raise ConfigError(
            f"teacher.backbone: is for a checkpoint; {section.model} is a model of sentence-transformers, whole"
        )
    try:
        if is_encoder(section.model):
            return _encoder(Path(section.model), device)
        if is_checkpoint(section.model):
            return _checkpoint("checkpoint", section.model, section, device)
        return _decoder(section.model, section, device)
    except ConfigError as error:
        raise cannot_teach(section.model, error) from None


def _checkpoint(kind: str, model: str, section: TeacherSection, device: torch.device) -> Teacher:
    description = read_description(Path(model))  # what is damaged is no matter of a decoder that is gone
    if section.backbone is None and lacks_own_decoder(Path(model), description):
        raise ConfigError(
            f"texts alone need a teacher, and {BUNDLED} cannot be it, for its own decoder does not ship; name one with "
            "--teacher (a decoder, a checkpoint or a ready-made encoder), or say with teacher.backbone where that "
            "decoder lies"
        )
    try:
        embedder = open_model(model, backbone=section.backbone, device=str(device))
    except (ConfigError, RunError) as error:
        raise type(error)(
            f"the {kind} cannot teach: {error}; teacher.backbone says where its decoder lies now, --teacher takes "
            "another checkpoint, a decoder or a ready-made encoder, and teacher.vectors vectors that were made while "
            "it was there (`transferkit embed CHECKPOINT TEXTS --out FILE.parquet`)"
        ) from None
    facts = source_facts(Path(model))
    return Teacher(kind, facts["run"], facts["sha256"], _encode_with(embedder), lineage=facts["lineage"])


def _decoder(model: str, section: TeacherSection, device: torch.device) -> Teacher:
    embedder = open_model(model, backbone=section.backbone, device=str(device))
    facts = embedder.backbone_facts() or {}
    digest = _digest({key: facts[key] for key in _DECODER})
    return Teacher("decoder", facts["name"], digest, _encode_with(embedder))


def _encode_with(embedder: Embedder) -> Encode:
    return lambda texts, tasks, size: embedder.encode(texts, instruction=tasks, batch_size=size)


def _encoder(folder: Path, device: torch.device) -> Teacher:
    """A local folder of sentence-transformers."""
    embedder = open_model(str(folder), device=str(device))
    facts = embedder.record_facts["encoder"]
    return Teacher("encoder", facts["name"], facts["sha256"], _encode_with(embedder))


def _kept_vectors(recipe: ResolvedRecipe, path: Path, data_dir: Path | None) -> Teacher:
    where = f"teacher.vectors: {path}"
    texts, vectors = read_vectors(path, where=where)
    if texts is None:
        texts = _texts_in_order(recipe, data_dir, where=where, count=len(vectors))
    places = {text: place for place, text in enumerate(texts)}

    def encode(asked: list[str], instructions: list[str], size: int) -> np.ndarray:
        return np.asarray(vectors[[places[text] for text in asked]])

    return Teacher("vectors", path.name, sha256_file(path), encode, known=frozenset(places))


def _texts_in_order(recipe: ResolvedRecipe, data_dir: Path | None, *, where: str, count: int) -> list[str]:
    """The texts of rows that carry none: those of the one file of the recipe's sets of texts."""
    every: list[TrainSet | DevSet] = [*recipe.data.train, *recipe.data.dev]
    sets = [one for one in every if one.kind == "texts"]
    files = {(one.path, (ROLES[one.kind] | one.columns)["text"]) for one in sets}
    file, column = next(iter(files), (None, ""))
    if len(files) != 1 or file is None:
        raise ConfigError(
            f"{where}: carries no texts, so its rows belong to one file of the sets of kind 'texts', and there are "
            f"{len(files)}; write it as .parquet, which carries them"
        )
    source = local_source("data of kind 'texts'", file, data_dir)
    texts: list[str] = read_columns(source, {"text": column})["text"]
    if len(texts) != count:
        raise ConfigError(
            f"{where}: holds {count} vectors and {source.path} {len(texts)} texts; embed that very file again"
        )
    return texts


def _digest(facts: dict[str, Any]) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
