"""What follows from figures that were measured once a round: medians, their intervals, and ratios between models.

All models run in every round, so the ratio of two models' figures in a round holds on a machine that is busy for a
while; the figures themselves don't.

In: one number a round. Out: values of `edgekit.bench.comparison`, and a sentence on rounds that disagree.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from edgekit.bench.comparison import Ratio, TimedFigure

__all__ = ["BYTES_PER_MB", "disagreement", "median_and_range", "median_interval", "ratio", "timed_figure"]

BYTES_PER_MB = 1_000_000
# Rounds further apart than this are reported: the median then hides a machine that changed speed.
ROUNDS_DISAGREE = 0.10
# A 95 % interval leaves out this much on either side.
TAIL = 0.025


def median_and_range(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, the smallest and the largest of at least one value."""
    return statistics.median(values), min(values), max(values)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, from order statistics: it assumes no distribution.

    The k-th smallest and the k-th largest of n values enclose the true median unless fewer than k of them lie on one
    side of it, of which a binomial distribution tells the probability (David and Nagaraja, Order Statistics, 7.1). Six
    values are the fewest that have such an interval; of fewer, it is the smallest and the largest.
    """
    ordered, count = sorted(values), len(values)
    outside, below = 0, 0.0
    while below + math.comb(count, outside) / 2**count <= TAIL:
        below += math.comb(count, outside) / 2**count
        outside += 1
    first = max(outside - 1, 0)
    return ordered[first], ordered[count - 1 - first]


def timed_figure(values: Sequence[float]) -> TimedFigure:
    """The figure of at least one round."""
    return TimedFigure(statistics.median(values), *median_interval(values), tuple(values))


def ratio(first: TimedFigure, second: TimedFigure) -> Ratio:
    """How many times the second figure the first is, from the ratio in each round."""
    ratios = [one / other for one, other in zip(first.rounds, second.rounds, strict=True)]
    return Ratio(statistics.median(ratios), *median_interval(ratios))


def disagreement(what: str, medians: Mapping[str, float], spread: Mapping[str, tuple[float, float]]) -> str | None:
    """A sentence on the figure whose rounds are furthest apart, where that is more than 10 % of the median.

    Args:
        what: What was measured.
        medians: By a figure's name.
        spread: Smallest and largest round, by name; others than ``medians`` has are passed over.
    """
    relative = {name: (spread[name][1] - spread[name][0]) / median for name, median in medians.items()}
    worst = max(relative, key=lambda name: relative[name])
    if relative[worst] <= ROUNDS_DISAGREE:
        return None
    low, high = spread[worst]
    return f"{what}: rounds disagree by {100 * relative[worst]:.0f} % in {worst} ({low:.4g} to {high:.4g})"
