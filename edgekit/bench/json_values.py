"""Frozen dataclasses as JSON and back: what is read is checked against the fields' types.

In: a dataclass of floats, integers, texts, tuples, mappings and other dataclasses. Out: JSON, numbers with as many
digits as a measurement can have; or the same dataclass again. Refused, in one line that names the place
(``models[1].memory.peak_mb``): a missing key, a value of another type. Keys that no field has are a later edgekit's,
and are passed over.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from edgekit.errors import InputError

__all__ = ["from_values", "to_values"]

# Beyond every spread that was ever measured; a p value of 0.001 keeps its digits.
SIGNIFICANT_DIGITS = 6

T = TypeVar("T")


def to_values(value: Any) -> Any:
    """A dataclass, or what is in one, as JSON values; floats have `SIGNIFICANT_DIGITS`."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_values(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: to_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_values(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return value


def from_values(kind: type[T], values: Any, where: str) -> T:
    """A dataclass of JSON values.

    Args:
        kind: The dataclass.
        values: What `to_values` gave, read from JSON.
        where: What the values are, for messages.

    Raises:
        InputError: A key is missing, or a value has another type than its field.
    """
    try:
        return _read(kind, values, "")
    except ValueError as error:
        raise InputError(f"{where}: {error}; is it a complete report of this kind?") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _read(inner, value, where)
    if origin is tuple:
        items = _expect(value, list, where)
        kinds = [arguments[0]] * len(items) if arguments[-1] is ... else arguments
        if len(kinds) != len(items):
            raise ValueError(f"{where}: expected {len(kinds)} values, found {len(items)}")
        return tuple(
            _read(inner, item, f"{where}[{index}]")
            for index, (inner, item) in enumerate(zip(kinds, items, strict=True))
        )
    if origin is not None:
        return {
            name: _read(arguments[1], inner, f"{where}.{name}") for name, inner in _expect(value, dict, where).items()
        }
    if kind is float:
        number = float(_expect(value, (int, float), where))
        if not math.isfinite(number):
            raise ValueError(f"{where}: expected a finite number, found {number}")
        return number
    return _expect(value, kind, where)


def _read_dataclass(kind: type, value: Any, where: str) -> Any:
    found = _expect(value, dict, where)
    fields = dataclasses.fields(kind)
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in required if name not in found]:
        raise ValueError(f"{where or 'its top'}: expected the key {missing[0]}, found none")
    hints = _hints(kind)
    names = [field.name for field in fields if field.name in found]
    return kind(**{name: _read(hints[name], found[name], f"{where}.{name}" if where else name) for name in names})


def _expect(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{where or 'its top'}: expected {wanted}, found {type(value).__name__}")
    return value
