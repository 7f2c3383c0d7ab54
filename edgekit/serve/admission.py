"""How many requests are accepted and unanswered, and who is sent away when that is the limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.serve.request_error import RequestError


class Admission:
    """Places for requests; used by the event loop's thread only.

    Attributes:
        taken: Places that are taken now.
    """

    def __init__(self, most: int) -> None:
        """Starts with ``most`` free places."""
        self.taken, self._most = 0, most

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for the time of the ``with`` block.

        Raises:
            RequestError: 503, all are taken.
        """
        if self.taken >= self._most:
            raise RequestError(
                503, f"all {self._most} places of this server's queue are taken; try again", code="queue_full"
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
