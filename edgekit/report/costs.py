"""The costs that models are compared by: how each is called, where it's found, how it's written.

In: a `ModelResult`. Out: an `Estimate`, or None where it wasn't or couldn't be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.bench.comparison import ModelResult, TaskComparison, TimedFigure
from edgekit.report.estimate import Estimate
from edgekit.report.numbers import amount, megabytes, milliseconds

__all__ = ["CPU", "MEMORY", "MONEY", "TIME", "Cost", "item_noun", "main_costs", "timed"]


@dataclass(frozen=True)
class Cost:
    """A cost, lower being better.

    Attributes:
        noun: In a sentence: "1/16 of the *time*".
        title: In a heading and on an axis; ``{item}`` stands for what a text of the task is called.
        timed: The field of `Costs` that the rounds' ratios are of; None where it's measured once.
        read: The figure with its interval.
        format: The figure with its unit.
    """

    noun: str
    title: str
    timed: str | None
    read: Callable[[ModelResult], Estimate | None]
    format: Callable[[float], str]


def timed(figure: TimedFigure | None) -> Estimate | None:
    """A timed figure with the interval of its median; None for None."""
    return None if figure is None else Estimate.of(figure.median, (figure.low, figure.high))


def _memory(model: ModelResult) -> Estimate | None:
    memory = model.memory
    return Estimate.of(memory.peak_mb if memory.peak_single_mb is None else memory.peak_single_mb)


TIME = Cost(
    "time",
    "median time a {item}",
    "latency_ms_p50",
    lambda model: timed(model.costs.latency_ms_p50),
    milliseconds,
)
MEMORY = Cost("memory", "peak memory", None, _memory, megabytes)
MONEY = Cost(
    "price",
    "price of a million words",
    "price_per_million_words",
    lambda model: timed(model.costs.price_per_million_words),
    amount,
)
CPU = Cost(
    "CPU time",
    "CPU seconds for 1,000 words in bulk",
    "cpu_seconds_per_1000_words_bulk",
    lambda model: timed(model.costs.cpu_seconds_per_1000_words_bulk),
    lambda value: milliseconds(1e3 * value),
)


def main_costs(comparison: TaskComparison) -> tuple[Cost, ...]:
    """What the verdict weighs and the pictures show: time, memory, and money where a price was given, else CPU time."""
    priced = any(model.costs.price_per_million_words is not None for model in comparison.models)
    return (TIME, MEMORY, MONEY if priced else CPU)


def item_noun(comparison: TaskComparison) -> str:
    """What one text of the task is called: ``sentence`` of a translation, ``text`` of another task."""
    return "sentence" if comparison.task.task.startswith("translate:") else "text"
