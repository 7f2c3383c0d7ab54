import numpy as np
import pytest

from edgekit.bench.rounds import disagreement, median_interval, ratio, timed_figure


@pytest.mark.parametrize(
    ("count", "place"),
    # David and Nagaraja's k for 95 %: of 6 and 8 values all, of 9 the second and the eighth, of 20 the 6th and 15th.
    [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5)],
)
def test_interval_of_the_median_is_two_order_statistics(count, place):
    values = list(np.random.default_rng(1).permutation(count).astype(float))
    assert median_interval(values) == (place, count - 1 - place)


def test_interval_holds_the_median_in_19_of_20_samples():
    generator = np.random.default_rng(3)
    samples = generator.exponential(size=(2000, 11))
    held = [low <= np.log(2) <= high for low, high in map(median_interval, samples)]
    assert np.mean(held) >= 0.95


def test_ratio_is_that_of_each_round():
    # A machine that is three times slower in one round slows both.
    first, second = timed_figure([10.0, 30.0, 10.0]), timed_figure([5.0, 15.0, 4.0])
    found = ratio(first, second)
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.5)


def test_rounds_of_a_figure_are_kept():
    figure = timed_figure([3.0, 1.0, 2.0])
    assert (figure.median, figure.low, figure.high, figure.rounds) == (2.0, 1.0, 3.0, (3.0, 1.0, 2.0))


def test_disagreement_names_the_worst_figure():
    spread = {"a": (9.0, 11.0), "b": (10.0, 13.0), "other": (0.0, 99.0)}
    assert disagreement("it", {"a": 10.0, "b": 10.0}, spread) == "it: rounds disagree by 30 % in b (10 to 13)"
    assert disagreement("it", {"a": 100.0}, spread) is None
