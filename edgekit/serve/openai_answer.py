"""The JSON of OpenAI's answers: whole, or as chunks of a stream.

The shapes are those of OpenAI's API reference: "The chat completion object", "The chat completion chunk object", "The
completion object".
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, NamedTuple


class Text(NamedTuple):
    """A generated text, and why it ended: ``stop`` or ``length``."""

    text: str
    finish_reason: str


class Answer:
    """Makes the objects of one answer, which share an id and a time."""

    def __init__(self, model: str, *, is_chat: bool) -> None:
        """Names the model that answers; ``is_chat`` chooses between the two APIs."""
        self._is_chat = is_chat
        self._id = ("chatcmpl-" if is_chat else "cmpl-") + secrets.token_hex(12)
        self._common = {"id": self._id, "created": int(time.time()), "model": model, "system_fingerprint": None}

    def whole(self, texts: list[Text], usage: dict[str, int]) -> dict[str, Any]:
        """The answer that is sent at once."""
        choices: list[dict[str, Any]] = []
        for index, (text, reason) in enumerate(texts):
            content = {"message": _message(text)} if self._is_chat else {"text": text}
            choices.append({"index": index, **content, "logprobs": None, "finish_reason": reason})
        kind = "chat.completion" if self._is_chat else "text_completion"
        return {**self._common, "object": kind, "choices": choices, "usage": usage}

    def first_chunk(self, index: int) -> dict[str, Any] | None:
        """What a stream begins with: whose message it is; a completion has no such chunk."""
        if not self._is_chat:
            return None
        return self._chunk([self._choice(index, {"delta": {"role": "assistant", "content": ""}}, None)])

    def chunk(self, index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
        """A piece of a text; with a reason, its last."""
        if not self._is_chat:
            return self._chunk([self._choice(index, {"text": text}, finish_reason)])
        return self._chunk([self._choice(index, {"delta": {"content": text} if text else {}}, finish_reason)])

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        """The counts at a stream's end."""
        return {**self._chunk([]), "usage": usage}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return {**self._common, "object": kind, "choices": choices}

    @staticmethod
    def _choice(index: int, content: dict[str, Any], reason: str | None) -> dict[str, Any]:
        return {"index": index, **content, "logprobs": None, "finish_reason": reason}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The counts of an answer."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def event(value: dict[str, Any]) -> bytes:
    """An object as a server-sent event (HTML standard, 9.2.6): JSON has no line breaks of its own."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


END_OF_STREAM = b"data: [DONE]\n\n"


def _message(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "refusal": None}
