"""The body of a request: received within a size and a time, read as JSON or as a form, its fields checked.

In: a request. Out: a mapping whose values are JSON's. Refused: bodies that are too long (413) or too slow (408), other
types (415), and what is no object, no UTF-8 or no Unicode text (400).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qs

from starlette.requests import Request

from edgekit.serve.limits import Limits
from edgekit.serve.request_error import RequestError

MAX_FORM_FIELDS = 1000
_SURROGATE = re.compile("[\ud800-\udfff]")


async def read_fields(request: Request, limits: Limits) -> dict[str, Any]:
    """The fields of a JSON object or of an urlencoded form, in which a repeated field is a list.

    Raises:
        RequestError: See the module.
        ClientDisconnect: The client has gone.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/x-www-form-urlencoded"}:
        raise RequestError(415, "a body must be application/json or application/x-www-form-urlencoded")
    body = await _receive(request, limits)
    try:
        return _read_json(body) if kind == "application/json" else _read_form(body)
    except (ValueError, RecursionError):
        expected = "a JSON object" if kind == "application/json" else "an urlencoded form"
        raise RequestError(400, f"the body must be {expected} in UTF-8") from None


async def _receive(request: Request, limits: Limits) -> bytes:
    length = request.headers.get("content-length", "0")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.receive_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes or int(length) > limits.body_bytes:
                    raise RequestError(413, f"a body must have at most {limits.body_bytes} bytes")
    except TimeoutError:
        raise RequestError(408, f"the body took longer than {limits.receive_seconds:g} s to arrive") from None
    return bytes(body)


def _read_json(body: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    values = json.loads(body.decode("utf-8-sig"), parse_constant=refuse)
    if not isinstance(values, dict):
        raise ValueError
    return values


def _read_form(body: bytes) -> dict[str, Any]:
    text = body.decode("ascii")
    found = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def text_field(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A field that is a text; without a default it must be there.

    Raises:
        RequestError: 400, it is missing or something else.
    """
    value = fields.get(name)
    if value is None and default is not None:
        return default
    return checked_text(value, name)


def checked_text(value: Any, name: str) -> str:
    """``value``, if it is a text.

    Raises:
        RequestError: 400, it is not, or holds half a character (a lone surrogate).
    """
    if not isinstance(value, str):
        raise RequestError(400, f"{name} must be a text, found {json_type(value)}", param=name)
    if _SURROGATE.search(value):
        raise RequestError(400, f"{name} must be Unicode text, found half of a surrogate pair", param=name)
    return value


def flag_field(fields: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false, false where it is missing.

    Raises:
        RequestError: 400, it is something else.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestError(400, f"{name} must be true or false, found {json_type(value)}", param=name)
    return bool(value)


def check_texts(texts: list[str], limits: Limits, name: str) -> None:
    """Checks how many texts a request has, and how long they are together.

    Raises:
        RequestError: 400, too many; 413, too long.
    """
    if len(texts) > limits.texts:
        raise RequestError(400, f"{name} must hold at most {limits.texts} texts, found {len(texts)}", param=name)
    if (characters := sum(map(len, texts))) > limits.characters:
        raise RequestError(
            413, f"{name} must have at most {limits.characters} characters, found {characters}", param=name
        )


def json_type(value: Any) -> str:
    """What JSON calls a value's type."""
    names = {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
