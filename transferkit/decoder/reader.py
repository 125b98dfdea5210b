"""A decoder behind a template: texts and soft tokens -> last hidden states, by the cheapest path that is exact.

What stands before the soft tokens runs without gradient into a KV cache; the soft tokens and what follows run with
gradient on top of it. Whether a decoder's cached pass is exact is measured when it is loaded, never looked up.
"""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Final

from torch import Tensor

from transferkit.config.template import Template
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.device import is_short
from transferkit.decoder.passes import Hidden, joined
from transferkit.decoder.text_states import TextState, TextStateMemory
from transferkit.decoder.tokens import Rows, TemplateEncoder, alike, way_out
from transferkit.errors import ConfigError


class Reader:
    """How a decoder is read. Nothing of it changes: another template is another reader on the same decoder.

    Args:
        decoder: that reads.
        template: None: its spec's.
        max_length: tokens of the text that are asked for; cut to what the context leaves.
        soft_tokens: k, kept free in the context.
        layers: hidden states are the mean over so many last layers' outputs, as the decoder hands them out (the last
            one with its final norm).
        closed: whether rows end with EOS where the spec asks for one.

    Raises:
        ConfigError: template and soft tokens leave no room for text in the context, or fewer layers than asked for.
    """

    def __init__(
        self,
        decoder: Decoder,
        template: str | None = None,
        *,
        max_length: int = 128,
        soft_tokens: int = 0,
        layers: int = 1,
        closed: bool = True,
    ) -> None:
        self.decoder: Final = decoder
        self.template: Final = Template.parse(decoder.spec.template if template is None else template)
        self.max_length: Final = max_length
        self.soft_tokens: Final = soft_tokens
        self.layers: Final = layers
        room = _room(decoder, TemplateEncoder(decoder.encoder, self.template, max_length=1, closed=closed), soft_tokens)
        self.text_tokens: Final = (
            max_length if room is None else min(max_length, room)
        )  # tokens of a text that are read
        self.rows: Final = TemplateEncoder(
            decoder.encoder,
            self.template,
            max_length=self.text_tokens,
            closed=closed,
            remedy=way_out("embedding.max_length", full=self.text_tokens == max_length),
        )
        if layers > 1:
            decoder.passes.full_pass(Rows(before=[[decoder.encoder.filler]], after=[[]]), None, layers=layers)

    def behind(self, template: str, *, closed: bool = True, max_length: int | None = None) -> "Reader":
        """The same decoder behind another template; ``max_length`` instead of this reader's."""
        return Reader(
            self.decoder,
            template,
            max_length=self.max_length if max_length is None else max_length,
            soft_tokens=self.soft_tokens,
            layers=self.layers,
            closed=closed,
        )

    def __call__(self, rows: Rows, soft: Tensor | None, *, memory: TextStateMemory | None = None) -> Hidden:
        """Hidden states of ``rows`` with ``soft`` (B, k, d_e) at the template's place, or without soft tokens.

        Gradients flow into ``soft`` and, on the full path, into whatever adapters the trunk carries. With ``memory``
        text that was read before is not read again; only the cached path has such text.

        Rows that attend as short ones do are read apart from longer ones, so that no row is rounded in another way
        beside a long one than alone.

        Raises:
            ConfigError: a full pass on a decoder whose padded rows are not exact.
        """
        groups = self._alike(rows, 0 if soft is None else soft.shape[1])
        if len(groups) < 2:
            return self._read(rows, soft, memory)
        parts = [self._read(rows.take(at), None if soft is None else soft[at], memory) for at in groups]
        return joined(parts, groups, static=partial(self.decoder.passes.mean_token_embeddings, rows))

    def _alike(self, rows: Rows, soft_tokens: int) -> list[list[int]]:
        """Places of rows that attend in one way, by themselves."""
        if not self.decoder.passes.short_attention:
            return [[*range(len(rows.before))]]
        cached = soft_tokens > 0 and self.takes_cached_path(rows)
        keys: list[Hashable] = []
        for before, after in zip(map(len, rows.before), map(len, rows.after), strict=True):
            total = before + soft_tokens + after
            keys.append(
                (is_short(before, before), is_short(total - before, total)) if cached else is_short(total, total)
            )
        return alike(keys)

    def _read(self, rows: Rows, soft: Tensor | None, memory: TextStateMemory | None) -> Hidden:
        passes = self.decoder.passes
        if soft is not None and self.takes_cached_path(rows):
            state = self.read_text(rows) if memory is None else memory.get(rows, read=self.read_text)
            return passes.continue_text(state, rows, soft.to(passes.dtype), layers=self.layers)
        if not self.decoder.exactness.full:
            raise ConfigError(
                f"{self.decoder.spec.name}: template {self.template.source!r} needs a full pass over padded rows, "
                "which is not exact on this decoder; only soft tokens that stand last can be read on it"
            )
        return self.full_pass(rows, soft)

    @property
    def is_cached(self) -> bool:
        """Whether text runs in a cache below the soft tokens, where every row has as many tokens after them."""
        return self.template.soft_sees_text and self.decoder.exactness.cached

    def takes_cached_path(self, rows: Rows) -> bool:
        """Whether soft tokens in ``rows`` run on top of cached text: exact on this decoder, and columns line up.

        They do where every row has text before its soft tokens and equally many tokens after them.
        """
        return self.decoder.exactness.cached and all(rows.before) and len({len(row) for row in rows.after}) == 1

    def read_text(self, rows: Rows) -> TextState:
        """See :meth:`Passes.read_text`."""
        return self.decoder.passes.read_text(rows, layers=self.layers)

    def full_pass(self, rows: Rows, soft: Tensor | None) -> Hidden:
        """See :meth:`Passes.full_pass`; ``soft`` in whatever precision."""
        passes = self.decoder.passes
        return passes.full_pass(rows, None if soft is None else soft.to(passes.dtype), layers=self.layers)

    def mean_token_embeddings(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """See :meth:`Passes.mean_token_embeddings`."""
        return self.decoder.passes.mean_token_embeddings(self.rows(texts, instructions))


def _room(decoder: Decoder, empty: TemplateEncoder, soft_tokens: int) -> int | None:
    """Tokens of a text that fit beside template and soft tokens; None where no limit is known."""
    if decoder.context is None:
        return None
    template = empty.template
    variable = sum(part in ("{text}", "{instruction}") for part in template.parts)
    left = (decoder.context - soft_tokens - empty.overhead()) // variable
    if left < 1:
        raise ConfigError(
            f"{soft_tokens} soft tokens and {empty.overhead()} of template {template.source!r} do not leave room for "
            f"text in a context of {decoder.context} positions; lower prompting.tokens"
        )
    return left
