"""Text generation for many clients at once: one thread, a token for each running text in turn.

A few texts run, the others wait, client by client in turn; so a short answer does not wait for long ones, and a client
with many requests does not hold up another. Each text runs alone through the model: what comes out does not depend on
who else is served. A text whose client has gone, or whose deadline has passed, ends before its next token.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from typing import NamedTuple

from edgekit.errors import CancelledError, DeadlineError
from edgekit.runtime.cancellation import Cancellation
from edgekit.runtime.token_stream import TokenStream
from edgekit.serve.fair_queue import FairQueue

# Each holds the model's state for its whole text in memory.
MOST_RUNNING = 8


class Piece(NamedTuple):
    """A piece of a text.

    Attributes:
        text: Whole characters; may be empty.
        tokens: How many tokens there are by now.
        finish_reason: Why the text ends with it: ``stop`` or ``length``; None where it goes on.
    """

    text: str
    tokens: int
    finish_reason: str | None


class TextJob(NamedTuple):
    """One text to generate.

    Attributes:
        ids: Its ids, each calculated when it is asked for.
        limit: After so many the text is as long as it may be.
        stream: Makes text of the ids.
        cancellation: Whether the client waits.
        deliver: Called by the schedule's thread with each piece, or with the error that ends the text: TimeoutError
            where the deadline has passed (or nobody hears it any more).
    """

    ids: Iterator[int]
    limit: int
    stream: TokenStream
    cancellation: Cancellation
    deliver: Callable[[Piece | Exception], None]


class TextSchedule:
    """The queue of one language model, and the thread that empties it."""

    def __init__(self, most_running: int = MOST_RUNNING) -> None:
        """Starts the thread; up to ``most_running`` texts run at once."""
        self._most_running = most_running
        self._queue: FairQueue[TextJob] = FairQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, client: Hashable, jobs: list[TextJob]) -> None:
        """Adds a request's texts to those that wait."""
        self._queue.put(client, jobs)

    def close(self) -> None:
        """Generates what waits, then ends the thread."""
        self._queue.close()
        self._thread.join()

    def _work(self) -> None:
        running: deque[tuple[TextJob, Generator[Piece, None, None]]] = deque()
        while True:
            if len(running) < self._most_running:
                job = self._queue.take(0 if running else None)
                if job is not None:
                    running.append((job, _pieces(job)))
                elif not running:
                    return
            job, pieces = running.popleft()
            if _advance(job, pieces):
                running.append((job, pieces))


def _advance(job: TextJob, pieces: Generator[Piece, None, None]) -> bool:
    """Runs a text by one token; whether it goes on."""
    if job.cancellation.is_over:
        job.deliver(TimeoutError())
        pieces.close()
        return False
    try:
        piece = next(pieces)
    except (CancelledError, DeadlineError):  # in the middle of a long prompt
        job.deliver(TimeoutError())
        return False
    except Exception as error:  # whatever it is, the request ends with it and the thread goes on
        job.deliver(error)
        return False
    job.deliver(piece)
    if piece.finish_reason is not None:
        pieces.close()
        return False
    return True


def _pieces(job: TextJob) -> Generator[Piece, None, None]:
    """The pieces of a text, one a token; the last has a reason."""
    count = 0
    with contextlib.closing(job.ids) if isinstance(job.ids, Generator) else contextlib.nullcontext():
        for token_id in job.ids:
            count += 1
            text = job.stream.push(token_id)
            if job.stream.stopped:
                yield Piece(text, count, "stop")
            elif count >= job.limit:
                yield Piece(text + job.stream.finish(), count, "length")
            else:
                yield Piece(text, count, None)
    yield Piece(job.stream.finish(), count, "stop")
