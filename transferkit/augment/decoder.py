"""A decoder that is asked for texts: through its chat template, or with a line that it goes on with."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from transferkit.augment.models import Model, end_tokens
from transferkit.augment.prompts import PLACE, ParaphrasePrompt
from transferkit.augment.settings import Setup
from transferkit.decoder.loading import DTYPES, input_embeddings, load_causal_lm, load_tokenizer, quiet_transformers
from transferkit.decoder.tokens import TextEncoder, pad_left
from transferkit.errors import ConfigError, first_line

# Some chat templates write the date: a run that goes on tomorrow must not differ. transformers 5.23 lets no function be
# handed to a template, so this one stands before it.
_DATE = "1 January 2025"
_CLOCK = f"{{% macro strftime_now(form) %}}{_DATE}{{% endmacro %}}"
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # relative; above it padding was not ignored


class Decoder:
    """A decoder and its tokenizer, loaded once for all prompts.

    Attributes:
        chat: whether it is spoken to through its chat template.
        batched: whether rows of different length may share a batch.
    """

    def __init__(self, model: PreTrainedModel, encoder: TextEncoder, *, chat: bool, name: str) -> None:
        self.model = model
        self.encoder = encoder
        self.chat = chat
        self.name = name
        self.ends = end_tokens(model, encoder.tokenizer.eos_token_id, name=name)
        self.stop = self.ends if chat else list(dict.fromkeys([*self.ends, *self._line_ends()]))
        self.context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.batched = self._padding_is_ignored()

    @classmethod
    def load(cls, which: Model, *, chat: bool | None, setup: Setup) -> "Decoder":
        """Load weights and tokenizer.

        Args:
            which: the model.
            chat: use the chat template; None: where the tokenizer has one.
            setup: dtype and device.

        Raises:
            ConfigError: it cannot be loaded, or ``chat`` is asked for and there is no chat template.
        """
        # On the hub the commit that was found, so that what is loaded is what was hashed.
        tokenizer = load_tokenizer(which.location, revision=which.revision)
        has_template = tokenizer.chat_template is not None
        if chat and not has_template:
            raise ConfigError(f"{which.name}: its tokenizer has no chat template; leave --chat away")
        chat = has_template if chat is None else chat
        device = torch.device(setup.device)
        model = load_causal_lm(which.location, revision=which.revision, dtype=DTYPES[setup.dtype], device=device)
        num_rows = input_embeddings(model).weight.shape[0]
        # A chat template writes BOS itself where there is one.
        encoder = TextEncoder(tokenizer, num_rows=num_rows, add_bos=False if chat else None)
        return cls(model, encoder, chat=chat, name=which.name)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return input_embeddings(self.model).weight.device

    def around(self, prompt: ParaphrasePrompt) -> tuple[list[int], list[int]]:
        """Ids before and after the text."""
        asked = self._chat_text(prompt.chat) if self.chat else prompt.completion
        if asked.count(PLACE) != 1:
            raise ConfigError(f"{self.name}: its chat template does not show a message exactly once; use --no-chat")
        before, after = asked.split(PLACE)
        return self.encoder.bos + self.encoder.literal(before), self.encoder.literal(after) if after else []

    def _chat_text(self, message: str) -> str:
        tokenizer = self.encoder.tokenizer
        try:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": message}],
                chat_template=_CLOCK + tokenizer.get_chat_template(),
                tokenize=False,
                add_generation_prompt=True,
                # Templates that do not know these ignore them.
                enable_thinking=False,
                date_string=_DATE,
            )
        except Exception as error:  # it is a program, and may fail with anything
            raise ConfigError(
                f"{self.name}: its chat template fails ({first_line(error)}); use --no-chat, or mend the template"
            ) from None
        return str(text)

    def answer(self, tokens: list[int]) -> str:
        """What a row says, its end left away; without a chat template up to the end of the line."""
        # A token that ends a line may begin with text, so it is read before it is cut.
        kept = tokens[:-1] if tokens and tokens[-1] in self.ends else tokens
        text = str(self.encoder.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return text if self.chat else text.partition("\n")[0]

    def _line_ends(self) -> list[int]:
        ids = range(self.encoder.vocabulary_rows)
        texts = self.encoder.tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
        return [i for i, text in zip(ids, texts, strict=True) if "\n" in text]

    def _padding_is_ignored(self) -> bool:
        """Whether a short row in a padded batch gets the same scores as alone, in the first two steps of generation."""
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randint(0, self.encoder.vocabulary_rows, (n,), generator=generator).tolist() for n in (12, 5)]
        try:
            padded = self._two_steps(rows)[:, 1]
        except Exception:
            return False
        alone = self._two_steps(rows[1:])[:, 0]
        error = float((padded - alone).norm() / alone.norm().clamp(min=1e-12))
        return error <= _TOLERANCE[self.model.dtype]

    def _two_steps(self, rows: list[list[int]]) -> Tensor:
        """Logits (2, B, V) of two greedy steps after ``rows``."""
        ids, mask = pad_left(rows, device=self.device)
        generate: Any = self.model.generate
        with quiet_transformers(), torch.no_grad():
            out = generate(
                ids,
                attention_mask=mask.long(),
                pad_token_id=self.ends[0],
                output_logits=True,
                return_dict_in_generate=True,
                do_sample=False,
                num_beams=1,
                max_new_tokens=2,
                min_new_tokens=2,
            )
        return torch.stack(out.logits).float()
