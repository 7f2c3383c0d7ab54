"""Cells and tables before they take a form: each figure keeps its value beside its text.

So every form of the report shows the same numbers, and a page's can be checked against the JSON. In: figures. Out:
`Cell`s and `Table`s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.report.estimate import Estimate

__all__ = ["MISSING", "Cell", "Figure", "Row", "Table", "cell", "figure_cell", "interval_cell", "span_cell"]


@dataclass(frozen=True)
class Figure:
    """A measured value and how it is written."""

    value: float
    text: str


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Attributes:
        main: The figure or text that matters.
        detail: What follows in smaller type, such as an interval.
        is_best: Better than every other of its row, beyond the intervals.
    """

    main: tuple[str | Figure, ...]
    detail: tuple[str | Figure, ...] = ()
    is_best: bool = False

    @property
    def text(self) -> str:
        """The cell in one line."""
        return " ".join(text for part in (self.main, self.detail) if (text := _joined(part)))


@dataclass(frozen=True)
class Row:
    """A heading and a cell a column."""

    heading: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table with a heading for each row and column; ``header`` doesn't count the headings' own column."""

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


def _joined(parts: tuple[str | Figure, ...]) -> str:
    return "".join(part if isinstance(part, str) else part.text for part in parts)


def cell(text: str) -> Cell:
    """A cell of text alone."""
    return Cell((text,))


MISSING = cell("–")


def figure_cell(value: float | None, form: Callable[[float], str]) -> Cell:
    """A figure without an interval; a dash for None."""
    return MISSING if value is None else Cell((Figure(value, form(value)),))


def interval_cell(found: Estimate | None, form: Callable[[float], str], is_best: bool = False) -> Cell:
    """A figure with its interval in brackets: ``65.1 [63.9, 66.2]``; alone if it has none; a dash for None."""
    if found is None:
        return MISSING
    if found.low == found.high:
        return Cell((Figure(found.value, form(found.value)),), (), is_best)
    low, high = Figure(found.low, form(found.low)), Figure(found.high, form(found.high))
    return Cell((Figure(found.value, form(found.value)),), ("[", low, ", ", high, "]"), is_best)


def span_cell(found: Estimate | None, form: Callable[[float], str], is_best: bool = False) -> Cell:
    """A figure with its unit and what it spans: ``12 ms (11–13 ms)``; without the span where it shows no difference."""
    if found is None:
        return MISSING
    main = (Figure(found.value, form(found.value)),)
    low, high = form(found.low), form(found.high)
    if low == high:
        return Cell(main, (), is_best)
    (low_number, _, low_unit), (_, _, high_unit) = low.partition(" "), high.partition(" ")
    short = low_number if low_unit == high_unit else low
    return Cell(main, ("(", Figure(found.low, short), "–", Figure(found.high, high), ")"), is_best)
