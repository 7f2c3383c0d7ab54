"""A queue with lanes: who has much to do waits for those with little, lane by lane in turn.

Translation has a lane for each request, so a long list does not hold up a single sentence; text generation has one for
each client, so a client with many requests does not hold up another.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Any number of threads may put and take. Who may put how much is `edgekit.serve.admission`'s question."""

    def __init__(self) -> None:
        """Starts empty and open."""
        self._lanes: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, lane: Hashable, items: Iterable[T]) -> None:
        """Adds items behind those of their lane; a new lane is served after all others."""
        with self._changed:
            if added := deque(items):
                self._lanes.setdefault(lane, deque()).extend(added)
                self._changed.notify(len(added))

    def take(self, timeout: float | None = None) -> T | None:
        """The first item of the next lane.

        Args:
            timeout: Most seconds to wait for one; None to wait until there is one or the queue is closed.

        Returns:
            None when none came, or when the queue is closed and empty.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._lanes:
                left = None if until is None else until - time.monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                self._changed.wait(left)
            lane, items = self._lanes.popitem(last=False)
            item = items.popleft()
            if items:
                self._lanes[lane] = items
            return item

    def close(self) -> None:
        """Lets those who wait go; what is in the queue can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
