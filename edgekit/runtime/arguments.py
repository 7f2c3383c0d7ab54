"""What a caller passes, checked before anything runs: each problem is an `InputError` that names the argument."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from edgekit.errors import InputError


def whole_number(name: str, value: Any) -> int:
    """``value`` as an int from 1; ``True`` is no number, a numpy integer is one.

    Raises:
        InputError: it is something else; the message calls it ``name``.
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise InputError(f"{name} must be a whole number from 1, found {value!r}")
    return number


def token_ids(sentences: Any) -> list[list[int]]:
    """The ids of each sentence as lists of int.

    Raises:
        InputError: not a list of sentences, or a sentence that is no sequence of whole numbers.
    """
    if not isinstance(sentences, Iterable):
        raise InputError(f"generate_ids takes a list of sentences, found {type(sentences).__name__}")
    rows = []
    for index, sentence in enumerate(sentences):
        try:
            rows.append([operator.index(i) for i in sentence])
        except TypeError:
            raise InputError(
                f"sentence {index} must be a sequence of ids, whole numbers, found {type(sentence).__name__}"
            ) from None
    return rows


def texts(given: Any) -> list[str]:
    """The texts of a list or another iterable.

    Raises:
        InputError: not an iterable, or one that holds something else than texts.
    """
    if not isinstance(given, Iterable):
        raise InputError(f"translate takes a text or a list of texts, found {type(given).__name__}")
    found = list(given)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"translate takes texts, found {type(text).__name__} at index {index}")
    return found
