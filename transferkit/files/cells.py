"""What a value of a table must be, by the role of its column, and what it becomes."""

import math
from collections.abc import Callable
from typing import Any, Literal

Check = Literal["text", "title", "label", "number", "id"]


def text(value: Any) -> str:
    """Text that is not blank.

    Raises:
        ValueError: it is none; says what it is.
    """
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {_shown(value)}")
    if not value.strip():
        raise ValueError(
            f"expected text, got only blanks ({value!r})" if value else "expected text, got an empty value"
        )
    return _unicode(value)


def title(value: Any) -> str:
    """Text or null, which becomes empty.

    Raises:
        ValueError: it is neither.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(f"expected text or null, got {_shown(value)}")
    return _unicode(value or "")


def label(value: Any) -> str:
    """A whole number or text that is not blank; both become text, so 3 equals "3".

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a whole number or text, got {_shown(value)}")
    return value


def number(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number, got {_shown(value)}") from None
    if not math.isfinite(found):
        raise ValueError(f"expected a finite number, got {_shown(value)}")
    return found


CONVERTERS: dict[Check, Callable[[Any], Any]] = {
    "text": text,
    "title": title,
    "label": label,
    "id": label,
    "number": number,
}


def _unicode(value: str) -> str:
    """JSON can write half of a surrogate pair, which no tokenizer reads and no file takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("expected text, got half of a surrogate pair") from None
    return value


def _shown(value: Any) -> str:
    shown = "null" if value is None else f"{type(value).__name__} {value!r}"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
