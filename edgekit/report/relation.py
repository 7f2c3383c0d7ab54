"""One model beside another: which is better, which is cheaper, and what follows.

In: two models and what their pair's measurements say. Out: a `Relation`, the model that has the better of it first.
What can't be told within the intervals stays `Order.UNCLEAR`, what wasn't measured `Order.MISSING`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.bench.comparison import ModelResult
from edgekit.report.costs import Cost
from edgekit.report.estimate import Order
from edgekit.report.pairs import Pairs

__all__ = ["Outcome", "Relation", "relate"]


class Outcome(enum.Enum):
    """What a buyer can take from a relation; "first" is its first model."""

    WINS = "first is better and no dearer"
    TRADE = "first is better and dearer, on one cost at least"
    CHEAPER = "first is cheaper, and neither is measurably better"
    MIXED = "neither is measurably better, and each is cheaper on one cost"
    ALIKE = "neither is measurably better or cheaper"
    UNKNOWN = "their quality wasn't compared"


@dataclass(frozen=True)
class Relation:
    """A first model beside a second.

    Attributes:
        first: The better one, or the cheaper one where neither is measurably better.
        second: The other.
        quality: ``HIGHER``, ``UNCLEAR`` or ``MISSING``: the first's quality.
        costs: The first's cost beside the second's, by cost.
        outcome: What follows.
    """

    first: ModelResult
    second: ModelResult
    quality: Order
    costs: Mapping[Cost, Order]
    outcome: Outcome


def relate(one: ModelResult, other: ModelResult, pairs: Pairs, costs: Sequence[Cost]) -> Relation:
    """The relation of two models; where neither has the better of it, they keep their order."""
    quality = pairs.better(one, other)
    if quality is Order.LOWER:
        return relate(other, one, pairs, costs)
    orders = {cost: pairs.cheaper(one, other, cost) for cost in costs}
    found = set(orders.values())
    if quality is not Order.HIGHER and Order.HIGHER in found and Order.LOWER not in found:
        return relate(other, one, pairs, costs)
    return Relation(one, other, quality, orders, _outcome(quality, found))


def _outcome(quality: Order, costs: set[Order]) -> Outcome:
    if quality is Order.MISSING:
        return Outcome.UNKNOWN
    if quality is Order.HIGHER:
        return Outcome.TRADE if Order.HIGHER in costs else Outcome.WINS
    if Order.LOWER not in costs:
        return Outcome.ALIKE
    return Outcome.MIXED if Order.HIGHER in costs else Outcome.CHEAPER
