"""Paraphrases: a decoder is asked in a prompt, and what it answers is sampled."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from transferkit.augment.candidates import Candidate, Maker, Origin, draw_seed
from transferkit.augment.decoder import Decoder
from transferkit.augment.models import Model, ModelMaker, Tokenised, most_new_tokens, sample
from transferkit.augment.prompts import ParaphrasePrompt
from transferkit.augment.settings import Setup
from transferkit.decoder.tokens import pad_left
from transferkit.errors import ConfigError

_QUOTES = (('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u00ab", "\u00bb"))


class ParaphraseWay:
    """Paraphrases by one decoder, asked with several prompts.

    Args:
        llm: registry name, folder or hub id.
        prompts: each gives ``samples`` candidates a text.
        chat: whether it is asked through its chat template; None: where it has one.

    Raises:
        ConfigError: no such decoder.
    """

    name = "paraphrases"

    def __init__(self, llm: str, *, prompts: Sequence[ParaphrasePrompt], chat: bool | None = None) -> None:
        self.model = Model.decoder(llm)
        self.prompts = prompts
        self.chat = chat

    def described(self) -> dict[str, Any]:
        """Model, prompts and how they are put."""
        prompts = [prompt.model_dump() for prompt in self.prompts]
        return {"model": self.model.described(), "prompts": prompts, "chat": self.chat}

    def makers(self, setup: Setup) -> list[Maker]:
        """One a prompt; all share the decoder."""
        decoder = Decoder.load(self.model, chat=self.chat, setup=setup)
        return [Paraphraser(decoder, self.model, prompt, setup=setup) for prompt in self.prompts]


class Paraphraser(ModelMaker):
    """One prompt put to one decoder.

    Args:
        decoder: shared by all prompts.
        which: the decoder's identity.
        prompt: how it is asked.
        setup: how its answers are drawn.

    Raises:
        ConfigError: prompt, text and answer do not fit the decoder's context.
    """

    def __init__(self, decoder: Decoder, which: Model, prompt: ParaphrasePrompt, *, setup: Setup) -> None:
        origin = Origin("paraphrase", which.name, which.revision, which.weights_sha256, prompt.name)
        super().__init__(origin, setup, batch_size=setup.batch_size if decoder.batched else 1)
        sampling = setup.sampling
        self.decoder = decoder
        self.before, self.after = decoder.around(prompt)
        needed = len(self.before) + len(self.after) + 2 * sampling.max_tokens
        if decoder.context is not None and needed > decoder.context:
            room = (decoder.context - len(self.before) - len(self.after)) // 2
            raise ConfigError(
                f"--max-tokens {sampling.max_tokens}: prompt {prompt.name!r}, a text and its paraphrase do not fit "
                f"the {decoder.context} positions of {which.name}; "
                + (f"use at most {room}" if room > 0 else "use a shorter prompt")
            )

    def _rows(self, texts: list[str]) -> list[list[int] | None]:
        limit = self.sampling.max_tokens
        rows = self.decoder.encoder.texts(texts, max_length=limit + 1)
        return [None if len(row) > limit else row for row in rows]

    def _batch(self, batch: list[Tokenised]) -> Iterator[Candidate]:
        seed = draw_seed(self.seed, self.origin.kind, self.origin.prompt or "", batch[0][0].row)
        ids, mask = pad_left([self.before + row + self.after for _, row in batch], device=self.decoder.device)
        rows = sample(
            self.decoder.model,
            ids,
            mask,
            seed=seed,
            sampling=self.sampling,
            samples=self.per_text,
            stop=self.decoder.stop,
            max_new=most_new_tokens(len(batch[0][1]), self.sampling.max_tokens),
            name=self.decoder.name,
        )
        make = partial(Candidate, origin=self.origin, seed=seed)
        for i, tokens in enumerate(rows):
            source = batch[i // self.per_text][0]
            if tokens[-1] not in self.decoder.stop:
                yield make(source, "", problem="unfinished")
            else:
                yield make(source, cleaned(self.decoder.answer(tokens), source.text))


def cleaned(answer: str, anchor: str) -> str:
    """An answer without what models put around it: reasoning, a first line that announces the text, quotation marks.

    Marks and lines that the anchor has too are kept.
    """
    text = answer.rpartition("</think>")[2].strip()
    first, _, rest = text.partition("\n")
    if rest.strip() and first.rstrip().endswith(":") and not anchor.partition("\n")[0].rstrip().endswith(":"):
        text = rest.strip()
    for opening, closing in _QUOTES:
        inside = text[1:-1]
        if text == f"{opening}{inside}{closing}" and opening not in inside and not anchor.strip().startswith(opening):
            return inside.strip()
    return text
