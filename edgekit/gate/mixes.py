"""From what each tensor costs in each format to a row of mixes, the cheapest first and the most faithful last.

A mix gives each tensor a format. All tensors begin in the format of least time (or size). Then, one move at a time, the
tensor changes whose divergence falls most for the time that it takes: the greedy choice of a knapsack problem, the best
there is for each point on the way if costs add up, since only formats on the lower convex hull of a tensor's (time,
divergence) points are used, whose gains shrink move by move (Everett 1963, https://doi.org/10.1287/opre.11.3.399).
Costs of tensors add up only about, so a mix is measured as a whole before it is believed (`edgekit.gate.search`).

In: numbers. Out: mixes. Nothing is run here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Mix", "Option", "plan_mixes", "thin", "uniform_mix"]

# Where mixes are tried as a whole, between the cheapest and the most faithful.
SHARES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)


@dataclass(frozen=True)
class Option:
    """One tensor in one format: its time in microseconds (or size in bytes), and its divergence alone in nats."""

    format: str
    cost: float
    divergence: float


@dataclass(frozen=True)
class Mix:
    """A format for each tensor, with the sums of their costs and divergences."""

    formats: Mapping[str, str]
    cost: float
    divergence: float


def plan_mixes(options: Mapping[str, Sequence[Option]]) -> list[Mix]:
    """All mixes on the way from the cheapest to the most faithful; each differs from the one before in one tensor.

    Args:
        options: at least one format for each tensor.
    """
    hulls = {name: _hull(of_tensor) for name, of_tensor in options.items()}
    chosen = {name: hull[0] for name, hull in hulls.items()}
    moves = sorted(
        ((_gain(before, after), name, after) for name, hull in hulls.items() for before, after in _steps(hull)),
        key=lambda move: -move[0],
    )
    mixes = [_sum_up(chosen)]
    for _, name, after in moves:
        chosen[name] = after
        mixes.append(_sum_up(chosen))
    return mixes


def uniform_mix(options: Mapping[str, Sequence[Option]], format_name: str) -> Mix:
    """The mix in which every tensor has one format, which each must have among its options."""
    return _sum_up(
        {name: next(each for each in found if each.format == format_name) for name, found in options.items()}
    )


def thin(mixes: Sequence[Mix]) -> list[Mix]:
    """The cheapest mix, and the most faithful of those that cost at most so much more: `SHARES` of what the last does.

    Most are kept where mixes are cheap, since one of those is sought, and few where they are hardly cheaper than the
    last.
    """
    low, high = mixes[0].cost, mixes[-1].cost
    kept = {max(place for place, mix in enumerate(mixes) if mix.cost <= low + share * (high - low)) for share in SHARES}
    return [mixes[place] for place in sorted(kept | {0})]


def _steps(hull: Sequence[Option]) -> list[tuple[Option, Option]]:
    return list(itertools.pairwise(hull))


def _gain(before: Option, after: Option) -> float:
    """How much divergence a move takes away for a unit of cost."""
    return (before.divergence - after.divergence) / (after.cost - before.cost)


def _hull(options: Sequence[Option]) -> list[Option]:
    """The options on the lower convex hull, by rising cost and falling divergence."""
    hull: list[Option] = []
    for option in sorted(options, key=lambda option: (option.cost, option.divergence)):
        if hull and option.divergence >= hull[-1].divergence:
            continue
        while len(hull) > 1 and _gain(hull[-2], hull[-1]) <= _gain(hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def _sum_up(chosen: Mapping[str, Option]) -> Mix:
    return Mix(
        {name: option.format for name, option in chosen.items()},
        sum(option.cost for option in chosen.values()),
        sum(option.divergence for option in chosen.values()),
    )
