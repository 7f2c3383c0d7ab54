"""Jinja2's immutable sandbox with an end: a template that loops for ever or makes something huge meets an error.

Chat templates come from strangers. The sandbox keeps them from reaching Python's internals; what it leaves open is
time and memory (``10 ** 10 ** 10``, ``'a' * 10**10``, nested loops, lists that hold themselves doubled sixty times).
So here each loop, call, filter and operation looks at the clock of its thread, and everything a template makes is
weighed and counted. No operation in between takes longer than its operands, which were counted, are long.

In: a template's source, variables. Out: text. Refused: whatever exceeds `MOST_SECONDS` or `MOST_MADE`; filters, methods
and globals that no chat template needs. This module needs jinja2 and is imported when a chat begins.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.filters
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils
import jinja2.visitor

# Templates take milliseconds; processor time of the thread, so that a busy machine fails none.
MOST_SECONDS = 5.0
# Characters and list entries that a template may make, beside this many for each character that it was given.
MOST_MADE, MOST_MADE_PER_CHARACTER = 20_000_000, 100
MOST_SOURCE_CHARACTERS = 256 * 1024
# Widths, indentations, sizes of batches.
LARGEST_ARGUMENT = 1000
LARGEST_NUMBER = 2**63

_FILTERS = """
abs attr batch capitalize count d default dictsort e escape first float groupby indent int items join last length list
lower map max min reject rejectattr replace reverse round safe select selectattr slice sort string striptags sum title
tojson trim truncate unique upper wordcount
"""
# Those whose whole numbers say how much they make.
_SIZED_FILTERS = {"batch", "indent", "round", "slice", "tojson", "truncate"}
_STR_METHODS = """
capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle
isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split
splitlines startswith strip swapcase title upper
"""
_METHODS: dict[Any, set[str]] = {
    str: set(_STR_METHODS.split()),
    list: {"count", "index"},
    tuple: {"count", "index"},
    dict: {"get", "items", "keys", "values"},
}


class RefusedMessagesError(Exception):
    """A template called ``raise_exception``: the conversation does not fit the model."""


class LimitError(jinja2.TemplateRuntimeError):
    """A template took too long, or made too much."""


class _Budget:
    def __init__(self, most_made: int) -> None:
        self._left, self._deadline = most_made, time.thread_time() + MOST_SECONDS

    def tick(self) -> None:
        if time.thread_time() > self._deadline:
            raise LimitError(f"takes more than {MOST_SECONDS:g} seconds")

    def charge(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise LimitError("makes too much text")


_budget: ContextVar[_Budget] = ContextVar("budget")


def render(template: jinja2.Template, variables: Mapping[str, Any], given: int) -> str:
    """The text of a template that `compile_template` made.

    Args:
        template: the template.
        variables: what it may name.
        given: characters in them, which set what the template may make.

    Raises:
        RefusedMessagesError: the template calls ``raise_exception``.
        Exception: whatever a template can raise, `LimitError` among it.
    """
    budget = _Budget(MOST_MADE + MOST_MADE_PER_CHARACTER * given)
    token = _budget.set(budget)
    try:
        pieces = []
        for piece in template.generate(**variables):
            budget.charge(len(piece))
            pieces.append(piece)
        return "".join(pieces)
    finally:
        _budget.reset(token)


def compile_template(source: str) -> jinja2.Template:
    """Makes a template ready to be rendered any number of times, by any threads.

    Raises:
        Exception: the source is no template, or too long.
    """
    if len(source) > MOST_SOURCE_CHARACTERS:
        raise LimitError(f"is longer than {MOST_SOURCE_CHARACTERS} characters")
    environment = _Environment(
        # As transformers has it (utils/chat_template_utils.py).
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
        # Nothing is calculated while a template is compiled; a finalize that asks for the context sees to that too.
        optimized=False,
        finalize=_finalize,
    )
    tree = _Counting().visit(environment.parse(source))
    return jinja2.Template.from_code(environment, environment.compile(tree), environment.globals)


class _Counting(jinja2.visitor.NodeTransformer):
    """Sends whatever makes a value without a call, and what a loop goes through, through a filter that counts it."""

    def visit_List(self, node: jinja2.nodes.List) -> jinja2.nodes.Expr:
        return _filtered(self.generic_visit(node), "_counted")

    visit_Dict = visit_List

    def visit_Tuple(self, node: jinja2.nodes.Tuple) -> jinja2.nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_counted") if node.ctx == "load" else node

    def visit_Getitem(self, node: jinja2.nodes.Getitem) -> jinja2.nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_counted") if isinstance(node.arg, jinja2.nodes.Slice) else node

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Expr:
        self.generic_visit(node)
        return _filtered(jinja2.nodes.List(node.nodes, lineno=node.lineno), "_concatenated")

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_stepped")
        return node


def _filtered(node: Any, name: str) -> jinja2.nodes.Filter:
    return jinja2.nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what an assistant said, for training; here it is just its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(jinja2.sandbox.SandboxedEnvironment.default_binop_table)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters["tojson"] = _to_json
        self.filters["join"] = _join
        self.filters["replace"] = _replace
        self.filters["indent"] = _indent
        self.filters = {name: _limited(name, self.filters[name]) for name in _FILTERS.split()} | {
            "_counted": _counted,
            "_concatenated": _concatenated,
            "_stepped": _stepped,
        }
        kept = ("range", "dict", "namespace")
        self.globals = {name: self.globals[name] for name in kept}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def concat(self, pieces: Iterable[str]) -> str:
        return _joined("", list(pieces))

    def is_safe_attribute(self, obj: object, attr: str, value: Any) -> bool:
        for kind, names in _METHODS.items():
            if isinstance(obj, kind):
                return attr in names
        kinds = jinja2.runtime.LoopContext | jinja2.runtime.Macro | jinja2.utils.Namespace | jinja2.runtime.Undefined
        return isinstance(obj, kinds) and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        _check_operands(operator, left, right)
        return _counted(super().call_binop(context, operator, left, right))

    def call(
        __self,
        __context: jinja2.runtime.Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", None)
        if isinstance(owner, str) and name == "replace":
            return _replace(owner, *args, **kwargs)
        if isinstance(owner, str) and name == "join":
            return _joined(owner, [_text(value) for value in _stepped(*args)])
        return _counted(super().call(__context, __obj, *args, **kwargs))


def _check_operands(operator: str, left: Any, right: Any) -> None:
    """Refuses what could take long or grow huge in one operation."""
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**" and not (abs(left) <= LARGEST_ARGUMENT and 0 <= right < 64):
            raise LimitError("calculates with huge numbers")
        if max(abs(left), abs(right)) > LARGEST_NUMBER:
            raise LimitError("calculates with huge numbers")
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(times, int) and isinstance(value, str | list | tuple):
                _budget.get().charge(max(0, times) * max(1, len(value)))
    elif operator == "%" and isinstance(left, str):
        raise LimitError("formats text with %, which is not supported")


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses huge sizes as its arguments, and whose result is counted."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        for value in (*args[first + 1 :], *kwargs.values()):
            if name in _SIZED_FILTERS and isinstance(value, int) and abs(value) > LARGEST_ARGUMENT:
                raise LimitError(f"passes {value} to the filter {name}, which takes at most {LARGEST_ARGUMENT}")
        for value in args[first:]:
            _check_printable(value)
        return _counted(function(*args, **kwargs))

    return limited


def _counted(value: Any) -> Any:
    """``value``, weighed; an iterator comes back as one that looks at the clock at each step."""
    _budget.get().tick()
    if isinstance(value, Iterator):
        return _stepped(value)
    _weigh(value)
    return value


def _stepped(values: Iterable[Any]) -> Iterator[Any]:
    budget = _budget.get()
    for value in values:
        budget.tick()
        yield value


def _weigh(value: Any) -> None:
    """Charges for the characters and entries of a value, of whatever it holds each time that it holds it."""
    budget, waiting = _budget.get(), [value]
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
            _check_printable(one)


def _check_printable(value: Any) -> None:
    """Refuses an object that could hold itself: printing or comparing it might never end."""
    if isinstance(value, jinja2.utils.Namespace):
        raise LimitError("uses a namespace as a value")


def _text(value: Any) -> str:
    """What a template prints of a value."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float | list | tuple | dict | jinja2.runtime.Undefined | None):
        raise LimitError(f"prints an object of type {type(value).__name__}")
    _weigh(value)
    return str(value)


