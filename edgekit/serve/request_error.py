"""A request that is refused: its HTTP status and one line for the client, given in the shape of the API it called.

`LibreTranslate <https://docs.libretranslate.com/api/>`_ answers ``{"error": "..."}``, OpenAI ``{"error": {"message",
"type", "param", "code"}}`` (OpenAI's API reference, "Error codes").
"""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

RETRY_AFTER_SECONDS = 1
# nginx's "client closed request": only for the log and the metrics, nobody gets it.
CLIENT_GONE = 499


class RequestError(Exception):
    """What is wrong with a request, for its sender.

    Attributes:
        status: The HTTP status.
        message: One line; may quote names and numbers of the request, never its texts.
        param: The field that is wrong, if it is one.
        code: A word for programs, such as ``model_not_found``.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def error_body(path: str, error: RequestError) -> dict[str, Any]:
    """The JSON of an error, in the shape of the API that ``path`` belongs to."""
    if not path.startswith("/v1/"):
        return {"error": error.message}
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_response(path: str, error: RequestError) -> JSONResponse:
    """The answer to a request that is refused; one for which there is no room now says when to come again."""
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if error.status == 503 else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_body(path, error), error.status, headers)
