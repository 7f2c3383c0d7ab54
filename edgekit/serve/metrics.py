"""What Prometheus is told at ``/metrics``: requests, times, the queue, batches, characters, tokens, this process.

A registry of its own, so that an app that embeds the server keeps its metrics apart. Labels are names of routes and
models: there are few of each, and none comes from a client.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one server.

    Attributes:
        requests: Answers by path and status; a client that went away has status 499.
        seconds: From a request's head to the end of its answer, by path.
        characters: Characters of accepted texts, by model.
        tokens: Generated tokens, by model.
        batch_texts: How many texts were translated together, by model.
    """

    def __init__(self, queued: Callable[[], int]) -> None:
        """Starts at zero; ``queued`` tells how many requests are accepted and unanswered."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "edgekit_requests", "Requests answered, by path and status.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "edgekit_request_seconds", "Seconds a request took.", ["path"], buckets=_SECONDS, registry=registry
        )
        self.characters = Counter(
            "edgekit_characters", "Characters of the texts that were accepted.", ["model"], registry=registry
        )
        self.tokens = Counter("edgekit_generated_tokens", "Tokens generated.", ["model"], registry=registry)
        self.batch_texts = Histogram(
            "edgekit_batch_texts", "Texts translated together.", ["model"], buckets=_TEXTS, registry=registry
        )
        gauge = Gauge("edgekit_requests_in_progress", "Requests accepted and unanswered.", registry=registry)
        gauge.set_function(queued)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
