"""The errors that the command line prints as one sentence, and what helps to word them."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class TransferkitError(Exception):
    """An error with a message for the user; ``exit_code`` is what the command line returns."""

    exit_code = 1


class ConfigError(TransferkitError):
    """Wrong input: a name, file, value or combination that the user can correct (exit code 2)."""

    exit_code = 2


class RunError(TransferkitError):
    """Valid input, but the work could not be done (exit code 1)."""


class RefusedError(RunError):
    """The machine refused to write: a full disk, missing rights, a folder that is gone.

    Attributes:
        what: was refused and why; the way out stands behind it in the message.
    """

    def __init__(self, what: str, way_out: str) -> None:
        super().__init__(f"{what}; {way_out}")
        self.what = what


class UnreachableError(RunError):
    """Data that are neither on this machine nor to be had from the hub now."""


class CutTextWarning(UserWarning):
    """Texts that were longer than a model reads; the command line says it in words of its own."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest known name, or an empty string.

    Compared without case: a name typed in the wrong case is the commonest mistake. For 'text' nobody means 'intent'.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    match = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.65)
    return f"; did you mean {by_lower[match[0]]!r}?" if match else ""


def one_of(known: Sequence[str]) -> str:
    """``'a', 'b' or 'c'``."""
    *others, last = map(repr, known)
    return f"{', '.join(others)} or {last}" if others else last


def with_article(noun: str) -> str:
    """``a run`` or ``an adapt run``, by the first letter."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def first_line(error: BaseException) -> str:
    """First line of the innermost cause, which names the fault; the outer ones only say that it failed."""
    while (inner := error.__cause__) is not None:
        error = inner
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
