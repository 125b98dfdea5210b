"""The models that write candidates: which one it is, what its makers share, and seeded sampling in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from transferkit.augment.candidates import Candidate, Origin, Source, draw_seed
from transferkit.augment.settings import Sampling, Setup
from transferkit.decoder.identity import weights_sha256
from transferkit.decoder.loading import input_embeddings, load_config, quiet_transformers
from transferkit.decoder.probe import resolve
from transferkit.errors import ConfigError, RunError
from transferkit.files.locations import check_location


@dataclass(frozen=True)
class Model:
    """Which model it is, known before its weights are read.

    Attributes:
        location: what ``from_pretrained`` is given.
        name: hub id, registry name, folder or file name: the same wherever a folder lies.
        revision: commit on the hub, where it is known.
        weights_sha256: hash of sampled weights.
    """

    location: str
    name: str
    revision: str | None
    weights_sha256: str

    @classmethod
    def decoder(cls, name: str) -> "Model":
        """The decoder that a registry name, a folder, a .gguf file or a hub id stands for.

        Raises:
            ConfigError: none of these, an encoder-decoder, or no safetensors weights.
        """
        spec = resolve(name)
        commit = spec.revision or _commit(spec.location)
        weights = weights_sha256(spec.location, revision=spec.revision)
        return cls(spec.location, spec.hub_id or spec.name, commit, weights)

    @classmethod
    def encoder_decoder(cls, location: str) -> "Model":
        """The same for a folder or hub id of an encoder-decoder.

        Raises:
            ConfigError: neither, a decoder, or no safetensors weights.
        """
        check_location(location)
        config = load_config(location)
        if not config.is_encoder_decoder:
            raise ConfigError(
                f"{location}: no encoder-decoder ({config.model_type}); --forward and --backward need two such as "
                "Marian or T5 (a decoder goes to --llm)"
            )
        name = Path(location).resolve().name if Path(location).is_dir() else location
        return cls(location, name, _commit(location), weights_sha256(location, revision=None))

    def described(self) -> dict[str, str | None]:
        """What tells it from another model."""
        return {"name": self.name, "revision": self.revision, "weights_sha256": self.weights_sha256}


def _commit(location: str) -> str | None:
    """The hub's commit that a model was loaded from; a folder has none."""
    return None if Path(location).is_dir() else getattr(load_config(location), "_commit_hash", None)


Tokenised = tuple[Source, list[int]]


class ModelMaker:
    """A :class:`~transferkit.augment.candidates.Maker` whose model reads texts in batches, none over ``max_tokens``.

    Args:
        origin: of all its candidates.
        setup: how they are drawn.
        batch_size: texts a forward pass.
    """

    def __init__(self, origin: Origin, setup: Setup, *, batch_size: int) -> None:
        self.origin = origin
        self.per_text = setup.sampling.samples
        self.sampling = setup.sampling
        self.seed = setup.seed
        self.batch_size = batch_size

    def __call__(self, sources: Sequence[Source]) -> Iterator[Candidate]:
        """``samples`` candidates of each text, batch by batch."""
        fitting: list[Tokenised] = []
        for source, row in zip(sources, self._rows([source.text for source in sources]), strict=True):
            if row is None:
                seed = draw_seed(self.seed, self.origin.kind, source.row)
                yield from [Candidate(source, "", self.origin, seed, "anchor too long")] * self.per_text
            else:
                fitting.append((source, row))
        fitting.sort(key=lambda text: len(text[1]), reverse=True)  # so that little is padded
        for start in range(0, len(fitting), self.batch_size):
            yield from self._batch(fitting[start : start + self.batch_size])

    def _rows(self, texts: list[str]) -> list[list[int] | None]:
        """Ids of each text; None for one of more than ``max_tokens``."""
        raise NotImplementedError

    def _batch(self, batch: list[Tokenised]) -> Iterator[Candidate]:
        """Candidates of texts that are read together, the longest first."""
        raise NotImplementedError


def sample(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    *,
    seed: int,
    sampling: Sampling,
    samples: int,
    stop: Sequence[int],
    max_new: int,
    name: str,
) -> list[list[int]]:
    """New tokens of each row, ``samples`` rows for each row of ``ids``, side by side; the stop token included.

    What is drawn is ``model.generate`` after ``torch.manual_seed(seed)``; the process's own random state is kept.

    Args:
        model: a decoder, or an encoder-decoder that reads ``ids``.
        ids: (B, T).
        mask: (B, T), True where a token is real.
        seed: of this batch.
        sampling: temperature and top_p.
        samples: rows drawn for each.
        stop: tokens that end a row; a row that none of them ends was cut at ``max_new`` tokens.
        max_new: tokens.
        name: of the model, in errors.

    Raises:
        RunError: the model's probabilities are not finite.
    """
    generate: Any = model.generate
    devices = [ids.device] if ids.device.type == "cuda" else []
    options: dict[str, Any] = {
        "do_sample": True,
        "num_beams": 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "num_return_sequences": samples,
        "max_new_tokens": max_new,
        "eos_token_id": list(stop),
        "pad_token_id": stop[0],
        "forced_eos_token_id": None,  # of some translators: it would hide that a text was cut
    }
    with quiet_transformers(), torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        try:
            rows = generate(ids, attention_mask=mask.long(), **options)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if "probability tensor" not in str(error):
                raise
            raise RunError(f"{name}: its probabilities hold NaN or infinity; use --dtype float32") from None
    new: list[list[int]] = rows[:, 1 if model.config.is_encoder_decoder else ids.shape[1] :].tolist()
    ends = set(stop)
    return [row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))] for row in new]


def end_tokens(model: PreTrainedModel, *others: int | None, name: str) -> list[int]:
    """Tokens that end a text: those of the model's generation_config.json and ``others``, as far as the model has them.

    Raises:
        ConfigError: there are none, so no text would ever be finished.
    """
    own = model.generation_config.eos_token_id if model.generation_config is not None else None
    found = [*(own if isinstance(own, list) else [own]), *others]
    # Some tokenizers add an end of their own that lies beyond the embedding.
    num_rows = input_embeddings(model).weight.shape[0]
    tokens = list(dict.fromkeys(token for token in found if token is not None and token < num_rows))
    if not tokens:
        raise ConfigError(f"{name}: neither generation_config.json nor the tokenizer names a token that ends a text")
    return tokens


def most_new_tokens(longest: int, limit: int) -> int:
    """Tokens that an answer to a text of ``longest`` tokens may take: what is far longer would be rejected anyway."""
    return min(limit, 2 * longest + 16)
