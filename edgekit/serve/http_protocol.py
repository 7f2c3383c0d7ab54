"""uvicorn's HTTP/1.1 with two deadlines that it lacks: for a request's head to arrive, for an answer to be read.

Without them a client that sends half a line, or reads nothing, holds its connection for ever. (The body's deadline is
`edgekit.serve.body`'s, the whole request's `edgekit.serve.lifetime`'s.)
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def timed_protocol(receive_seconds: float, stall_seconds: float) -> type[asyncio.Protocol]:
    """A protocol class for uvicorn's ``http=``.

    Args:
        receive_seconds: From a connection's beginning, or the first byte of a further request, to the end of the head.
        stall_seconds: While a client's side takes no more bytes.
    """

    class TimedProtocol(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None
        _stall_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head_timer = self.loop.call_later(receive_seconds, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_head()

        def _watch_head(self) -> None:
            """Times a head that has begun to arrive; a connection that idles between two is uvicorn's."""
            if self.conn.their_state is not h11.IDLE:
                _cancel(self._head_timer)
                self._head_timer = None
            elif self._head_timer is None and self.conn.trailing_data[0]:
                self._head_timer = self.loop.call_later(receive_seconds, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stall_timer = self.loop.call_later(stall_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._stall_timer)

        def connection_lost(self, exc: Exception | None) -> None:
            _cancel(self._head_timer)
            _cancel(self._stall_timer)
            super().connection_lost(exc)

    return TimedProtocol


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
