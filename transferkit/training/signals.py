"""Ctrl-C and SIGTERM as a wish to stop, so that no step is torn."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """The user asked to stop; everything up to the last step is saved."""


@dataclass
class StopSignal:
    """Whether the user asked to stop."""

    asked: bool = False


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Turn the first SIGINT or SIGTERM into a flag, so that no step is torn; the second one acts at once."""
    stop = StopSignal()
    previous: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        signal.signal(number, previous[number])

    try:
        for handled in (signal.SIGINT, signal.SIGTERM):
            previous[handled] = signal.signal(handled, ask)
    except ValueError:
        pass  # not in the main thread: no signals reach it
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
