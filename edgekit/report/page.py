"""The comparison as a page of HTML: one file that opens offline, asks nothing of a network, and runs no script.

Everything that a user or a model wrote is escaped by Jinja2, control characters are made visible, and the page's own
policy forbids scripts and requests. In: a `TaskComparison`. Out: HTML. The look is in `page.html`, `page.css` and
`chart.css`.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from edgekit.bench.cleaning import CLEANING_RULES
from edgekit.bench.comparison import TaskComparison
from edgekit.report.circumstances import circumstances
from edgekit.report.costs import CPU, MEMORY, MONEY, TIME, Cost, item_noun
from edgekit.report.drawing import Drawing, printable
from edgekit.report.examples import choose_examples
from edgekit.report.fronts import draw_front, floor_lines, quality_of
from edgekit.report.numbers import milliseconds
from edgekit.report.prompting import prompted, say_cleaned
from edgekit.report.row_charts import IntervalRow, LatencyRow, draw_intervals, draw_latencies
from edgekit.report.tables import cost_table, overview_table, pair_table, quality_table
from edgekit.report.verdict import reach_verdict
from edgekit.report.wording import listed, metric_title

__all__ = ["to_html"]


WIDE, HALF, NARROW = 920, 448, 358
# The space before a unit, and those of "p < 0.001".
UNIT = re.compile(r"(?<=\d) (?=%|[MG]B\b|m?s\b|cores?\b|chrF\b|BLEU\b)|(?<=\bp) (?=[<=])|(?<=\bp.[<=]) (?=\d)")
# JSON has as many: `edgekit.bench.json_values`.
SIGNIFICANT_DIGITS = 6


class Drawings(NamedTuple):
    """The same picture for a screen and for a phone, where a picture that shrinks can't be read."""

    wide: Drawing
    narrow: Drawing


def to_html(comparison: TaskComparison) -> str:
    """The page, ending in a newline."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    environment.filters["tied"] = _tied
    environment.filters["number"] = lambda value: f"{value:.{SIGNIFICANT_DIGITS}g}"
    return environment.from_string(_read("page.html")).render(_values(comparison)).rstrip() + "\n"


def _finalize(value: Any) -> Any:
    # Not of subclasses of str: what a macro gave is marked as escaped by being one.
    return printable(value) if type(value) is str else value


def _tied(text: str) -> str:
    """The text with its figures and their units, and the name of a kind of model, kept in one line each."""
    text = UNIT.sub("\u00a0", text)
    return text.replace("encoder–decoder", "encoder\u2060–\u2060decoder")


def _read(name: str) -> str:
    return resources.files("edgekit.report").joinpath(name).read_text(encoding="utf-8")


def _values(comparison: TaskComparison) -> dict[str, Any]:
    """What the template shows, by the names that it uses."""
    verdict, relation = reach_verdict(comparison), reach_verdict(comparison).relation
    models = comparison.models
    return {
        "version": comparison.environment.versions.get("edgekit"),
        "style": _read("chart.css") + _read("page.css"),
        "verdict": verdict,
        "task": comparison.task,
        "noun": item_noun(comparison),
        "metric": metric_title(comparison.task.metric),
        "kinds": {
            "seq2seq": any(model.kind != "causal-lm" for model in models),
            "causal": any(model.kind == "causal-lm" for model in models),
        },
        "warnings": comparison.warnings,
        "overview": overview_table(comparison),
        "quality": quality_table(comparison),
        "pairs": pair_table(comparison) if comparison.pairs else None,
        "costs": cost_table(comparison),
        "limits_note": _limits_note(comparison),
        "examples": choose_examples(comparison, relation.first, relation.second) if relation else (),
        "prompted": [prompted(model.name, model.prompt) for model in models if model.prompt],
        "rules": CLEANING_RULES,
        "cleaned": say_cleaned(comparison),
        "circumstances": circumstances(comparison),
        "command": comparison.settings.command,
        **_drawings(comparison),
    }


def _drawings(comparison: TaskComparison) -> dict[str, Any]:
    floors, metric = floor_lines(comparison), metric_title(comparison.task.metric)
    rows = [
        IntervalRow(model.name, model.kind == "causal-lm", quality)
        for model, quality in zip(comparison.models, quality_of(comparison), strict=True)
    ]
    latencies = [
        LatencyRow(
            model.name,
            model.kind == "causal-lm",
            model.costs.item_latency_ms,
            model.costs.latency_ms_p50.median,
            model.costs.latency_ms_p95.median,
        )
        for model in comparison.models
    ]
    others = (MEMORY, MONEY if any(map(MONEY.read, comparison.models)) else CPU)
    return {
        "time_front": _front(comparison, TIME, ((WIDE, 430), (NARROW, 400))),
        "other_fronts": [
            found for cost in others if (found := _front(comparison, cost, ((HALF, 370), (NARROW, 340)))) is not None
        ],
        "intervals": Drawings(*(draw_intervals(rows, floors, metric, width) for width in (WIDE, NARROW))),
        "latencies": Drawings(*(draw_latencies(latencies, milliseconds, width) for width in (WIDE, NARROW))),
    }


def _front(comparison: TaskComparison, cost: Cost, sizes: tuple[tuple[int, int], tuple[int, int]]) -> Drawings | None:
    wide, narrow = (draw_front(comparison, cost, size) for size in sizes)
    return None if wide is None or narrow is None else Drawings(wide, narrow)


def _limits_note(comparison: TaskComparison) -> str:
    kinds = sorted({model.memory.limit_kind for model in comparison.models if model.memory.limit_kind})
    return f"Memory limits were set on the process itself: {listed(kinds)}." if kinds else ""
