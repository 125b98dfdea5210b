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
    """Turn the first SIGINT or SIGTERM into a flag, so that no step is torn; the second one acts at once.

    Raises:
        KeyboardInterrupt: at the end of the block, where one came after it was last asked for.
    """
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
    if stop.asked:
        raise KeyboardInterrupt


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Inside, SIGTERM does what Ctrl-C does wherever it comes: what waits for the one need not wait for the other."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread: no signals reach it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
