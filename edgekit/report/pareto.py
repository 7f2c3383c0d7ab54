"""Who is on the Pareto front of quality against a cost, and whether the intervals allow to say so.

In: a matrix of what is known of each pair. Out: a `Standing` each. Nothing is drawn or worded here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from edgekit.report.estimate import Estimate, Order

__all__ = ["Standing", "front_by_figures", "standings"]


class Standing(enum.Enum):
    """Where a model stands among all of them."""

    FRONT = "on the front"
    BEHIND = "behind the front"
    UNDECIDED = "too close to call"


def front_by_figures(qualities: Sequence[Estimate], costs: Sequence[Estimate]) -> list[bool]:
    """By the figures alone, whether no other is at least as good on both and better on one."""
    pairs = [(quality.value, -cost.value) for quality, cost in zip(qualities, costs, strict=True)]
    return [not any(other != pair and other[0] >= pair[0] and other[1] >= pair[1] for other in pairs) for pair in pairs]


def standings(count: int, quality: Callable[[int, int], Order], cost: Callable[[int, int], Order]) -> list[Standing]:
    """The standing of each of ``count`` models.

    `Standing.BEHIND`: another is better and cheaper beyond the intervals. `Standing.FRONT`: each other is worse or
    dearer beyond them. Everything else is `Standing.UNDECIDED`, a missing figure included.

    Args:
        count: How many models there are; they are numbered from 0.
        quality: Whether the first model's quality is higher than the second's.
        cost: Whether the first model's cost is lower than the second's.
    """
    found = []
    for one in range(count):
        others = [other for other in range(count) if other != one]
        if any(quality(other, one) is Order.HIGHER and cost(other, one) is Order.LOWER for other in others):
            found.append(Standing.BEHIND)
        elif all(quality(one, other) is Order.HIGHER or cost(one, other) is Order.LOWER for other in others):
            found.append(Standing.FRONT)
        else:
            found.append(Standing.UNDECIDED)
    return found
