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
    return _writable(value)


def title(value: Any) -> str:
    """Text or null, which becomes empty.

    Raises:
        ValueError: it is neither.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(f"expected text or null, got {_shown(value)}")
    return _writable(value or "")


def label(value: Any) -> str:
    """A whole number or text that is not blank; both become text, so 3 equals "3".

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a whole number or text, got {_shown(value)}")
    return _writable(value)


def number(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    try:
        found = float(value)
        if isinstance(value, bytes) or "_" in str(value):  # 1_0 is ten to Python alone
            raise ValueError
    except (TypeError, ValueError, OverflowError):
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


def _writable(value: str) -> str:
    """Text without half of a surrogate pair, which JSON can write and no file takes, and without NUL.

    What holds NUL is mostly UTF-16, which reads as UTF-8 with one behind every letter; numpy drops those at an end.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("expected text, got half of a surrogate pair") from None
    if "\0" in value:
        raise ValueError("expected text, got a NUL character (a file of UTF-16 is full of them: save it as UTF-8)")
    return value


def _shown(value: Any) -> str:
    shown = "null" if value is None else f"{type(value).__name__} {value!r}"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
