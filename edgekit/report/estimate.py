"""A figure with its interval, and what two of them allow to say about each other.

In: what was measured. Out: `Estimate`s and their ratios. A missing figure stays None: nothing is made up for it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Estimate", "Order", "order_of_ratio", "ratio"]

# Sizes, peaks of memory and searched limits are measured once: what differs by less isn't called a difference.
NEGLIGIBLE_RATIO = 1.05


class Order(enum.Enum):
    """What is known of a first figure beside a second."""

    LOWER = "lower"
    HIGHER = "higher"
    UNCLEAR = "unclear"
    MISSING = "missing"


@dataclass(frozen=True)
class Estimate:
    """A measured figure.

    Attributes:
        value: The figure itself.
        low: Lower end of its interval; the value where there is none.
        high: Upper end; ``low <= value <= high``.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float | None, interval: tuple[float, float] | None = None) -> Estimate | None:
        """An estimate whose interval holds its value; None for None.

        A bootstrap's percentiles may leave the figure of the whole set outside: the interval is widened to it.
        """
        if value is None:
            return None
        low, high = interval or (value, value)
        return cls(value, min(low, value), max(high, value))


def ratio(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    """How many times the second the first is; the interval holds every ratio of values within theirs.

    None where one is missing, or the second isn't above 0.
    """
    if first is None or second is None or second.low <= 0:
        return None
    return Estimate(first.value / second.value, first.low / second.high, first.high / second.low)


def order_of_ratio(found: Estimate | None) -> Order:
    """Whether the first of two costs is lower beyond the interval of their ratio, and by `NEGLIGIBLE_RATIO` or more."""
    if found is None:
        return Order.MISSING
    if found.high < 1 and found.value * NEGLIGIBLE_RATIO <= 1:
        return Order.LOWER
    if found.low > 1 and found.value >= NEGLIGIBLE_RATIO:
        return Order.HIGHER
    return Order.UNCLEAR
