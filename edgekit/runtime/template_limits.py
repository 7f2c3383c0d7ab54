"""How long a chat template may take, how much it may make, and the filters that count it.

Jinja2's sandbox keeps a stranger's template from Python's internals; time and memory it leaves open: nested loops,
``'a' * 10**10``, a list that holds itself doubled sixty times. So each loop, call, filter and operation looks at the
clock of its thread (`Budget.tick`), and whatever is made is weighed (`counted`). What runs in between takes no longer
than its operands, which were counted, are long.

In: values that a template makes. Out: the same. Raises `LimitError`. Needs jinja2; see `edgekit.runtime.chat_template`.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import jinja2
import jinja2.filters
import jinja2.utils

# Templates take milliseconds; processor time of the thread, so that a busy machine fails none.
MOST_SECONDS = 2.0
# Characters and list entries that a template may make, beside this many for each character that it was given.
MOST_MADE, MOST_MADE_PER_CHARACTER = 5_000_000, 100
# Indentations, sizes of batches, exponents.
LARGEST_SIZE = 1000
LARGEST_NUMBER = 2**63
# Those whose whole numbers say how much they make.
_SIZED_FILTERS = {"batch", "indent", "round", "slice", "tojson", "truncate"}


class LimitError(jinja2.TemplateRuntimeError):
    """A template took too long, made too much or used what is not supported; the message begins with a verb."""


class Budget:
    """What one rendering has left."""

    def __init__(self, given: int) -> None:
        """Starts the clock; ``given`` is the number of characters that the template has to do with."""
        self._left = MOST_MADE + MOST_MADE_PER_CHARACTER * given
        self._deadline = time.thread_time() + MOST_SECONDS

    def tick(self) -> None:
        """Looks at the clock."""
        if time.thread_time() > self._deadline:
            raise LimitError(f"takes more than {MOST_SECONDS:g} seconds")

    def charge(self, amount: int) -> None:
        """Takes ``amount`` characters or entries from what may be made."""
        self._left -= amount
        if self._left < 0:
            raise LimitError("makes too much text")


current_budget: ContextVar[Budget] = ContextVar("current_budget")


def counted(value: Any) -> Any:
    """``value``, weighed; an iterator comes back as one that looks at the clock at each step."""
    current_budget.get().tick()
    if isinstance(value, Iterator):
        return stepped(value)
    weigh(value)
    return value


def stepped(values: Iterable[Any]) -> Iterator[Any]:
    """Goes through ``values``, looking at the clock at each."""
    budget = current_budget.get()
    for value in values:
        budget.tick()
        yield value


def weigh(value: Any) -> None:
    """Charges for the characters and entries of a value, of whatever it holds each time that it holds it."""
    budget, waiting = current_budget.get(), [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            budget.charge(1 + len(one))
        elif isinstance(one, list | tuple):
            budget.charge(1 + len(one))
            waiting += one
        elif isinstance(one, dict):
            budget.charge(1 + 2 * len(one))
            waiting += one
            waiting += one.values()
        elif one is not value:
            check_printable(one)


def check_printable(value: Any) -> None:
    """Refuses an object that could hold itself: printing or comparing it might never end."""
    if isinstance(value, jinja2.utils.Namespace):
        raise LimitError("uses a namespace as a value")


def text(value: Any) -> str:
    """What a template prints of a value."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float | list | tuple | dict | jinja2.Undefined | None):
        raise LimitError(f"prints an object of type {type(value).__name__}")
    weigh(value)
    return str(value)


def joined(separator: str, texts: list[str]) -> str:
    """``texts`` as one, charged before it is made."""
    budget = current_budget.get()
    budget.tick()
    budget.charge(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def replaced(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """``value`` with ``old`` replaced, charged before it is made: the filter and the method ``replace``."""
    whole, old, new = text(value), text(old), text(new)
    places = whole.count(old)
    places = places if count is None or count < 0 else min(count, places)
    budget = current_budget.get()
    budget.tick()
    budget.charge(len(whole) + places * len(new))
    return whole.replace(old, new, places)


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Refuses an operation that could take long or grow huge by itself."""
    if isinstance(left, int) and isinstance(right, int):
        largest = LARGEST_SIZE if operator == "**" else LARGEST_NUMBER
        if max(abs(left), abs(right)) > largest:
            raise LimitError("calculates with huge numbers")
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(times, int) and isinstance(value, str | list | tuple):
                current_budget.get().charge(max(0, times) * max(1, len(value)))
    elif operator == "%" and isinstance(left, str):
        raise LimitError("formats text with %, which is not supported")


def limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter ``name`` with huge sizes refused, and its result counted."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def limited_filter(*args: Any, **kwargs: Any) -> Any:
        for value in (*args[first + 1 :], *kwargs.values()):
            if name in _SIZED_FILTERS and isinstance(value, int) and abs(value) > LARGEST_SIZE:
                raise LimitError(f"passes {value} to the filter {name}, which takes at most {LARGEST_SIZE} here")
        for value in args[first:]:
            check_printable(value)
        return counted(function(*args, **kwargs))

    return limited_filter


@jinja2.pass_environment
def join(environment: jinja2.Environment, value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    """The filter ``join``."""
    values = stepped(value)
    if attribute is not None:
        values = (environment.getattr(one, attribute) for one in values)
    return joined(text(d), [text(one) for one in values])


def indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """The filter ``indent``."""
    whole = text(value)
    current_budget.get().charge((whole.count("\n") + 1) * (len(width) if isinstance(width, str) else width))
    return jinja2.filters.do_indent(whole, width, first, blank)


def to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """The filter ``tojson``; its arguments and their defaults are transformers' (utils/chat_template_utils.py)."""
    weigh(value)
    if any(len(separator) > LARGEST_SIZE for separator in separators or ()):
        raise LimitError("passes a long separator to the filter tojson")
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    pieces = []
    for piece in stepped(encoder.iterencode(value)):
        current_budget.get().charge(len(piece))
        pieces.append(piece)
    return "".join(pieces)
