"""Connections are refused and remembered: what works on this machine alone asks nobody."""

import socket
import sys
from typing import Any

_LOOPBACK = ("127.0.0.1", "::1", "localhost", "")
_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")

asked: list[str] = []
"""Places that something wanted to reach."""


def refuse_connections() -> None:
    """From now on every connection of this process to another machine, and every question for its address, fails.

    Libraries take that for a machine without a network; a test finds it in :data:`asked`. Python cannot be rid of the
    hook any more, so it is set once.
    """

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event not in _EVENTS:
            return
        place = given[-1] if event in ("socket.connect", "socket.sendto", "socket.sendmsg") else given[0]
        host = place[0] if isinstance(place, tuple) else place
        if isinstance(given[0], socket.socket) and given[0].family == socket.AF_UNIX:
            return
        if host is not None and host not in _LOOPBACK and host != socket.gethostname():
            asked.append(f"{event} {place}")
            raise ConnectionRefusedError(f"{place}: tests reach no other machine")

    sys.addaudithook(hook)
