"""What one request, and all of them together, may take: each number has a default that the command line can change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Attributes:
        body_bytes: Most bytes of a request's body.
        characters: Most characters of all texts of a request.
        texts: Most texts of a request.
        new_tokens: Most tokens that a language model generates for a text; a request for more gets these.
        requests: Most requests that are accepted and unanswered; what comes then is told to come again.
        connections: Most connections, idle ones among them.
        seconds: Most seconds from a request's head to the end of its answer.
        receive_seconds: Most seconds that a request's head, and then its body, takes to arrive.
        stall_seconds: Most seconds that a client reads nothing of its answer.
        batch_seconds: How long a translation waits for others to run with.
    """

    body_bytes: int = 2**20
    characters: int = 50_000
    texts: int = 256
    new_tokens: int = 1024
    requests: int = 256
    connections: int = 1024
    seconds: float = 120.0
    receive_seconds: float = 10.0
    stall_seconds: float = 30.0
    batch_seconds: float = 0.003
