import pytest

from edgekit.report.estimate import Estimate, Order, order_of_ratio, ratio
from edgekit.report.pareto import Standing, front_by_figures, standings


def estimates(*values):
    return [Estimate(value, value, value) for value in values]


def test_front_by_figures_of_a_hand_worked_set():
    # Quality 50 at 10, 60 at 20, 55 at 30 (behind the second), 60 at 25 (behind it too), 70 at 100.
    front = front_by_figures(estimates(50, 60, 55, 60, 70), estimates(10, 20, 30, 25, 100))
    assert front == [True, True, False, False, True]


def test_two_of_equal_figures_are_both_on_the_front():
    assert front_by_figures(estimates(50, 50), estimates(10, 10)) == [True, True]


def by_interval(quality, cost):
    """Standings of models given as (low, high) of quality and of cost."""

    def better(one, other):
        if quality[one][0] > quality[other][1]:
            return Order.HIGHER
        return Order.LOWER if quality[one][1] < quality[other][0] else Order.UNCLEAR

    def cheaper(one, other):
        if cost[one][1] < cost[other][0]:
            return Order.LOWER
        return Order.HIGHER if cost[one][0] > cost[other][1] else Order.UNCLEAR

    return standings(len(quality), better, cheaper)


def test_standings_are_certain_only_beyond_the_intervals():
    quality = [(59, 61), (60, 62), (40, 42), (69, 71)]
    cost = [(9, 11), (19, 21), (19, 21), (90, 110)]
    # The second may be better than the first, or not, and is dearer: on the front, or behind it.
    assert by_interval(quality, cost) == [Standing.FRONT, Standing.UNDECIDED, Standing.BEHIND, Standing.FRONT]


def test_standings_without_a_figure_are_undecided():
    missing = lambda one, other: Order.MISSING  # noqa: E731
    assert standings(2, missing, missing) == [Standing.UNDECIDED] * 2


def test_a_ratios_interval_holds_every_ratio_of_values_within():
    assert ratio(Estimate(10, 8, 12), Estimate(20, 16, 24)) == Estimate(0.5, 8 / 24, 12 / 16)


def test_there_is_no_ratio_to_a_missing_figure_or_to_0():
    assert ratio(Estimate(1, 1, 1), None) is None
    assert ratio(None, Estimate(1, 1, 1)) is None
    assert ratio(Estimate(1, 1, 1), Estimate(1, 0, 2)) is None


@pytest.mark.parametrize(
    ("value", "low", "high", "order"),
    [
        (0.5, 0.4, 0.6, Order.LOWER),
        (0.5, 0.4, 1.0, Order.UNCLEAR),
        (2.0, 1.5, 2.5, Order.HIGHER),
        # Measured once, so without an interval: a difference of less than 5 % is none.
        (0.97, 0.97, 0.97, Order.UNCLEAR),
        (1.04, 1.04, 1.04, Order.UNCLEAR),
        (1.06, 1.06, 1.06, Order.HIGHER),
    ],
)
def test_order_of_a_ratio(value, low, high, order):
    assert order_of_ratio(Estimate(value, low, high)) is order


def test_an_interval_is_widened_to_its_figure():
    assert Estimate.of(5.0, (5.5, 6.0)) == Estimate(5.0, 5.0, 6.0)
    assert Estimate.of(None) is None
