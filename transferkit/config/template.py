"""What the backbone reads: literal text around ``{text}``, ``{soft}`` and, where wanted, ``{instruction}``."""

import re
from dataclasses import dataclass

_FIELD = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("text", "soft", "instruction")


@dataclass(frozen=True)
class Template:
    """A template split at its placeholders; soft tokens before the text, behind it or inside a prompt are one form.

    ``parts`` alternates freely between literals and the placeholders ``{text}``, ``{soft}``, ``{instruction}``;
    :attr:`before` and :attr:`after` are the parts on either side of ``{soft}``.
    """

    source: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, source: str) -> "Template":
        """Split ``source``.

        Raises:
            ValueError: unknown placeholder, ``{text}`` not exactly once, ``{soft}`` or ``{instruction}`` twice.
        """
        names = _FIELD.findall(source)
        for name in names:
            if name not in _KNOWN:
                raise ValueError(
                    f"template {source!r}: unknown placeholder {{{name}}}, allowed: {{text}}, {{soft}}, {{instruction}}"
                )
        if names.count("text") != 1:
            raise ValueError(f"template {source!r}: needs {{text}} exactly once, got it {names.count('text')} times")
        for name in ("soft", "instruction"):
            if names.count(name) > 1:
                raise ValueError(
                    f"template {source!r}: {{{name}}} may stand only once, got it {names.count(name)} times"
                )
        pieces = re.split(r"(\{[^{}]*\})", source)
        return cls(source=source, parts=tuple(piece for piece in pieces if piece))

    @property
    def has_soft(self) -> bool:
        """Whether soft tokens have a place in it."""
        return "{soft}" in self.parts

    @property
    def before(self) -> tuple[str, ...]:
        """Parts before ``{soft}``; all parts where there is none."""
        return self.parts[: self.parts.index("{soft}")] if self.has_soft else self.parts

    @property
    def after(self) -> tuple[str, ...]:
        """Parts after ``{soft}``."""
        return self.parts[self.parts.index("{soft}") + 1 :] if self.has_soft else ()

    @property
    def soft_sees_text(self) -> bool:
        """Whether the text stands before the soft positions, so that a causal model can read it there."""
        return "{text}" in self.before and self.has_soft

    def without_soft(self) -> "Template":
        """The same template for a method that has no soft tokens."""
        return Template.parse(self.source.replace("{soft}", ""))
