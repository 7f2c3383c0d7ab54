"""The ASGI application: routes, errors in each API's shape, and the frame of every request.

In: a `Service`. Out: an application for any ASGI server; `edgekit.serve.server` runs it in uvicorn.
"""

from __future__ import annotations

import time
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edgekit.errors import EdgekitError, InputError
from edgekit.serve import libretranslate, openai_api
from edgekit.serve.lifetime import Lifetime
from edgekit.serve.metrics import CONTENT_TYPE
from edgekit.serve.request_error import CLIENT_GONE, RequestError, error_response
from edgekit.serve.service import Service, key_of

# The page's own script and style, and requests to this server: nothing else.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def build_app(service: Service) -> ASGIApp:
    """The application of a service, which the caller closes after the last request."""
    routes = [
        *libretranslate.routes(service),
        *openai_api.routes(service, int(time.time())),
        *_own_routes(service),
    ]
    handlers = {
        RequestError: _refuse,
        ClientDisconnect: _note_gone,
        HTTPException: _refuse_http,
        InputError: _refuse_input,
        EdgekitError: _fail,
        Exception: _fail,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    return Lifetime(app, frozenset(route.path for route in routes), service.limits.seconds, service.metrics)


def _own_routes(service: Service) -> list[Route]:
    page = resources.files("edgekit.serve").joinpath("page.html").read_bytes()

    async def index(request: Request) -> Response:
        return Response(page, media_type="text/html", headers={"content-security-policy": PAGE_POLICY})

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        openai_api.check_key(service, key_of(request, {}))
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    return [
        Route("/", index, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


async def _refuse(request: Request, error: RequestError) -> Response:
    return error_response(request.url.path, error)


async def _note_gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _refuse_http(request: Request, error: HTTPException) -> Response:
    refused = RequestError(error.status_code, f"{request.method} {request.url.path[:100]!a}: {error.detail}")
    response = error_response(request.url.path, refused)
    response.headers.update(error.headers or {})
    return response


async def _refuse_input(request: Request, error: InputError) -> Response:
    return error_response(request.url.path, RequestError(400, str(error)))


async def _fail(request: Request, error: Exception) -> Response:
    message = str(error) if isinstance(error, EdgekitError) else "the server failed; its log says where"
    return error_response(request.url.path, RequestError(500, message))
