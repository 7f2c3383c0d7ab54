"""What OpenAI's clients ask of a language model, checked.

In: the fields of a body (OpenAI's API reference: "Create chat completion", "Create completion"). Out: prompts and
options of edgekit's own. A field that would change the answer and that edgekit has none of is refused, since an answer
without it would be wrong; fields that only accompany a request (``user``, ``metadata``, ``store``) are ignored, as are
those that ask for what is done anyway.

Also taken, though not OpenAI's: ``top_k``, ``min_p`` and ``repetition_penalty``. Without ``temperature`` the most
likely token is taken, as everywhere in edgekit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.serve.body import checked_text, flag_field, json_type, text_field
from edgekit.serve.limits import Limits
from edgekit.serve.request_error import RequestError

# OpenAI's default of /v1/completions.
DEFAULT_COMPLETION_TOKENS = 16
SAMPLING_FIELDS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
MAX_STOP = 16
# Fields that must be absent, or have a value that changes nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class TextRequest:
    """A checked request.

    Attributes:
        model: The model's name.
        prompts: Texts to go on with, rows of ids, or one conversation.
        max_new_tokens: Most tokens of each text.
        stop: Texts that end one.
        sampling: Options of `edgekit.runtime.generation_options.SamplingOptions`, which checks their ranges.
        streams: Whether the answer is sent as it comes.
        includes_usage: Whether a stream ends with its counts.
    """

    model: str
    prompts: list[str] | list[list[int]] | list[Messages]
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = False
    includes_usage: bool = False

    @property
    def texts(self) -> list[str]:
        """All texts of the prompts, for their lengths."""
        found: list[str] = []
        for prompt in self.prompts:
            if isinstance(prompt, str):
                found.append(prompt)
            else:
                found += [entry["content"] for entry in prompt if isinstance(entry, dict)]
        return found


def read_chat(fields: Mapping[str, Any], limits: Limits) -> TextRequest:
    """Checks the fields of ``/v1/chat/completions``.

    Raises:
        RequestError: 400, one of them is wrong or not supported.
    """
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    return _read(fields, [_messages(fields.get("messages"))], limit, limits.new_tokens, limits)


def read_completion(fields: Mapping[str, Any], limits: Limits) -> TextRequest:
    """Checks the fields of ``/v1/completions``.

    Raises:
        RequestError: 400, one of them is wrong or not supported.
    """
    return _read(
        fields, _prompts(fields.get("prompt"), limits), fields.get("max_tokens"), DEFAULT_COMPLETION_TOKENS, limits
    )


def _read(fields: Mapping[str, Any], prompts: Any, limit: Any, default_limit: int, limits: Limits) -> TextRequest:
    _check_neutral(fields)
    options = fields.get("stream_options") or {}
    if not isinstance(options, dict):
        raise RequestError(400, f"stream_options must be an object, found {json_type(options)}", param="stream_options")
    return TextRequest(
        model=text_field(fields, "model"),
        prompts=prompts,
        max_new_tokens=min(_limit(limit, default_limit), limits.new_tokens),
        stop=_stop(fields.get("stop")),
        sampling={name: _number(fields[name], name) for name in SAMPLING_FIELDS if fields.get(name) is not None},
        streams=flag_field(fields, "stream"),
        includes_usage=flag_field(options, "include_usage"),
    )


def _check_neutral(fields: Mapping[str, Any]) -> None:
    for name, values in NEUTRAL.items():
        value = fields.get(name)
        if value is not None and not any(value == neutral for neutral in values):
            raise RequestError(400, f"{name} is not supported by this server", param=name, code="unsupported_parameter")


def _limit(value: Any, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(400, "max_tokens must be a whole number from 1", param="max_tokens")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(400, f"{name} must be a number, found {json_type(value)}", param=name)
    return value


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = value if isinstance(value, list) else [value]
    if len(texts) > MAX_STOP:
        raise RequestError(400, f"stop must hold at most {MAX_STOP} texts, found {len(texts)}", param="stop")
    if not all(checked_text(text, "stop") for text in texts):
        raise RequestError(400, "stop must hold texts that are not empty", param="stop")
    return tuple(texts)


def _prompts(value: Any, limits: Limits) -> list[str] | list[list[int]]:
    """One text, several, one row of ids, or several."""
    given = value if isinstance(value, list) else [value]
    if not given:
        raise RequestError(400, "prompt must hold at least one text, found none", param="prompt")
    rows = [given] if all(type(entry) is int for entry in given) else given
    if len(rows) > limits.texts:
        raise RequestError(400, f"prompt must hold at most {limits.texts} texts, found {len(rows)}", param="prompt")
    if all(isinstance(row, list) for row in rows):
        if not all(type(entry) is int for row in rows for entry in row):
            raise RequestError(400, "prompt must hold texts, or token ids", param="prompt")
        return rows
    return [checked_text(text, "prompt") for text in rows]


def _messages(value: Any) -> Messages:
    if not isinstance(value, list) or not value:
        raise RequestError(400, "messages must be an array of at least one message", param="messages")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(value)]


def _message(message: Any, where: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise RequestError(400, f"{where} must be an object, found {json_type(message)}", param=where)
    role = message.get("role")
    roles = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
    if not isinstance(role, str) or role not in roles:
        raise RequestError(400, f"{where}.role must be one of {', '.join(roles)}", param=f"{where}.role")
    content, name = message.get("content"), f"{where}.content"
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise RequestError(400, f"{name} must be a text, or parts of type text", param=name)
        content = "".join(checked_text(part.get("text"), name) for part in content)
    return {"role": roles[role], "content": checked_text(content, name)}
