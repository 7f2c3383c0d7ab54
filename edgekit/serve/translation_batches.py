"""Micro-batching: the texts of all clients that wait are translated together, by worker threads.

A worker takes what waits, or waits for the first text and then a few milliseconds for others; texts of different
requests go in turn. A text's translation does not depend on its neighbours (`edgekit.runtime.batching`), so a client
sees nothing of this but the speed. Texts of clients that have gone, or whose deadline has passed, are left out.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgekit.errors import EdgekitError
from edgekit.runtime.cancellation import Cancellation
from edgekit.serve.fair_queue import FairQueue

# Enough for products of many rows, little enough that those who come next do not wait long.
MOST_TEXTS, MOST_CHARACTERS = 64, 4096

Translate = Callable[[list[str]], list[str]]


class TranslationBatches:
    """The queue of one translation model, and the threads that empty it."""

    def __init__(
        self,
        translate: Translate,
        *,
        workers: int,
        batch_seconds: float,
        observe: Callable[[int], None] = lambda texts: None,
    ) -> None:
        """Starts the threads.

        Args:
            translate: Texts to translations, safe to call from several threads.
            workers: Threads.
            batch_seconds: How long the first text of a batch waits for others.
            observe: Called with the number of texts of each batch.
        """
        self._translate, self._batch_seconds, self._observe = translate, batch_seconds, observe
        self._queue: FairQueue[_Text] = FairQueue()
        self._gathering = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    async def translate(self, texts: Sequence[str], cancellation: Cancellation) -> list[str]:
        """The translations of a request's texts, in their order.

        Raises:
            EdgekitError: The model can't translate one of them.
        """
        if not texts:
            return []
        job = _Job(len(texts), cancellation)
        self._queue.put(job, [_Text(job, place, text) for place, text in enumerate(texts)])
        return await job.translations

    def close(self) -> None:
        """Translates what waits, then ends the threads."""
        self._queue.close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (batch := self._gather()) is not None:
            waiting = [text for text in batch if not text.job.cancellation.is_over]
            if waiting:
                self._observe(len(waiting))
                self._run(waiting)

    def _gather(self) -> list[_Text] | None:
        """The texts of the next batch; None when the queue is closed and empty."""
        with self._gathering:
            if (first := self._queue.take()) is None:
                return None
            batch, characters = [first], len(first.text)
            until = time.monotonic() + self._batch_seconds
            while len(batch) < MOST_TEXTS and characters < MOST_CHARACTERS:
                if (text := self._queue.take(max(0.0, until - time.monotonic()))) is None:
                    break
                batch.append(text)
                characters += len(text.text)
            return batch

    def _run(self, batch: list[_Text]) -> None:
        try:
            for text, translation in zip(batch, self._translate([text.text for text in batch]), strict=True):
                text.job.deliver(text.place, translation)
        except EdgekitError as error:
            if len(batch) == 1:
                batch[0].job.fail(error)
            else:  # one text's fault is not its neighbours'
                for text in batch:
                    self._run([text])
        except Exception as error:  # whatever it is, the requests end with it and the thread goes on
            for text in batch:
                text.job.fail(error)


class _Job:
    """What one request waits for."""

    def __init__(self, count: int, cancellation: Cancellation) -> None:
        self.cancellation = cancellation
        self._loop = asyncio.get_running_loop()
        self.translations: asyncio.Future[list[str]] = self._loop.create_future()
        self._found, self._left = [""] * count, count
        self._lock = threading.Lock()

    def deliver(self, place: int, translation: str) -> None:
        with self._lock:
            self._found[place] = translation
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._loop.call_soon_threadsafe(self._finish, None)

    def fail(self, error: Exception) -> None:
        self.cancellation.cancel()
        self._loop.call_soon_threadsafe(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        if self.translations.done():
            return
        if error is None:
            self.translations.set_result(self._found)
        else:
            self.translations.set_exception(error)


class _Text(NamedTuple):
    job: _Job
    place: int
    text: str
