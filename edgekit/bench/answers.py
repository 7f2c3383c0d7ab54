"""Answers to a task's items by a loaded model, timed: what `edgekit.bench.worker` does for ``answer_each`` and so on.

Runs in the measured process, so it imports nothing but the standard library. In: texts for a `Translator`; for a
`TextGenerator` prompts or the messages of a chat. Out: JSON values. An item that the model refuses (it is longer than
the context) has no text but a reason, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, cast

from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.runtime import TextGenerator, Translator

__all__ = ["answer_bulk", "answer_each", "shared_prefix_bytes"]

# Most new tokens of an answer, where the task names none: what cannot end must not go on for ever, and no translation
# that was ever measured needed as much.
TOKENS_PER_INPUT_TOKEN, TOKENS_AT_LEAST = 3, 32

Asked = str | list[dict[str, str]]


def answer_each(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    """One item at a time.

    Args:
        model: A `Translator` or a `TextGenerator`.
        request: ``asked`` (a text, a prompt or messages an item), and its options: of a translator ``languages`` (two
            codes, or null), of a generator ``inputs`` (the items' texts), ``stop`` and ``max_new_tokens`` (or null).

    Returns:
        ``answers``: for each ``text``, ``ms``, ``first_ms`` (until something could be shown) and ``cpu_seconds``; or
        ``refused``, the reason.
    """
    return {"answers": [_timed(model, request, index) for index in range(len(request["asked"]))]}


def answer_bulk(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    """All items in one call; the request as `answer_each`'s, and ``batch_tokens`` of a translator.

    Returns:
        ``texts`` (null where the item was refused), ``seconds`` and ``cpu_seconds``.
    """
    asked: list[Asked] = request["asked"]
    able = [index for index, one in enumerate(asked) if _refusal(model, one) is None]
    limits = [_most_tokens(model, request, index) for index in able]
    started, used = perf_counter(), process_time()
    found = _answer_all(model, request, [asked[index] for index in able], max(limits, default=1)) if able else []
    seconds, cpu_seconds = perf_counter() - started, process_time() - used
    texts = dict(zip(able, found, strict=True))
    return {
        "texts": [texts.get(index) for index in range(len(asked))],
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def shared_prefix_bytes(model: TextGenerator, request: dict[str, Any]) -> dict[str, int]:
    """How much a prefix cache takes that holds what all of ``asked`` begin with, and nothing behind it.

    A generator that is loaded with this much remembers a prompt's instruction and examples, as a service does, and
    no item, so that an item timed twice is read twice. 0 for a text that the model refuses.
    """
    from edgekit.runtime.prefix_cache import ID_BYTES
    from edgekit.runtime.state_buffers import bytes_per_token

    rows = [_ids(model, one) for one in request["asked"] if _refusal(model, one) is None]
    shared = 0
    if len(rows) == len(request["asked"]):
        while all(shared < len(row) and row[shared] == rows[0][shared] for row in rows):
            shared += 1
    return {"bytes": shared * (bytes_per_token(model.manifest.state) + ID_BYTES)}


def _timed(model: Any, request: dict[str, Any], index: int) -> dict[str, Any]:
    asked = request["asked"][index]
    if reason := _refusal(model, asked):
        return {"refused": reason}
    most = _most_tokens(model, request, index)
    used, started = process_time(), perf_counter()
    first = None
    pieces = []
    for piece in _pieces(model, asked, request, most):
        # White space alone shows nothing.
        if first is None and piece.strip():
            first = perf_counter()
        pieces.append(piece)
    ended = perf_counter()
    return {
        "text": "".join(pieces),
        "ms": 1e3 * (ended - started),
        "first_ms": 1e3 * ((first or ended) - started),
        "cpu_seconds": process_time() - used,
    }


def _pieces(model: Any, asked: Asked, request: dict[str, Any], most: int) -> Iterator[str]:
    if not _generates(model):
        yield model.translate(asked, **_languages(request))
    elif isinstance(asked, str):
        yield from model.stream(asked, stop=request["stop"], max_new_tokens=most)
    else:
        yield from model.stream_chat(asked, stop=request["stop"], max_new_tokens=most)


def _answer_all(model: Any, request: dict[str, Any], asked: list[Asked], most: int) -> list[str]:
    if not _generates(model):
        translator = cast("Translator", model)
        texts = cast("list[str]", asked)
        return translator.translate(texts, batch_tokens=request["batch_tokens"], **_languages(request))
    generator = cast("TextGenerator", model)
    if isinstance(asked[0], str):
        return generator.generate(cast("list[str]", asked), stop=request["stop"], max_new_tokens=most)
    chats = cast("list[list[dict[str, str]]]", asked)
    return generator.chat_each(chats, stop=request["stop"], max_new_tokens=most)


def _languages(request: dict[str, Any]) -> dict[str, Any]:
    if request.get("languages") is None:
        return {}
    source, target = request["languages"]
    return {"source_language": source, "target_language": target}


def _generates(model: Any) -> bool:
    return hasattr(model, "generate")


def _refusal(model: Any, asked: Asked) -> str | None:
    """Why a generator cannot take this prompt; None where it can. A translator cuts what is long into pieces."""
    if not _generates(model):
        return None
    try:
        tokens = len(_ids(model, asked))
    except InputError as error:
        return str(error)
    if 0 < tokens < model.context_length:
        return None
    return f"the prompt has {tokens} tokens; the model's context is {model.context_length}"


def _ids(generator: TextGenerator, asked: Asked) -> Sequence[int]:
    return generator.encode(asked) if isinstance(asked, str) else generator.encode_chat(asked)


def _most_tokens(model: Any, request: dict[str, Any], index: int) -> int:
    if not _generates(model):
        return 0
    if (most := request["max_new_tokens"]) is not None:
        return int(most)
    return TOKENS_AT_LEAST + TOKENS_PER_INPUT_TOKEN * len(model.tokenizer.encode(request["inputs"][index]))
