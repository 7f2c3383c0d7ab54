"""Calls that block, awaited: each runs in a thread of the event loop's, and ends with the task that awaits it.

In: a method that takes ``cancellation`` among its options. Out: a coroutine, an asynchronous iterator. A task that is
cancelled ends the work at its next step; the model then is free for others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from edgekit.runtime.cancellation import Cancellation

_END: Final = object()


async def call(work: Callable[..., Any], argument: Any, options: Mapping[str, Any]) -> Any:
    """What ``work(argument, **options)`` returns."""
    import asyncio  # only for those who await: it takes as long to import as the rest of the runtime

    own = Cancellation(None, options.get("cancellation"))
    try:
        return await asyncio.to_thread(work, argument, **{**options, "cancellation": own})
    finally:
        own.cancel()


async def iterate(start: Callable[..., Any], argument: Any, options: Mapping[str, Any]) -> AsyncIterator[Any]:
    """The items of the iterator that ``start(argument, **options)`` returns; at the end it is closed."""
    import asyncio

    own = Cancellation(None, options.get("cancellation"))
    items = await asyncio.to_thread(start, argument, **{**options, "cancellation": own})
    step: asyncio.Future[Any] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, items, _END))
            item = await asyncio.shield(step)
            if item is _END:
                return
            yield item
    finally:
        own.cancel()
        if step is not None and not step.done():
            await asyncio.wait({step})  # a generator that runs can't be closed
            step.exception()  # nobody else will ask for it
        items.close()
