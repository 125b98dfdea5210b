"""Back-translation: into another language and back, by two local encoder-decoders (after arXiv 1511.06709)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from transferkit.augment.candidates import Candidate, Maker, Origin, draw_seed
from transferkit.augment.models import Model, ModelMaker, Tokenised, end_tokens, most_new_tokens, sample
from transferkit.augment.settings import Sampling, Setup
from transferkit.decoder.loading import DTYPES, input_embeddings, load_seq2seq_lm, load_tokenizer
from transferkit.errors import ConfigError


class BackTranslationWay:
    """There with one encoder-decoder, back with another or the same.

    Args:
        forward: folder or hub id of the model into the other language.
        backward: of the model back.
        forward_prefix: put before what ``forward`` reads, such as ``translate English to German: `` or ``>>deu<< ``.
        backward_prefix: put before what ``backward`` reads.

    Raises:
        ConfigError: no such encoder-decoder.
    """

    name = "back-translations"

    def __init__(self, forward: str, backward: str, *, forward_prefix: str = "", backward_prefix: str = "") -> None:
        self.models = Model.encoder_decoder(forward), Model.encoder_decoder(backward)
        self.prefixes = forward_prefix, backward_prefix

    def described(self) -> dict[str, Any]:
        """Both models and their prefixes."""
        forward, backward = (model.described() for model in self.models)
        return {"forward": forward, "backward": backward, "prefixes": list(self.prefixes)}

    def makers(self, setup: Setup) -> list[Maker]:
        """One."""
        there, back = self.models
        forward = Translator.load(there, prefix=self.prefixes[0], setup=setup)
        if back == there:
            backward = Translator(
                forward.model, forward.tokenizer, prefix=self.prefixes[1], sampling=setup.sampling, name=back.name
            )
        else:
            backward = Translator.load(back, prefix=self.prefixes[1], setup=setup)
        return [BackTranslator(forward, backward, self.models, setup=setup)]


class Translator:
    """An encoder-decoder that reads texts behind a fixed prefix.

    Args:
        model: encoder-decoder with its head.
        tokenizer: adds whatever special tokens the model reads a text with.
        prefix: put before every text, such as ``translate English to German: `` or ``>>deu<< ``.
        sampling: how translations are drawn.
        name: in errors.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prefix: str,
        sampling: Sampling,
        name: str,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.prefix = prefix
        self.sampling = sampling
        self.name = name
        self.stop = end_tokens(model, name=name)
        self.filler = tokenizer.pad_token_id or 0
        self.overhead = len(self._tokenised([""])[0])  # positions of prefix and special tokens
        context = getattr(model.config, "max_position_embeddings", None)
        if context is not None and sampling.max_tokens + self.overhead + 1 > context:
            raise ConfigError(
                f"--max-tokens {sampling.max_tokens}: does not fit the {context} positions of {name}; use at most "
                f"{context - self.overhead - 1}"
            )

    @classmethod
    def load(cls, which: Model, *, prefix: str, setup: Setup) -> "Translator":
        """Load weights and tokenizer.

        Raises:
            ConfigError: it cannot be loaded, or its target language is not chosen by a prefix.
        """
        tokenizer = load_tokenizer(which.location, revision=which.revision)
        if hasattr(tokenizer, "src_lang"):
            raise ConfigError(
                f"{which.name}: its tokenizer asks for language codes, which are not given here; use a model of one "
                "direction (such as Marian) or one that reads its task in a prefix (such as T5)"
            )
        device = torch.device(setup.device)
        model = load_seq2seq_lm(which.location, revision=which.revision, dtype=DTYPES[setup.dtype], device=device)
        return cls(model, tokenizer, prefix=prefix, sampling=setup.sampling, name=which.name)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text behind the prefix, at least one.

        Raises:
            ConfigError: a token id lies beyond the model's embedding.
        """
        rows = self._tokenised(texts)
        num_rows = input_embeddings(self.model).weight.shape[0]
        highest = max((max(row) for row in rows if row), default=0)
        if highest >= num_rows:
            raise ConfigError(
                f"{self.name}: token id {highest} lies beyond the model's {num_rows} embedding rows; tokenizer and "
                "model do not belong together"
            )
        return [row or [self.stop[0]] for row in rows]

    def _tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        # What looks like a special token inside a text is plain text.
        rows: list[list[int]] = self.tokenizer([self.prefix + text for text in texts], split_special_tokens=True)[
            "input_ids"
        ]
        return rows

    def too_long(self, row: list[int]) -> bool:
        """Whether a text takes more than ``max_tokens`` without what is put around it."""
        return len(row) - self.overhead > self.sampling.max_tokens

    def __call__(self, rows: Sequence[list[int]], *, seed: int, samples: int) -> list[str | None]:
        """``samples`` translations of each row of ids, side by side; None for one that was cut."""
        ids, mask = _pad_right(rows, filler=self.filler, device=input_embeddings(self.model).weight.device)
        drawn = sample(
            self.model,
            ids,
            mask,
            seed=seed,
            sampling=self.sampling,
            samples=samples,
            stop=self.stop,
            max_new=most_new_tokens(max(map(len, rows)), self.sampling.max_tokens),
            name=self.name,
        )
        return [self._text(tokens) if tokens[-1] in self.stop else None for tokens in drawn]

    def _text(self, tokens: list[int]) -> str:
        text = self.tokenizer.decode(tokens[:-1], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).strip()


class BackTranslator(ModelMaker):
    """There and back: ``samples`` translations of a text, and one translation of each of them.

    Args:
        forward: into the other language.
        backward: back.
        models: identities of both.
        setup: how both draw; they draw a batch from the same seed.
    """

    def __init__(
        self,
        forward: Translator,
        backward: Translator,
        models: tuple[Model, Model],
        *,
        setup: Setup,
    ) -> None:
        there, back = models
        revisions = [str(model.revision) for model in models]
        origin = Origin(
            "back-translation",
            f"{there.name} + {back.name}",
            " + ".join(revisions) if there.revision or back.revision else None,
            f"{there.weights_sha256} + {back.weights_sha256}",
        )
        super().__init__(origin, setup, batch_size=setup.batch_size)
        self.forward = forward
        self.backward = backward

    def _rows(self, texts: list[str]) -> list[list[int] | None]:
        return [None if self.forward.too_long(row) else row for row in self.forward.ids(texts)]

    def _batch(self, batch: list[Tokenised]) -> Iterator[Candidate]:
        seed = draw_seed(self.seed, self.origin.kind, batch[0][0].row)
        there = self.forward([row for _, row in batch], seed=seed, samples=self.per_text)
        rows = self.backward.ids([text or "" for text in there])
        readable = [i for i, text in enumerate(there) if text and not self.backward.too_long(rows[i])]
        back: dict[int, str | None] = {}
        if readable:
            texts = self.backward([rows[i] for i in readable], seed=seed, samples=1)
            back = dict(zip(readable, texts, strict=True))
        make = partial(Candidate, origin=self.origin, seed=seed)
        for i, translation in enumerate(there):
            source, text = batch[i // self.per_text][0], back.get(i, "" if translation == "" else None)
            yield make(source, "", problem="unfinished") if text is None else make(source, text)


def _pad_right(rows: Sequence[list[int]], *, filler: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and mask (B, T), rows aligned at their first token: encoders count their positions from there."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], dtype=torch.long)
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return ids.to(device), mask.to(device)
