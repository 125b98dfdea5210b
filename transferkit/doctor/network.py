"""Whether the hub can be reached. Nothing but that asks for it: being offline is no fault."""

from collections.abc import Iterator
from http.client import HTTPException
from threading import Thread
from time import perf_counter
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from transferkit.doctor.findings import Finding

_SECONDS = 3.0


def examine_network(*, offline: bool) -> Iterator[Finding]:
    """One request to the hub's first page; none where ``offline``, or HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    address = constants.ENDPOINT
    if offline or constants.HF_HUB_OFFLINE:
        why = "--offline" if offline else "HF_HUB_OFFLINE is set"
        yield Finding("network", "hub", "skipped", f"{address}: not asked ({why})")
        return
    started = perf_counter()
    reason = _asked(address)
    if reason is None:
        yield Finding("network", "hub", "ok", f"{address}: answers in {perf_counter() - started:.1f} s")
    else:
        advice = "models are taken from folders and from the hub's cache; HF_HUB_OFFLINE=1 spares the waiting"
        yield Finding("network", "hub", "note", f"{address}: not reachable ({reason})", advice)


def _asked(address: str) -> str | None:
    """Why there was no answer in time; None: there was one. A thread, for looking a name up knows no timeout."""
    outcome: list[str | None] = []
    thread = Thread(target=lambda: outcome.append(_request(address)), daemon=True)
    thread.start()
    thread.join(_SECONDS + 1)
    return outcome[0] if outcome else f"no answer in {_SECONDS:.0f} s"


def _request(address: str) -> str | None:
    try:
        with urlopen(Request(address, method="HEAD"), timeout=_SECONDS):
            return None
    except HTTPError as error:
        return None if error.code < 500 else f"status {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
