"""A request's deadline, as the threads that work for it see it."""

from __future__ import annotations

import time

from edgekit.serve.request_error import RequestError


class Patience:
    """Whether somebody still waits for a result; the event loop ends it, worker threads look.

    Attributes:
        deadline: When the wait ends by itself, in `time.monotonic`'s seconds.
    """

    def __init__(self, deadline: float) -> None:
        """Lasts until ``deadline`` or `end`."""
        self.deadline, self._ended = deadline, False

    def end(self) -> None:
        """The client has its answer, or has gone."""
        self._ended = True

    @property
    def is_over(self) -> bool:
        """Whether work for this request is in vain."""
        return self._ended or time.monotonic() >= self.deadline


def deadline_error(seconds: float) -> RequestError:
    """What a client is told whose request took longer than ``seconds``."""
    return RequestError(504, f"the request took longer than this server's {seconds:g} s", code="timeout")
