"""What an examination finds."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong", "skipped"]
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: ``versions``, ``devices``, ``4-bit``, ``memory``, ``disk``, ``caches`` or ``network``.
        name: what was looked at.
        state: ``wrong`` hinders work; ``note`` is worth knowing; ``skipped`` could not be looked at.
        found: in words.
        advice: what to do about it.
    """

    area: str
    name: str
    state: State
    found: str
    advice: str | None = None


def in_words(size: float) -> str:
    """Bytes as people write them."""
    if size >= GIB:
        return f"{size / GIB:.1f} GiB"
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"
