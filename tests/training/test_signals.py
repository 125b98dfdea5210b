"""Signals reach the main thread alone: elsewhere the same blocks run, and change nothing."""

import signal
from threading import Thread

from transferkit.training.signals import sigterm_interrupts, stop_signal


def test_in_another_thread_the_blocks_run_and_no_handler_is_set() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def work() -> None:
        with stop_signal() as stop, sigterm_interrupts():
            seen.append((stop.asked, [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
