"""Reads the JSON of a manifest field by field and gathers every problem instead of stopping at the first.

In: the text of a ``bundle.json``, which may come from a stranger. Out: typed values, and a list of problems in words.
A field that is missing or wrong yields a harmless value of its type, so that reading goes on; the caller raises once
at the end and uses nothing when there were problems. Unknown keys are not looked at. It refuses text that is too long
or too deeply nested, repeated keys, numbers that are not finite and strings that a terminal could not show safely.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeGuard

from edgekit.bundle.files import file_name_problem

# The manifest of a 75 M-parameter Marian takes 60 KB; what is larger by far is not a manifest.
MAX_JSON_BYTES = 4 << 20
MAX_JSON_DEPTH = 24
# Integers above 2**53 are not exact in the JSON readers of other languages.
MAX_INTEGER = 1 << 53
# Of the fixed axes of an input or output; a runtime may allocate this much for each sentence.
MAX_ELEMENTS = 1 << 24

_SHA256 = re.compile(r"[0-9a-f]{64}")


def shown(value: object) -> str:
    """Returns a value from an untrusted file as ASCII of at most 60 characters, for an error message."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = ascii(value[:80] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_json_object(text: str) -> dict[str, Any]:
    """Parses JSON from an untrusted file whose top level is an object.

    Args:
        text: At most `MAX_JSON_BYTES` characters, nested at most `MAX_JSON_DEPTH` deep.

    Returns:
        The object; every string in it is printable, every number finite.

    Raises:
        ValueError: The text is none of that; the message is one line that says what is wrong.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"expected at most {MAX_JSON_BYTES} bytes, found {len(text)} characters")
    try:
        value = json.loads(text, **_STRICT)
    except RecursionError:
        raise ValueError(f"expected JSON nested at most {MAX_JSON_DEPTH} deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, found at line {error.lineno} column {error.colno}: {error.msg}") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {shown(value)}")
    _check_values(value)
    return value


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"expected each key once, found {shown(repeated)} twice")
    return values


def _refused_constant(name: str) -> Any:
    raise ValueError(f"expected finite numbers, found {name}")


def _bounded_integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"expected integers of at most 20 digits, found {len(digits)}")
    return int(digits)


_STRICT: dict[str, Any] = {
    "object_pairs_hook": _without_repeated_keys,
    "parse_constant": _refused_constant,
    "parse_int": _bounded_integer,
}


def _check_values(root: dict[str, Any]) -> None:
    pending: list[tuple[Any, int]] = [(root, 1)]
    while pending:
        value, depth = pending.pop()
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"expected printable text, found {shown(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("expected finite numbers, found one that is too large")
        if isinstance(value, (dict, list)):
            if depth > MAX_JSON_DEPTH:
                raise ValueError(f"expected JSON nested at most {MAX_JSON_DEPTH} deep")
            if isinstance(value, dict):
                pending.extend((key, depth) for key in value)
            pending.extend((item, depth + 1) for item in (value.values() if isinstance(value, dict) else value))


class Fields:
    """One object of the manifest, read by key; problems go to a list shared by the whole manifest."""

    def __init__(self, values: Mapping[str, Any], path: str, problems: list[str]) -> None:
        """Wraps an object.

        Args:
            values: The object's parsed JSON.
            path: Where it stands, as ``graphs.encoder``; empty for the manifest itself.
            problems: Gets one entry for each field that is not as expected.
        """
        self._values = values
        self._path = path
        self._problems = problems

    def problem(self, key: str, expected: str) -> None:
        """Notes that a field is not what was expected."""
        found = shown(self._values[key]) if key in self._values else "nothing"
        self._problems.append(f"{self._at(key)}: expected {expected}, found {found}")

    def text(self, key: str, choices: Collection[str] = ()) -> str:
        """Returns a string that is not empty, one of the choices where there are any."""
        value = self._values.get(key)
        if isinstance(value, str) and value and (not choices or value in choices):
            return value
        self.problem(key, " or ".join(choices) or "a text")
        return ""

    def optional_text(self, key: str) -> str | None:
        """Returns a string that is not empty, or None for null or a missing key."""
        return None if self._values.get(key) is None else self.text(key)

    def file_name(self, key: str) -> str:
        """Returns the plain name of a file of the bundle."""
        value = self._values.get(key)
        if isinstance(value, str) and file_name_problem(value) is None:
            return value
        self.problem(key, "the plain name of a file in the bundle")
        return ""

    def sha256(self, key: str) -> str:
        """Returns a SHA-256 as 64 lower-case hexadecimal digits."""
        value = self._values.get(key)
        if isinstance(value, str) and _SHA256.fullmatch(value):
            return value
        self.problem(key, "a SHA-256 of 64 lower-case hexadecimal digits")
        return ""

    def integer(self, key: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
        """Returns an integer within a range."""
        value = self._values.get(key)
        if is_integer(value) and minimum <= value <= maximum:
            return value
        self.problem(key, f"an integer from {minimum} to {maximum}")
        return minimum

    def optional_integer(self, key: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> int | None:
        """Returns an integer within a range, or None for null or a missing key."""
        return None if self._values.get(key) is None else self.integer(key, minimum, maximum)

    def positive_number(self, key: str) -> float:
        """Returns a number above 0 as a float."""
        value = self._values.get(key)
        if isinstance(value, float | int) and not isinstance(value, bool) and 0 < value <= MAX_INTEGER:
            return float(value)
        self.problem(key, "a number above 0")
        return 1.0

    def boolean(self, key: str) -> bool:
        """Returns true or false."""
        value = self._values.get(key)
        if isinstance(value, bool):
            return value
        self.problem(key, "true or false")
        return False

    def integers(self, key: str) -> tuple[int, ...]:
        """Returns a list of integers from 0 to `MAX_INTEGER`."""
        values = self._values.get(key)
        if isinstance(values, list) and all(is_integer(value) and 0 <= value <= MAX_INTEGER for value in values):
            return tuple(values)
        self.problem(key, "a list of integers from 0")
        return ()

    def shape(self, key: str) -> tuple[int | str, ...]:
        """Returns the shape of a tensor: sizes, and names of axes whose size is known only when it runs."""
        values = self._values.get(key)
        if isinstance(values, list) and len(values) <= 8 and all(map(_is_dimension, values)):
            shape: tuple[int | str, ...] = tuple(values)
            if math.prod([size for size in shape if not isinstance(size, str)]) <= MAX_ELEMENTS:
                return shape
        self.problem(key, f"a shape of at most 8 sizes or axis names and {MAX_ELEMENTS} elements")
        return ()

    def mapping(self, key: str) -> dict[str, Any]:
        """Returns an object as it is, without a look inside."""
        value = self._values.get(key)
        if isinstance(value, dict):
            return value
        self.problem(key, "an object")
        return {}

    def text_mapping(self, key: str) -> dict[str, str]:
        """Returns an object whose values are texts."""
        values = self.mapping(key)
        if all(isinstance(value, str) for value in values.values()):
            return values
        self.problem(key, "an object whose values are texts")
        return {}

    def integer_mapping(self, key: str) -> dict[str, int]:
        """Returns an object, not empty, whose values are integers from 0 to `MAX_INTEGER`."""
        values = self.mapping(key)
        if values and all(is_integer(value) and 0 <= value <= MAX_INTEGER for value in values.values()):
            return values
        self.problem(key, "an object whose values are integers from 0")
        return {}

    def has(self, key: str) -> bool:
        """Returns whether a key is there and not null."""
        return self._values.get(key) is not None

    def object(self, key: str) -> "Fields":
        """Returns the fields of an object."""
        return Fields(self.mapping(key), self._at(key), self._problems)

    def objects(self, key: str) -> Iterator["Fields"]:
        """Yields the fields of each object in a list."""
        values = self._values.get(key)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.problem(key, "a list of objects")
            return
        for index, value in enumerate(values):
            yield Fields(value, f"{self._at(key)}[{index}]", self._problems)

    def named_objects(self, key: str) -> Iterator[tuple[str, "Fields"]]:
        """Yields the name and the fields of each object in an object."""
        inner = self.object(key)
        for name in inner._values:
            yield name, inner.object(name)

    def _at(self, key: str) -> str:
        # A key inside a free mapping is the file's own text, so it is shortened like any other value.
        key = key if key.isascii() and len(key) <= 80 else shown(key)
        return f"{self._path}.{key}" if self._path else key


def is_integer(value: object) -> TypeGuard[int]:
    """Returns whether a JSON value is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_dimension(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 64
    return is_integer(value) and 0 <= value <= MAX_INTEGER
