"""When to decide: intervals of a loss after each of a few looks at more text, and what follows from them.

A gate that looks again until it likes what it sees accepts too much. So the number of looks is fixed before the first
one, and the 5 % of error is divided among them (Bonferroni: each of n looks has intervals of 100 - 5 / n per cent, half
of the rest on either side). Then the chance that any of them misses is at most 5 %, whatever they have in common; it is
less in truth, since they share their text, so the gate is stricter than it claims. A bundle is accepted on its upper
bounds alone, so one that loses exactly its budget is accepted in at most 2.5 % of cases.

A bootstrap of few items is too narrow: ten sentences none of which changed would give [0, 0]. With n items of which
none changed, up to 3 / n of all others may have (the "rule of three", Hanley and Lippman-Hand 1983,
https://doi.org/10.1001/jama.1983.03330370053031): below `FEWEST` items nothing is decided.

In: how many items of text there are, losses of the resamples. Out: counts, and a verdict. Nothing is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekit.quality.bootstrap import FEWEST_SENTENCES

__all__ = [
    "ERROR",
    "FEWEST",
    "MOST_LOOKS",
    "Finding",
    "Verdict",
    "plan_looks",
    "resamples_for",
    "tail_share",
    "verdict_of",
]

ERROR = 0.05
MOST_LOOKS = 4
# Sentences of translation; windows of running text hold some 256 tokens each.
FEWEST = {"sentences": FEWEST_SENTENCES, "windows": 20}
FEWEST_RESAMPLES = 1000
# Resamples beyond each bound: fewer would leave the bound itself to chance.
RESAMPLES_IN_TAIL = 10

Verdict = Literal["passed", "refused", "undecided"]


@dataclass(frozen=True)
class Finding:
    """What a bundle loses in one metric, after the last look.

    Attributes:
        metric: the budget's.
        limit: the budget.
        loss: on all text seen.
        low: the interval's lower bound.
        high: its upper bound.
        items: how many sentences or windows were seen.
        unit: ``sentences`` or ``windows``.
        verdict: what follows.
    """

    metric: str
    limit: float
    loss: float
    low: float
    high: float
    items: int
    unit: str
    verdict: Verdict


def plan_looks(items: int, fewest: int, most: int = MOST_LOOKS) -> list[int]:
    """How many items each look sees: all at the last, half as many at the one before, never below ``fewest``.

    At most ``most``; one where there are fewer items than twice the fewest.

    Example: 1000 items of which 100 are the fewest: ``[125, 250, 500, 1000]``.
    """
    counts = [items]
    while len(counts) < most and counts[0] // 2 >= fewest:
        counts.insert(0, counts[0] // 2)
    return counts


def tail_share(looks: int) -> float:
    """The share of resamples on either side of an interval where there are so many looks in all."""
    return ERROR / looks / 2


def resamples_for(looks: int) -> int:
    """How many resamples these intervals need."""
    return max(FEWEST_RESAMPLES, int(np.ceil(RESAMPLES_IN_TAIL / tail_share(looks))))


def verdict_of(
    metric: str,
    limit: float,
    loss: float,
    resampled: npt.NDArray[np.float64],
    *,
    items: int,
    unit: str,
    looks: int,
) -> Finding:
    """What one look says of one budget.

    Args:
        metric: its name.
        limit: the most that may be lost.
        loss: on the text seen.
        resampled: float64 [resamples], the loss in each.
        items: how many were seen.
        unit: what they are, a key of `FEWEST`.
        looks: how many looks there may be in all.
    """
    share = 100 * tail_share(looks)
    low, high = (float(bound) for bound in np.percentile(resampled, [share, 100 - share]))
    verdict: Verdict = "undecided"
    if items >= FEWEST[unit]:
        verdict = "passed" if high <= limit else "refused" if low > limit else "undecided"
    return Finding(metric, limit, loss, low, high, items, unit, verdict)
