"""A relation of two models as sentences, every word of which follows from figures.

In: a `Relation` and its pair's measurements. Out: one or two sentences. No judgement is made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgekit.bench.comparison import Difference
from edgekit.report.costs import Cost
from edgekit.report.estimate import Order
from edgekit.report.numbers import p_text, points, share_of, signed
from edgekit.report.pairs import Pairs
from edgekit.report.relation import Outcome, Relation

__all__ = ["listed", "metric_title", "say_relation"]

METRIC_TITLES = {"chrf": "chrF", "bleu": "BLEU", "rouge-l": "ROUGE-L", "exact": "exact match", "gleu": "GLEU"}


def metric_title(metric: str) -> str:
    """``chrF`` for ``chrf``; a metric without a usual spelling as it is."""
    return METRIC_TITLES.get(metric, metric)


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def say_relation(relation: Relation, pairs: Pairs, metric: str) -> str:
    """What the relation's figures say, in one sentence, and what they leave open in a second."""
    return " ".join([_main_sentence(relation, pairs, metric), *_open_questions(relation)])


def _main_sentence(relation: Relation, pairs: Pairs, metric: str) -> str:
    first, second = relation.first.name, relation.second.name
    difference = pairs.difference(relation.first, relation.second)
    lower, higher = (_shares(relation, pairs, order) for order in (Order.LOWER, Order.HIGHER))
    if difference is None or relation.outcome is Outcome.UNKNOWN:
        takes = f"{first} takes {_but(lower, higher)} of {second}" if lower or higher else f"{first} and {second}"
        return f"{takes}: which of them is better wasn't measured."
    gain = f"{signed(difference.points)} {metric_title(metric)}"
    if relation.outcome is Outcome.WINS:
        at = f"at {listed(lower)} of {second}" if lower else f"over {second}"
        return f"{first} gives {gain} {at}; the difference is significant ({_evidence(difference)})."
    if relation.outcome is Outcome.TRADE and not lower:
        # Both sides as gains: the dearer one's ratios turned around.
        shares = listed([_share(relation, pairs, cost, turned=True) for cost in _with(relation, Order.HIGHER)])
        return f"{first} gives {gain} ({_evidence(difference)}); {second} takes {shares} of {first}."
    if relation.outcome is Outcome.TRADE:
        at = _but(lower, higher)
        return f"{first} gives {gain} at {at} of {second}; the difference is significant ({_evidence(difference)})."
    return f"{_costs_first(relation, lower, higher)}; {_cannot_tell(first, difference, metric)}."


def _costs_first(relation: Relation, lower: list[str], higher: list[str]) -> str:
    first, second = relation.first.name, relation.second.name
    if not lower and not higher:
        return f"{first} and {second} can't be told apart by their costs"
    return f"{first} takes {_but(lower, higher)} of {second}"


def _but(lower: list[str], higher: list[str]) -> str:
    """``1/3 of the time, but 2 times the memory``."""
    return ", but ".join(listed(shares) for shares in (lower, higher) if shares)


def _cannot_tell(first: str, difference: Difference, metric: str) -> str:
    """What an interval that holds 0 says: how much worse and how much better the first may be."""
    low, high = difference.ci95
    if low == high == 0:
        return "their outputs score the same"
    name = metric_title(metric)
    if low < 0 < high:
        bounds = f"between {points(-low)} {name} worse and {points(high)} better"
    else:
        bounds = f"{signed(low)} to {signed(high)} {name}"
    return f"which is better can't be told: {first} is {bounds} (95 %, {p_text(difference.p_value)})"


def _evidence(difference: Difference) -> str:
    return f"{p_text(difference.p_value)}; 95 % interval {signed(difference.ci95[0])} to {signed(difference.ci95[1])}"


def _open_questions(relation: Relation) -> Iterator[str]:
    settled = any(order in (Order.LOWER, Order.HIGHER) for order in relation.costs.values())
    unclear = [cost.noun for cost in _with(relation, Order.UNCLEAR)]
    if unclear and (settled or relation.outcome is Outcome.WINS):
        yield f"In {listed(unclear)} they don't differ beyond the intervals."
    missing = [cost.noun for cost in _with(relation, Order.MISSING)]
    if missing:
        yield f"Their {listed(missing)} can't be compared: not measured for both."


def _with(relation: Relation, order: Order) -> list[Cost]:
    return [cost for cost, found in relation.costs.items() if found is order]


def _shares(relation: Relation, pairs: Pairs, order: Order) -> list[str]:
    return [_share(relation, pairs, cost) for cost in _with(relation, order)]


def _share(relation: Relation, pairs: Pairs, cost: Cost, turned: bool = False) -> str:
    first, second = (relation.second, relation.first) if turned else (relation.first, relation.second)
    found = pairs.ratio(first, second, cost)
    assert found is not None, "an order was found from it"
    return share_of(found, cost.noun)