@jinja2.pass_context
def _finalize(context: jinja2.runtime.Context, value: Any) -> str:
    return _text(value)


def _concatenated(values: list[Any]) -> str:
    return _joined("", [_text(value) for value in values])


def _joined(separator: str, texts: list[str]) -> str:
    budget = _budget.get()
    budget.tick()
    budget.charge(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@jinja2.pass_environment
def _join(environment: jinja2.Environment, value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    """The filter ``join``."""
    values = _stepped(value)
    if attribute is not None:
        values = (environment.getattr(one, attribute) for one in values)
    return _joined(_text(d), [_text(one) for one in values])


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    """The filter and the method ``replace``."""
    text, old, new = _text(text), _text(old), _text(new)
    places = text.count(old) if count is None or count < 0 else min(count, text.count(old))
    budget = _budget.get()
    budget.tick()
    budget.charge(len(text) + places * len(new))
    return text.replace(old, new, places)


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """The filter ``indent``."""
    text = _text(text)
    _budget.get().charge((text.count("\n") + 1) * (len(width) if isinstance(width, str) else width))
    return jinja2.filters.do_indent(text, width, first, blank)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    _weigh(value)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: Any) -> None:
    raise RefusedMessagesError(_text(message))


def _strftime_now(form: str) -> str:
    if len(form) > LARGEST_ARGUMENT or re.search(r"%[^A-Za-z%]*\d", form):
        raise LimitError("formats the time in an unusual way")
    return datetime.now().strftime(form)
