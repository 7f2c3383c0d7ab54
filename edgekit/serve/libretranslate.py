"""LibreTranslate's API: ``POST /translate``, ``GET /languages`` (https://docs.libretranslate.com/api/).

As there: ``q`` is a text or a list, bodies are JSON or forms, ``format`` is ``text`` or ``html``, ``api_key`` a field.
Beyond it: ``model`` chooses between two models of a pair, and the answer names what translated; a pair without a model
of its own is translated by two, by way of another language. What edgekit has none of is said so: languages are not
detected (``source: "auto"`` and ``/detect`` are refused), and ``alternatives`` is an empty list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from edgekit.serve.body import check_texts, checked_text, read_fields, text_field
from edgekit.serve.html_parts import escape, html_parts
from edgekit.serve.models import route_name
from edgekit.serve.parts import join, text_parts
from edgekit.serve.request_error import RequestError
from edgekit.serve.service import Service, key_of, unless_gone

# English names, as LibreTranslate has them; a language that is not here is called by its code.
LANGUAGE_NAMES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


def routes(service: Service) -> list[Route]:
    """The routes of a server."""

    async def translate(request: Request) -> JSONResponse:
        return await _translate(service, request)

    async def languages(request: Request) -> JSONResponse:
        return JSONResponse(list_languages(service))

    async def detect(request: Request) -> JSONResponse:
        raise RequestError(501, "this server does not detect languages")

    return [
        Route("/translate", translate, methods=["POST"]),
        Route("/languages", languages, methods=["GET"]),
        Route("/detect", detect, methods=["POST"]),
    ]


def list_languages(service: Service) -> list[dict[str, Any]]:
    """Each language that is translated from or to, and to which ones."""
    languages = service.models.languages.items()
    return [{"code": code, "name": LANGUAGE_NAMES.get(code, code), "targets": targets} for code, targets in languages]


async def _translate(service: Service, request: Request) -> JSONResponse:
    fields = await read_fields(request, service.limits)
    if not service.keys.allows(key_of(request, fields)):
        raise RequestError(403, "this server needs an API key it knows, as api_key or Authorization: Bearer")
    texts, is_single = _texts(fields)
    check_texts(texts, service.limits, "q")
    kind = text_field(fields, "format", "text")
    if kind not in {"text", "html"}:
        raise RequestError(400, "format must be text or html")
    source, target = text_field(fields, "source"), text_field(fields, "target")
    name = text_field(fields, "model", "") or None
    route = service.models.find_route(source, target, name)
    characters = sum(map(len, texts))
    state = service.accept(request)
    state.facts |= {"model": route_name(route), "texts": len(texts), "characters": characters}
    for model in route:
        service.metrics.characters.labels(model.name).inc(characters)
    cut = html_parts if kind == "html" else text_parts
    documents = await asyncio.to_thread(lambda: [cut(text) for text in texts])
    found = [part.text for document in documents for part in document if part.text is not None]
    for model in route:
        found = await unless_gone(request, service.batches[model.name].translate(found, state.cancellation))
    translations = iter(map(escape, found) if kind == "html" else found)
    joined = [join(document, translations) for document in documents]
    answer: dict[str, Any] = {"translatedText": joined[0] if is_single else joined, "model": route_name(route)}
    if fields.get("alternatives"):
        answer["alternatives"] = [] if is_single else [[] for _ in joined]
    return JSONResponse(answer)


def _texts(fields: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The texts of a request, and whether it is one and not a list."""
    value = fields.get("q")
    if isinstance(value, list):
        return [checked_text(text, f"q[{index}]") for index, text in enumerate(value)], False
    return [checked_text(value, "q")], True
