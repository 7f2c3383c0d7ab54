"""Ending work that runs in another thread: on request, or when its time is over.

In: seconds, a request. Out: an error at the next step. Every run of a graph (`edgekit.runtime.session.run_graph`) looks
at the cancellation of the thread that it runs in, so no loop has to hand one on; between two looks lies one run, some
milliseconds of a step, at most a batch's encoding or a prompt's chunk.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import time
from collections.abc import Generator, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from edgekit.errors import CancelledError, DeadlineError, InputError

_T = TypeVar("_T")


class Cancellation:
    """What a caller hands to a call to be able to end it; any thread may.

    Attributes:
        deadline: When the work ends by itself, in `time.monotonic`'s seconds; None for never.
    """

    def __init__(self, timeout: float | None = None, parent: Cancellation | None = None) -> None:
        """Begins now.

        Args:
            timeout: Seconds until the work ends by itself, above 0; None for no such limit.
            parent: Another one that ends this one too.

        Raises:
            InputError: ``timeout`` is no such number, or ``parent`` no `Cancellation`.
        """
        if parent is not None and not isinstance(parent, Cancellation):
            raise InputError(f"cancellation must be a Cancellation, found {type(parent).__name__}")
        self._seconds = _seconds(timeout)
        self.deadline = None if self._seconds is None else time.monotonic() + self._seconds
        self._parent, self._is_cancelled = parent, False

    def cancel(self) -> None:
        """Ends the work at its next step; once it has ended this does nothing."""
        self._is_cancelled = True

    @property
    def is_over(self) -> bool:
        """Whether work is to end: cancelled, or out of time."""
        if self._is_cancelled or (self.deadline is not None and time.monotonic() >= self.deadline):
            return True
        return self._parent is not None and self._parent.is_over

    def check(self) -> None:
        """Does nothing while work may go on.

        Raises:
            CancelledError: It was cancelled.
            DeadlineError: Its time is over.
        """
        if self._is_cancelled:
            raise CancelledError("the work was cancelled by its caller")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineError(f"the work took longer than its timeout of {self._seconds:g} s")
        if self._parent is not None:
            self._parent.check()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Within it, every run of a graph by this thread checks first.

        Raises:
            CancelledError: It was cancelled.
            DeadlineError: Its time is over.
        """
        self.check()
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def limit(self, items: Iterator[_T]) -> Generator[_T, None, None]:
        """The same items, each made within `running`; closing it closes ``items``."""
        try:
            while True:
                with self.running():
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                yield item
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()


_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


def check_cancellation() -> None:
    """Raises what `Cancellation.check` does, if this thread works under one that is over."""
    current = _current.get()
    if current is not None:
        current.check()


def _seconds(timeout: Any) -> float | None:
    if timeout is None:
        return None
    is_number = isinstance(timeout, numbers.Real) and not isinstance(timeout, bool)
    seconds = float(timeout) if is_number else math.nan
    if not 0 < seconds < math.inf:
        raise InputError(f"timeout must be a number of seconds above 0, found {timeout!r}")
    return seconds
