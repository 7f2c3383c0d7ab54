"""When the gate decides: looks, intervals and verdicts on losses that are known."""

import numpy as np
import pytest

from edgekit.gate.budget import Budget
from edgekit.gate.check import run_gate
from edgekit.gate.comparison import ratio_resamples
from edgekit.gate.looks import plan_looks, resamples_for, tail_share, verdict_of


class Sentences:
    """A comparison whose loss is the mean of given figures; it says what was run."""

    unit = "sentences"

    def __init__(self, losses):
        self.losses, self.items, self.seen = np.asarray(losses, float), len(losses), []

    def run(self, count, advance):
        advance(count - (self.seen[-1] if self.seen else 0))
        self.seen.append(count)

    def loss(self, metric):
        return float(self.losses[: self.seen[-1]].mean())

    def resampled(self, metric, resamples):
        return ratio_resamples(self.losses[: self.seen[-1]], np.ones(self.seen[-1]), resamples)


def gate(losses, limit=1.0, **options):
    comparison = Sentences(losses)
    return run_gate(comparison, [Budget("chrf", limit)], ("mine", "0" * 64), **options), comparison


def noise(items, mean, spread, seed=0):
    return np.random.default_rng(seed).normal(mean, spread, items)


def test_looks_double_and_end_with_all_the_text():
    assert plan_looks(1000, 100) == [125, 250, 500, 1000]
    assert plan_looks(1150, 100) == [143, 287, 575, 1150]
    assert plan_looks(399, 100) == [199, 399]
    assert plan_looks(199, 100) == [199]
    assert plan_looks(10, 100) == [10]


def test_the_error_is_divided_among_the_looks():
    assert [100 * tail_share(looks) for looks in (1, 4, 20)] == pytest.approx([2.5, 0.625, 0.125])
    assert resamples_for(1) == 1000
    assert resamples_for(20) == 8000
    resampled = np.arange(10_001) / 10_000
    found = verdict_of("chrf", 1, 0.5, resampled, items=100, unit="sentences", looks=4)
    assert (found.low, found.high) == pytest.approx((0.00625, 0.99375))


def test_a_clear_loss_is_decided_at_the_first_look():
    passed, comparison = gate(noise(1000, 0.2, 1))
    assert (passed.verdict, comparison.seen) == ("passed", [125])
    assert passed.findings[0].high <= 1
    refused, comparison = gate(noise(1000, 3, 1))
    assert (refused.verdict, comparison.seen) == ("refused", [125])
    assert refused.findings[0].low > 1


def test_more_text_is_taken_while_the_budget_lies_inside_the_interval():
    report, comparison = gate(noise(1000, 0.7, 2))
    assert (report.verdict, comparison.seen) == ("passed", [125, 250, 500, 1000][: len(comparison.seen)])
    assert len(comparison.seen) > 1
    counted = []
    report, comparison = gate(noise(1000, 1.0, 8), advance=counted.append)
    assert (report.verdict, comparison.seen, sum(counted)) == ("undecided", [125, 250, 500, 1000], 1000)


def test_ten_sentences_decide_nothing_whatever_they_say():
    for mean in (0, 100):
        assert gate(np.full(10, mean))[0].verdict == "undecided"
    assert gate(np.zeros(99))[0].verdict == "undecided"
    assert gate(np.zeros(100))[0].verdict == "passed"


def test_one_budget_over_its_limit_refuses_and_one_undecided_leaves_all_undecided():
    class Two(Sentences):
        def loss(self, metric):
            return super().loss(metric) * (5 if metric == "bleu" else 1)

        def resampled(self, metric, resamples):
            return super().resampled(metric, resamples) * (5 if metric == "bleu" else 1)

    budgets = [Budget("chrf", 1), Budget("bleu", 1)]
    text = ("mine", "0" * 64)
    assert run_gate(Two(noise(200, 0.05, 0.1)), budgets, text).verdict == "passed"
    assert run_gate(Two(noise(200, 0.5, 0.1)), budgets, text).verdict == "refused"
    assert run_gate(Two(noise(200, 0.2, 0.5)), budgets, text).verdict == "undecided"


def test_one_look_takes_all_the_text_and_has_a_narrower_interval():
    losses = noise(1000, 0.7, 4)
    once, comparison = gate(losses, most_looks=1)
    assert comparison.seen == [1000]
    often = gate(losses, limit=0.69)[0]
    assert (once.looks, often.looks, once.level, often.level) == (1, 4, 95.0, pytest.approx(98.75))
    assert often.findings[0].items == 1000
    assert once.findings[0].high < often.findings[0].high


def test_of_bundles_that_lose_exactly_the_budget_few_pass():
    """The looks do not add up: at most 2.5 % may pass, one of 40 on average."""
    passed = sum(gate(noise(200, 1.0, 3, seed), 1.0)[0].verdict == "passed" for seed in range(40))
    assert passed <= 4


def test_what_was_found_goes_into_the_manifest():
    measured = gate(np.full(150, 0.25))[0].as_measured()
    assert measured["development_text"] == "mine"
    assert measured["interval_percent"] == 95.0
    assert measured["chrf"] == {
        "limit": 1.0, "loss": 0.25, "low": 0.25, "high": 0.25, "items": 150, "unit": "sentences", "verdict": "passed",
    }  # fmt: skip
