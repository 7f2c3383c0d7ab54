"""The comparison as CSV: a header, and a line a model with every figure that has one value a model.

Columns are named after the JSON's keys, joined by ``_``; an interval is two more columns, ``_low`` and ``_high``; what
wasn't measured is empty. Outputs, rounds and pairs are in the JSON only. In: a `TaskComparison`. Out: CSV.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping
from typing import Any

from edgekit.bench.comparison import Costs, Fit, ModelResult, Score, TaskComparison, TimedFigure
from edgekit.bench.json_values import to_values
from edgekit.report.costs import TIME
from edgekit.report.drawing import printable
from edgekit.report.fronts import standings_of

__all__ = ["to_csv"]

# A model that no limits were tried on has the same columns.
NO_FIT = Fit(None, None, False, None, None)


def to_csv(comparison: TaskComparison) -> str:
    """The lines, each ending in a newline."""
    rows = [
        {**dict(_model_columns(model)), "standing": standing.value}
        for model, standing in zip(comparison.models, standings_of(comparison, TIME), strict=True)
    ]
    output = io.StringIO()
    writer = csv.DictWriter(output, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def _model_columns(model: ModelResult) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name == "prompt":
            yield "prompt", value.chosen if value else None
        elif field.name == "fit":
            yield from ((name, None if value is None else found) for name, found in _columns("fit", value or NO_FIT))
        elif field.name != "outputs":
            yield from _columns(field.name, value)


def _columns(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Score):
        yield from _interval(name, value.points, value.ci95)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _columns(f"{name}_{key}", inner)
    elif isinstance(value, Costs):
        for field in dataclasses.fields(value):
            figure = getattr(value, field.name)
            if field.name != "item_latency_ms":
                yield from _interval(f"{name}_{field.name}", *_timed(figure))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _columns(f"{name}_{field.name}", getattr(value, field.name))
    else:
        yield name, printable(value) if isinstance(value, str) else to_values(value)


def _timed(figure: TimedFigure | None) -> tuple[float | None, tuple[float | None, float | None]]:
    return (None, (None, None)) if figure is None else (figure.median, (figure.low, figure.high))


def _interval(name: str, value: float | None, ends: tuple[float | None, float | None]) -> Iterator[tuple[str, Any]]:
    yield name, to_values(value)
    yield f"{name}_low", to_values(ends[0])
    yield f"{name}_high", to_values(ends[1])
