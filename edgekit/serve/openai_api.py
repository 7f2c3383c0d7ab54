"""OpenAI's API for language models: ``/v1/chat/completions``, ``/v1/completions``, ``/v1/models``.

A request's texts run in turn with those of others (`edgekit.serve.text_schedule`); their pieces come to the event loop
as they are generated, and go to the client at once where it asked for a stream.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.runtime.cancellation import Cancellation
from edgekit.runtime.token_stream import TokenStream
from edgekit.serve.body import check_texts, read_fields
from edgekit.serve.deadline import deadline_error
from edgekit.serve.limits import Limits
from edgekit.serve.logs import logger
from edgekit.serve.models import ServedGenerator
from edgekit.serve.openai_answer import END_OF_STREAM, Answer, Text, event, usage
from edgekit.serve.openai_request import TextRequest, read_chat, read_completion
from edgekit.serve.request_error import RequestError, error_body
from edgekit.serve.service import RequestState, Service, client_of, key_of, unless_gone
from edgekit.serve.text_schedule import Piece, TextJob

Read = Callable[[Mapping[str, Any], Limits], TextRequest]
Pieces = asyncio.Queue[tuple[int, Piece | Exception]]


def routes(service: Service, started: int) -> list[Route]:
    """The routes of a server that started at ``started``, in seconds of Unix time."""

    async def chat(request: Request) -> Response:
        return await _complete(service, request, read_chat, is_chat=True)

    async def completions(request: Request) -> Response:
        return await _complete(service, request, read_completion, is_chat=False)

    async def models(request: Request) -> JSONResponse:
        check_key(service, key_of(request, {}))
        return JSONResponse({"object": "list", "data": list_models(service, started)})

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
    ]


def check_key(service: Service, key: str | None) -> None:
    """Checks the key of a request.

    Raises:
        RequestError: 401, it is missing or unknown.
    """
    if not service.keys.allows(key):
        raise RequestError(
            401, "this server needs an API key it knows, as Authorization: Bearer", code="invalid_api_key"
        )


def list_models(service: Service, started: int) -> list[dict[str, Any]]:
    """All models; those that translate have their languages too, for the page and other clients of edgekit."""
    common = {"object": "model", "created": started, "owned_by": "edgekit"}
    translators = [
        {"id": model.name, **common, "task": "translation", "source": model.source, "target": model.target}
        for model in service.models.translators
    ]
    return translators + [
        {"id": model.name, **common, "task": "text-generation"} for model in service.models.generators
    ]


async def _complete(service: Service, request: Request, read: Read, *, is_chat: bool) -> Response:
    fields = await read_fields(request, service.limits)
    key = key_of(request, fields)
    check_key(service, key)
    asked = read(fields, service.limits)
    check_texts(asked.texts, service.limits, "messages" if is_chat else "prompt")
    model = service.models.find_generator(asked.model)
    state = service.accept(request)
    state.facts |= {"model": model.name, "characters": sum(map(len, asked.texts)), "streams": asked.streams}
    pieces: Pieces = asyncio.Queue()
    try:
        jobs, prompt_tokens = await asyncio.to_thread(
            _jobs, model, asked, state.cancellation, _deliver(asyncio.get_running_loop(), pieces)
        )
    except UnsupportedError as error:
        raise RequestError(400, str(error), param="messages") from None
    state.facts["prompt_tokens"] = prompt_tokens
    service.metrics.characters.labels(model.name).inc(state.facts["characters"])
    service.schedules[model.name].put(client_of(request, key, service.keys), jobs)
    generation = _Generation(service, state, model.name, pieces, len(jobs), prompt_tokens)
    answer = Answer(model.name, is_chat=is_chat)
    if asked.streams:
        events = generation.stream(answer, request.url.path, includes_usage=asked.includes_usage)
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})
    return JSONResponse(await unless_gone(request, generation.whole(answer)))


Deliver = Callable[[int, Piece | Exception], None]


def _deliver(loop: asyncio.AbstractEventLoop, pieces: Pieces) -> Deliver:
    def deliver(index: int, piece: Piece | Exception) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, (index, piece))

    return deliver


def _jobs(
    model: ServedGenerator, asked: TextRequest, cancellation: Cancellation, deliver: Deliver
) -> tuple[list[TextJob], int]:
    """The texts to generate, and the tokens of their prompts."""
    jobs, prompt_tokens = [], 0
    generator = model.generator
    for index, prompt in enumerate(asked.prompts):
        is_chat = False
        if isinstance(prompt, str):
            ids = generator.encode(prompt)
        elif prompt and isinstance(prompt[0], dict):
            if model.chat is None:
                raise UnsupportedError(f"{model.name} has no chat template; POST /v1/completions asks it")
            ids, is_chat = model.chat.encode([entry for entry in prompt if isinstance(entry, dict)]), True
        else:
            ids = [entry for entry in prompt if isinstance(entry, int)]
        stream = TokenStream(generator.tokenizer, asked.stop, at_start=is_chat)
        new_ids = generator.stream_ids(
            ids, max_new_tokens=asked.max_new_tokens, cancellation=cancellation, **asked.sampling
        )
        limit = min(asked.max_new_tokens, generator.context_length - len(ids))
        jobs.append(TextJob(new_ids, limit, stream, cancellation, functools.partial(deliver, index)))
        prompt_tokens += len(ids)
    return jobs, prompt_tokens


class _Generation:
    """The texts of one request as they come."""

    def __init__(
        self, service: Service, state: RequestState, model: str, pieces: Pieces, count: int, prompt_tokens: int
    ) -> None:
        self._service, self._state, self._pieces = service, state, pieces
        self._count, self._prompt_tokens = count, prompt_tokens
        self._tokens = [0] * count
        state.facts["tokens"] = 0
        state.exits.callback(self._count_tokens, model)

    async def whole(self, answer: Answer) -> dict[str, Any]:
        """The answer that is sent at once."""
        texts = [""] * self._count
        reasons = [""] * self._count
        async for index, piece in self._until_ends():
            texts[index] += piece.text
            reasons[index] = piece.finish_reason or ""
        found = [Text(text, reason) for text, reason in zip(texts, reasons, strict=True)]
        return answer.whole(found, self._usage())

    async def stream(self, answer: Answer, path: str, *, includes_usage: bool) -> AsyncIterator[bytes]:
        """The answer as server-sent events; an error ends it as an event of its own."""
        for index in range(self._count):
            if (first := answer.first_chunk(index)) is not None:
                yield event(first)
        try:
            async for index, piece in self._until_ends():
                if piece.text or piece.finish_reason:
                    yield event(answer.chunk(index, piece.text, piece.finish_reason))
        except Exception as error:
            yield event(error_body(path, _explained(error)))
            return
        if includes_usage:
            yield event(answer.usage_chunk(self._usage()))
        yield END_OF_STREAM

    async def _until_ends(self) -> AsyncIterator[tuple[int, Piece]]:
        left = self._count
        while left:
            index, piece = await self._pieces.get()
            if isinstance(piece, TimeoutError):
                raise deadline_error(self._service.limits.seconds)
            if isinstance(piece, Exception):
                raise piece
            self._tokens[index] = piece.tokens
            self._state.facts["tokens"] = sum(self._tokens)
            left -= piece.finish_reason is not None
            yield index, piece

    def _usage(self) -> dict[str, int]:
        return usage(self._prompt_tokens, sum(self._tokens))

    def _count_tokens(self, model: str) -> None:
        self._service.metrics.tokens.labels(model).inc(sum(self._tokens))


def _explained(error: Exception) -> RequestError:
    """What a client is told of an error in the middle of its stream."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, EdgekitError):
        return RequestError(500, str(error))
    logger.error("a text ended with a fault", exc_info=error)
    return RequestError(500, "the server failed; its log says where")
