"""Jinja2's immutable sandbox with an end: chat templates come from strangers, and each of them is stopped in time.

Templates are read as transformers reads them (utils/chat_template_utils.py: blocks trimmed, loop controls,
``raise_exception``, ``strftime_now``, ``tojson`` that escapes nothing). What no chat template needs is left out: other
filters, methods and globals, formatting with ``%`` or ``str.format``, other templates.
`edgekit.runtime.template_limits` counts what is left.

In: a template's source, variables. Out: text. Needs jinja2; see `edgekit.runtime.chat_template`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils
import jinja2.visitor

from edgekit.runtime import template_limits as limits
from edgekit.runtime.template_limits import LimitError

# Twice the longest that models have.
MOST_SOURCE_CHARACTERS = 64 * 1024

_FILTERS = """
abs attr batch capitalize count d default dictsort e escape first float groupby indent int items join last length list
lower map max min reject rejectattr replace reverse round safe select selectattr slice sort string title tojson trim
truncate unique upper wordcount
"""
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


def compile_template(source: str) -> jinja2.Template:
    """Makes a template ready to be rendered any number of times, by any threads.

    Raises:
        Exception: the source is no template, or too long.
    """
    if len(source) > MOST_SOURCE_CHARACTERS:
        raise LimitError(f"is longer than {MOST_SOURCE_CHARACTERS} characters")
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
        # Nothing is calculated while a template is compiled; a finalize that asks for the context sees to that too.
        optimized=False,
        finalize=_finalize,
    )
    tree = _Counting().visit(environment.parse(source))
    return jinja2.Template.from_code(environment, environment.compile(tree), environment.globals)


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
    budget = limits.Budget(given)
    token = limits.current_budget.set(budget)
    try:
        pieces = []
        for piece in template.generate(**variables):
            budget.charge(len(piece))
            pieces.append(piece)
        return "".join(pieces)
    finally:
        limits.current_budget.reset(token)


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
        ours = {"indent": limits.indent, "join": limits.join, "replace": limits.replaced, "tojson": limits.to_json}
        filters = self.filters | ours
        self.filters = {name: limits.limited(name, filters[name]) for name in _FILTERS.split()}
        self.filters |= {"_counted": limits.counted, "_concatenated": _concatenated, "_stepped": limits.stepped}
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def concat(self, pieces: Iterable[str]) -> str:
        return limits.joined("", list(pieces))

    def is_safe_attribute(self, obj: object, attr: str, value: Any) -> bool:
        for kind, names in _METHODS.items():
            if isinstance(obj, kind):
                return attr in names
        kinds = jinja2.runtime.LoopContext | jinja2.runtime.Macro | jinja2.utils.Namespace | jinja2.Undefined
        return isinstance(obj, kinds) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        # str.format can make anything of a width; without the sandbox's own wrapper it is a method that is not listed.
        return None

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        limits.check_operands(operator, left, right)
        return limits.counted(super().call_binop(context, operator, left, right))

    def call(__self, __context: jinja2.runtime.Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", None)
        if isinstance(owner, str) and name == "replace":
            return limits.replaced(owner, *args, **kwargs)
        if isinstance(owner, str) and name == "join":
            return limits.joined(owner, [limits.text(value) for value in limits.stepped(*args)])
        return limits.counted(super().call(__context, __obj, *args, **kwargs))


@jinja2.pass_context
def _finalize(context: jinja2.runtime.Context, value: Any) -> str:
    return limits.text(value)


def _concatenated(values: list[Any]) -> str:
    return limits.joined("", [limits.text(value) for value in values])


def _raise_exception(message: Any) -> None:
    raise RefusedMessagesError(limits.text(message))


def _strftime_now(form: str) -> str:
    # A width, as in %1000000d, is all that could make it long.
    if len(form) > limits.LARGEST_SIZE or re.search(r"%[^A-Za-z%]*\d", form):
        raise LimitError("formats the time with a width")
    return datetime.now().strftime(form)
