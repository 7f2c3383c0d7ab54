"""What a caller of a `TextGenerator` passes, checked before anything runs: an `InputError` names the argument.

`edgekit.runtime.arguments` has the checks that all models share.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekit.errors import InputError
from edgekit.runtime.arguments import whole_number
from edgekit.runtime.sampling import Sampling

ROLES = ("system", "user", "assistant")
MAX_SEED = 2**64 - 1


def sampling(
    *,
    temperature: Any = 0.0,
    top_k: Any = None,
    top_p: Any = None,
    min_p: Any = None,
    repetition_penalty: Any = 1.0,
    seed: Any = None,
) -> Sampling:
    """How tokens are chosen; the defaults are those of `edgekit.runtime.generation_options.SamplingOptions`.

    Raises:
        InputError: a value is not a number, or outside its range.
    """
    return Sampling(
        temperature=_number("temperature", temperature, "from 0", lambda value: value >= 0),
        top_k=None if top_k is None else whole_number("top_k", top_k),
        top_p=None if top_p is None else _number("top_p", top_p, "above 0, up to 1", lambda value: 0 < value <= 1),
        min_p=None if min_p is None else _number("min_p", min_p, "from 0 to 1", lambda value: 0 <= value <= 1),
        repetition_penalty=_number("repetition_penalty", repetition_penalty, "above 0", lambda value: value > 0),
        seed=None if seed is None else integer("seed", seed, 0, MAX_SEED),
    )


def _number(name: str, value: Any, expected: str, is_in_range: Any) -> float:
    number = math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    if not (math.isfinite(number) and is_in_range(number)):
        raise InputError(f"{name} must be a number {expected}, found {value!r}")
    return number


def integer(name: str, value: Any, lowest: int, highest: int) -> int:
    """``value`` as an int of a range; ``True`` is no number, a numpy integer is one.

    Raises:
        InputError: it is something else; the message calls it ``name``.
    """
    try:
        number = lowest - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = lowest - 1
    if not lowest <= number <= highest:
        raise InputError(f"{name} must be a whole number from {lowest} to {highest}, found {value!r}")
    return number


def flag(name: str, value: Any) -> bool:
    """``value``, which is True or False.

    Raises:
        InputError: it is something else; the message calls it ``name``.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, found {value!r}")
    return value


def stop_strings(given: Any) -> tuple[str, ...]:
    """The texts that end a generated text; one text stands for a list of one.

    Raises:
        InputError: not texts, or an empty one.
    """
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise InputError(f"stop must be a text or a list of texts, found {type(given).__name__}")
    stop = tuple(given)
    for index, text in enumerate(stop):
        if not isinstance(text, str):
            raise InputError(f"stop must hold texts, found {type(text).__name__} at index {index}")
        if not text:
            raise InputError(f"stop must hold texts that are not empty, found an empty one at index {index}")
    return stop


def prompts(given: Any, caller: str) -> list[str]:
    """The texts of a list or another iterable, none empty.

    Raises:
        InputError: not an iterable of texts, or one is empty; the message begins with ``caller``.
    """
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise InputError(f"{caller} takes a text or a list of texts, found {type(given).__name__}")
    found = list(given)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"{caller} takes texts, found {type(text).__name__} at index {index}")
        if not text:
            raise InputError(f"{caller} takes texts that are not empty, found an empty one at index {index}")
    return found


def id_rows(given: Any, vocabulary: int, caller: str) -> list[list[int]]:
    """Rows of ids as lists of int, none empty.

    Raises:
        InputError: not a list of rows, a row that is no sequence of whole numbers or is empty, or an id outside the
            vocabulary; the message begins with ``caller``.
    """
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise InputError(f"{caller} takes a list of rows of ids, found {type(given).__name__}")
    return [id_row(row, vocabulary, f"{caller}: row {index}") for index, row in enumerate(given)]


def id_row(given: Any, vocabulary: int, what: str) -> list[int]:
    """One row of ids as a list of int, not empty; see `id_rows`."""
    try:
        row = [operator.index(token_id) for token_id in given]
    except TypeError:
        raise InputError(f"{what} must be a sequence of ids, whole numbers, found {type(given).__name__}") from None
    if not row:
        raise InputError(f"{what} must hold at least one id, found none")
    if min(row) < 0 or max(row) >= vocabulary:
        outside = next(token_id for token_id in row if not 0 <= token_id < vocabulary)
        raise InputError(f"{what} must hold ids of the vocabulary, 0 to {vocabulary - 1}, found {outside}")
    return row


def messages(given: Any) -> list[dict[str, str]]:
    """A conversation: ``[{"role": ..., "content": ...}, ...]``.

    Raises:
        InputError: not a list of such, none at all, an unknown role, or content that is no text.
    """
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise InputError(f"messages must be a list of dicts with role and content, found {type(given).__name__}")
    if not given:
        raise InputError("messages must hold at least one message, found none")
    for index, message in enumerate(given):
        if not isinstance(message, Mapping):
            raise InputError(
                f"messages must hold dicts with role and content, found {type(message).__name__} at index {index}"
            )
        if set(message) != {"role", "content"}:
            keys = ", ".join(map(repr, message)) or "none"
            raise InputError(f"message {index} must have the keys 'role' and 'content', found {keys}")
        if message["role"] not in ROLES:
            raise InputError(f"message {index}: role must be one of {', '.join(ROLES)}, found {message['role']!r}")
        if not isinstance(message["content"], str):
            raise InputError(f"message {index}: content must be a text, found {type(message['content']).__name__}")
    return [{"role": message["role"], "content": message["content"]} for message in given]
