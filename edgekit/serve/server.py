"""Runs the application in uvicorn until it is told to end: SIGTERM, or Ctrl-C.

Then no connection is accepted any more, what was accepted is answered, the threads end, and so does the process. It
serves plain HTTP; a reverse proxy in front of it brings TLS.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Sequence

import uvicorn

from edgekit.errors import InputError
from edgekit.serve.app import build_app
from edgekit.serve.http_protocol import timed_protocol
from edgekit.serve.logs import log_to_stderr, logger
from edgekit.serve.service import Service

KEEP_ALIVE_SECONDS = 15
# A request's head; more is refused by h11.
HEAD_BYTES = 16384
# After the last request's deadline; what is not answered then never will be.
GRACE_SECONDS = 5


def serve(service: Service, host: str, port: int) -> None:
    """Answers requests until SIGTERM (returns) or Ctrl-C.

    Args:
        service: What is served; closed at the end.
        host: The address to listen on.
        port: The port; 0 for a free one, which the log says.

    Raises:
        InputError: Nothing can be bound there.
        KeyboardInterrupt: Ctrl-C, after the last answer.
    """
    with contextlib.closing(service), contextlib.closing(bind(host, port)) as bound:
        log_to_stderr()
        # uvicorn raises the signal again when it is done, and the default would then kill the process.
        previous = signal.signal(signal.SIGTERM, lambda number, frame: None)
        try:
            _Server(_configuration(service), url(bound), _names(service)).run([bound])
        finally:
            signal.signal(signal.SIGTERM, previous)
    logger.info("ended")


def _configuration(service: Service) -> uvicorn.Config:
    limits = service.limits
    return uvicorn.Config(
        build_app(service),
        http=timed_protocol(limits.receive_seconds, limits.stall_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(limits.seconds) + GRACE_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=limits.connections,
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address, not yet listening.

    Raises:
        InputError: It is taken, or not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"can't listen on {host}, port {port}: {reason}; choose others with --host, --port") from None
    return bound


def url(bound: socket.socket) -> str:
    """Where a bound socket is reached: ``http://127.0.0.1:8000``."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says when it listens, and when it is told to end."""

    def __init__(self, config: uvicorn.Config, where: str, models: Sequence[str]) -> None:
        super().__init__(config)
        self._facts = {"url": where, "models": list(models)}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("listening", extra={"facts": self._facts})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("ending", extra={"facts": {"unanswered": len(self.server_state.tasks)}})
        await super().shutdown(sockets)


def _names(service: Service) -> list[str]:
    models = service.models
    return [model.name for model in models.translators] + [model.name for model in models.generators]
