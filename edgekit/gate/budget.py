"""What a quantised model may lose against fp32, as a user writes it: ``chrf=0.3``, ``ppl=1%``, ``kl=0.02``.

In: the text of an option, and the task of a model. Out: `Budget`s. Refused, in one line: an unknown metric, a limit
that is no number above 0 or lacks its unit, a metric of another task, a metric that is given twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.errors import InputError

__all__ = ["METRICS", "Budget", "Metric", "check_budgets", "parse_budget"]


@dataclass(frozen=True)
class Metric:
    """What a loss is counted in.

    Attributes:
        name: as the option has it.
        shown: as a reader knows it, with the unit: ``0.31 chrF``, ``1.2 % of perplexity``.
        tasks: the tasks of manifests that have it.
        suffix: what must follow the number.
        example: an option's value.
    """

    name: str
    shown: str
    tasks: tuple[str, ...]
    suffix: str
    example: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric("chrf", "chrF", ("translation",), "", "chrf=0.3"),
        Metric("bleu", "BLEU", ("translation",), "", "bleu=0.5"),
        Metric("ppl", "% of perplexity", ("text-generation",), "%", "ppl=1%"),
        Metric("kl", "nats of KL divergence a token", ("translation", "text-generation"), "", "kl=0.02"),
    )
}


@dataclass(frozen=True)
class Budget:
    """The most that may be lost: points of ``chrf`` or ``bleu``, per cent of perplexity, nats a token of ``kl``."""

    metric: str
    limit: float

    def __str__(self) -> str:
        """As the option has it: ``ppl=1%``."""
        return f"{self.metric}={self.limit:g}{METRICS[self.metric].suffix}"


def parse_budget(text: str) -> Budget:
    """Reads ``METRIC=LIMIT``.

    Raises:
        InputError: the metric is unknown, or the limit is not a finite number above 0 in the metric's unit.
    """
    name, _, limit = text.partition("=")
    metric = METRICS.get(name.strip().lower())
    examples = ", ".join(known.example for known in METRICS.values())
    if metric is None:
        raise InputError(f"unknown budget {text!r}: expected one of {examples}")
    number = limit.strip()
    if metric.suffix and not number.endswith(metric.suffix):
        raise InputError(f"a budget of {metric.name} is in per cent, such as {metric.example}; found {text!r}")
    try:
        value = float(number.removesuffix(metric.suffix) if metric.suffix else number)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"a budget of {metric.name} is a number above 0, such as {metric.example}; found {text!r}")
    return Budget(metric.name, value)


def check_budgets(budgets: Sequence[Budget], task: str) -> None:
    """Refuses budgets that contradict each other or that the task has no figure for.

    Args:
        budgets: any number.
        task: the manifest's ``task``.

    Raises:
        InputError: a metric occurs twice, or is one of another task.
    """
    names = [budget.metric for budget in budgets]
    if twice := [name for name in names if names.count(name) > 1]:
        given = " and ".join(str(budget) for budget in budgets if budget.metric == twice[0])
        raise InputError(f"the budget of {twice[0]} is given twice, {given}; give it once")
    for name in names:
        if task not in METRICS[name].tasks:
            fitting = ", ".join(metric.example for metric in METRICS.values() if task in metric.tasks)
            raise InputError(f"a model for {task} has no {name}; give its budget as one of {fitting}")
