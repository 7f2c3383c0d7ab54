"""What a client is told when its time is over; the threads that work for it see `edgekit.runtime.cancellation`."""

from __future__ import annotations

from edgekit.serve.request_error import RequestError


def deadline_error(seconds: float) -> RequestError:
    """What a client is told whose request took longer than ``seconds``."""
    return RequestError(504, f"the request took longer than this server's {seconds:g} s", code="timeout")
