"""What the measurements know of one model beside another, whichever of the two was measured first.

In: a `TaskComparison`. Out: differences of quality and ratios of costs, and their `Order`; None or `Order.MISSING`
where something wasn't measured.
"""

from __future__ import annotations

from edgekit.bench.comparison import Difference, ModelResult, TaskComparison
from edgekit.report.costs import Cost
from edgekit.report.estimate import Estimate, Order, order_of_ratio, ratio

__all__ = ["Pairs"]

SIGNIFICANT_P = 0.05


class Pairs:
    """The pairs of a comparison, to be asked in both directions."""

    def __init__(self, comparison: TaskComparison) -> None:
        """Index the pairs by their names."""
        self._metric = comparison.task.metric
        self._pairs = {(pair.first, pair.second): pair for pair in comparison.pairs}

    def difference(self, first: ModelResult, second: ModelResult, metric: str | None = None) -> Difference | None:
        """By how much the first is better, in the task's metric unless another is named."""
        metric = metric or self._metric
        if pair := self._pairs.get((first.name, second.name)):
            return pair.quality.get(metric)
        if (pair := self._pairs.get((second.name, first.name))) and (found := pair.quality.get(metric)):
            return Difference(-found.points, (-found.ci95[1], -found.ci95[0]), found.p_value)
        return None

    def better(self, first: ModelResult, second: ModelResult) -> Order:
        """Whether the first's quality is higher than the second's: its interval leaves out 0, and p is below 0.05."""
        found = self.difference(first, second)
        if found is None:
            return Order.MISSING
        low, high = found.ci95
        if found.p_value >= SIGNIFICANT_P or low <= 0 <= high:
            return Order.UNCLEAR
        return Order.HIGHER if found.points > 0 else Order.LOWER

    def ratio(self, first: ModelResult, second: ModelResult, cost: Cost) -> Estimate | None:
        """How many times the second's cost the first's is: of the rounds where it's timed, else of the two figures."""
        if cost.timed is None:
            return ratio(cost.read(first), cost.read(second))
        if (pair := self._pairs.get((first.name, second.name))) and (found := pair.ratios.get(cost.timed)):
            return Estimate.of(found.median, (found.low, found.high))
        if (pair := self._pairs.get((second.name, first.name))) and (found := pair.ratios.get(cost.timed)):
            return Estimate.of(1 / found.median, (1 / found.high, 1 / found.low))
        return None

    def cheaper(self, first: ModelResult, second: ModelResult, cost: Cost) -> Order:
        """`Order.LOWER` where the first costs less, beyond the interval of the ratio."""
        return order_of_ratio(self.ratio(first, second, cost))
