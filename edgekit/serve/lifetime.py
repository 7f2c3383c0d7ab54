"""The frame of every request: its deadline, what is let go at its end, its line in the log, its metrics.

An ASGI application around another. Whatever ends a request (an answer, a fault, a client that has gone, the deadline)
passes here, so a place in the queue is never lost.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgekit.runtime.cancellation import Cancellation
from edgekit.serve.deadline import deadline_error
from edgekit.serve.logs import logger
from edgekit.serve.metrics import Metrics
from edgekit.serve.request_error import CLIENT_GONE, error_response
from edgekit.serve.service import RequestState

# What notices the deadline itself, such as a stream, has this long to say so.
GRACE_SECONDS = 0.5


class Lifetime:
    """The application that a server runs; ``paths`` are the ones that it knows, others are logged as ``other``."""

    def __init__(self, app: ASGIApp, paths: frozenset[str], seconds: float, metrics: Metrics) -> None:
        self._app, self._paths, self._seconds, self._metrics = app, paths, seconds, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs a request of at most so many seconds."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        exchange = _Exchange(scope, receive, send)
        with ExitStack() as exits:
            scope["edgekit"] = state = RequestState(Cancellation(self._seconds), exits)
            try:
                async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                    await self._app(scope, exchange.receive, exchange.send)
            except TimeoutError:
                if exchange.status is None:
                    refusal = error_response(scope["path"], deadline_error(self._seconds))
                    await refusal(scope, receive, exchange.send)
            finally:
                self._record(scope, state, exchange, time.monotonic() - started)

    def _record(self, scope: Scope, state: RequestState, exchange: _Exchange, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self._paths else "other"
        status = CLIENT_GONE if not exchange.is_answered and exchange.status in {None, 200} else exchange.status
        self._metrics.requests.labels(path, str(status)).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        method = scope["method"] if scope["method"] in {"GET", "POST", "HEAD", "OPTIONS"} else "other"
        facts = {"method": method, "path": path, "status": status, "ms": round(seconds * 1000, 1), **state.facts}
        logger.info("request", extra={"facts": facts})


class _Exchange:
    """Passes a request's body and its answer on, and keeps how far both have come."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.status: int | None = None
        self.is_answered = False
        self._is_received = not any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in scope["headers"]
        )

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._is_received = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._is_received:
                # Else the client might go on sending for ever what nobody reads.
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_answered = True
