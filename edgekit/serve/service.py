"""What the routes of a server share: models, their queues, limits, keys and metrics; and a request's own part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from edgekit.runtime.cancellation import Cancellation
from edgekit.serve.admission import Admission
from edgekit.serve.api_keys import ApiKeys
from edgekit.serve.limits import Limits
from edgekit.serve.metrics import Metrics
from edgekit.serve.models import Models, ServedTranslator
from edgekit.serve.text_schedule import TextSchedule
from edgekit.serve.translation_batches import Translate, TranslationBatches

T = TypeVar("T")


@dataclass
class RequestState:
    """What belongs to one request from its head to the end of its answer.

    Attributes:
        cancellation: Ends with it, for the threads that work for it.
        exits: What is let go at its end: its place in the queue, its cancellation.
        facts: What the log says of it; never a text.
    """

    cancellation: Cancellation
    exits: ExitStack
    facts: dict[str, Any] = field(default_factory=dict)


class Service:
    """A server without its HTTP.

    Attributes:
        models: What is served.
        limits: Bounds of requests.
        keys: Who may ask.
        admission: The places of the queue.
        metrics: Counts for Prometheus.
        batches: The queue of each translation model, by its name.
        schedules: The queue of each language model, by its name.
    """

    def __init__(self, models: Models, limits: Limits, keys: ApiKeys, workers: int) -> None:
        """Starts the worker threads, ``workers`` for each translation model and one for each language model."""
        self.models, self.limits, self.keys = models, limits, keys
        self.admission = Admission(limits.requests)
        self.metrics = Metrics(lambda: self.admission.taken)
        self.batches = {
            model.name: TranslationBatches(
                _translate(model),
                workers=workers,
                batch_seconds=limits.batch_seconds,
                observe=self.metrics.batch_texts.labels(model.name).observe,
            )
            for model in models.translators
        }
        self.schedules = {model.name: TextSchedule() for model in models.generators}

    def close(self) -> None:
        """Ends the threads, after what they were given, and lets go of the models."""
        for batches in self.batches.values():
            batches.close()
        for schedule in self.schedules.values():
            schedule.close()
        self.models.close()

    def accept(self, request: Request) -> RequestState:
        """Takes a place for a request until its end.

        Raises:
            RequestError: 503, there is none.
        """
        state = state_of(request)
        state.exits.enter_context(self.admission.place())
        state.exits.callback(state.cancellation.cancel)
        return state


def state_of(request: Request) -> RequestState:
    """A request's own state, which `edgekit.serve.lifetime` made."""
    state: RequestState = request.scope["edgekit"]
    return state


def key_of(request: Request, fields: Mapping[str, Any]) -> str | None:
    """A request's API key: ``Authorization: Bearer KEY`` as OpenAI's, or a field ``api_key`` as LibreTranslate's."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    key = fields.get("api_key")
    return key if isinstance(key, str) else None


def client_of(request: Request, key: str | None, keys: ApiKeys) -> str:
    """Whose turn it is: a client is known by its key where keys are used, else by its address."""
    if keys and key is not None:
        return key
    return request.client.host if request.client else ""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of ``work``, which is cancelled when the client goes.

    Raises:
        ClientDisconnect: It has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _translate(model: ServedTranslator) -> Translate:
    translate: Callable[[list[str]], list[str]] = model.translator.translate
    return translate
