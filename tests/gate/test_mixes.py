"""Mixes from numbers: the cheapest first, each step the best there is for its cost."""

import itertools

import numpy as np
import pytest

from edgekit.gate.mixes import Option, plan_mixes, thin, uniform_mix

OPTIONS = {
    "a": [Option("fp32", 10, 0.0), Option("int8", 4, 0.1), Option("int4", 3, 0.9)],
    "b": [Option("fp32", 8, 0.0), Option("int8", 6, 0.5)],
}


def test_moves_go_by_the_divergence_saved_for_the_time_taken():
    mixes = plan_mixes(OPTIONS)
    # a to int8: 0.8 for 1; b to fp32: 0.5 for 2; a to fp32: 0.1 for 6.
    assert [tuple(mix.formats.values()) for mix in mixes] == [
        ("int4", "int8"), ("int8", "int8"), ("int8", "fp32"), ("fp32", "fp32"),
    ]  # fmt: skip
    assert [mix.cost for mix in mixes] == [9, 10, 12, 18]
    assert [mix.divergence for mix in mixes] == pytest.approx([1.4, 0.6, 0.1, 0.0])


def test_a_format_that_is_slower_and_worse_is_never_chosen():
    options = {"a": [*OPTIONS["a"], Option("odd", 12, 0.05), Option("blocks", 4, 0.2)]}
    assert {mix.formats["a"] for mix in plan_mixes(options)} == {"int4", "int8", "fp32"}


def test_a_format_above_the_line_between_two_others_is_passed_over():
    # From (1, 1.0) to (3, 0.0) a step saves 0.5 for 1; the point between saves 0.1 for 1 first.
    options = {"a": [Option("x", 1, 1.0), Option("y", 2, 0.9), Option("z", 3, 0.0)]}
    assert [mix.formats["a"] for mix in plan_mixes(options)] == ["x", "z"]


def test_no_other_mix_of_the_same_cost_or_less_diverges_less():
    random = np.random.default_rng(0)
    for _ in range(20):
        options = {
            name: [Option(str(k), float(random.integers(1, 9)), float(random.integers(0, 50))) for k in range(3)]
            for name in "abcd"
        }
        every = [
            (sum(o.cost for o in mix), sum(o.divergence for o in mix)) for mix in itertools.product(*options.values())
        ]
        for mix in plan_mixes(options):
            assert min(d for cost, d in every if cost <= mix.cost) == pytest.approx(mix.divergence)


def test_one_format_for_all_is_a_mix_with_its_sums():
    mix = uniform_mix(OPTIONS, "int8")
    assert (dict(mix.formats), mix.cost, mix.divergence) == ({"a": "int8", "b": "int8"}, 10, pytest.approx(0.6))


def test_few_mixes_are_kept_with_both_ends():
    options = {str(k): [Option("fp32", 2 + k, 0.0), Option("int8", 1, 1.0)] for k in range(40)}
    mixes = plan_mixes(options)
    kept = thin(mixes)
    assert (kept[0], kept[-1]) == (mixes[0], mixes[-1])
    # All in int8 cost 40, in fp32 860: 820 more; no more than these shares of that.
    assert [mix.cost for mix in kept] == [
        max(mix.cost for mix in mixes if mix.cost <= 40 + 820 * share)
        for share in (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
    ]
    assert thin(mixes[:1]) == mixes[:1]
