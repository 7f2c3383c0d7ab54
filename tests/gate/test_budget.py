"""Budgets as a user writes them."""

import pytest

from edgekit.errors import InputError
from edgekit.gate.budget import Budget, check_budgets, parse_budget


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [("chrf=0.3", "chrf", 0.3), ("BLEU = 0.5", "bleu", 0.5), ("ppl=1%", "ppl", 1.0), ("kl=0.02", "kl", 0.02)],
)
def test_a_budget_is_a_metric_and_its_limit(text, metric, limit):
    assert parse_budget(text) == Budget(metric, limit)
    assert parse_budget(str(parse_budget(text))) == Budget(metric, limit)


@pytest.mark.parametrize("text", ["comet=1", "0.3", "", "=1"])
def test_an_unknown_metric_is_refused_with_those_there_are(text):
    with pytest.raises(InputError, match=r"unknown budget .*: expected one of chrf=0\.3, bleu=0\.5, ppl=1%, kl=0\.02"):
        parse_budget(text)


@pytest.mark.parametrize("limit", ["abc", "-1", "0", "nan", "inf", "", "1e999"])
def test_a_limit_that_is_no_number_above_0_is_refused(limit):
    with pytest.raises(InputError, match=r"a budget of chrf is a number above 0, such as chrf=0\.3; found 'chrf="):
        parse_budget(f"chrf={limit}")


def test_perplexity_is_in_per_cent():
    with pytest.raises(InputError, match=r"a budget of ppl is in per cent, such as ppl=1%; found 'ppl=1'"):
        parse_budget("ppl=1")


def test_a_metric_of_another_task_and_one_given_twice_are_refused():
    check_budgets([Budget("chrf", 1), Budget("kl", 1)], "translation")
    with pytest.raises(
        InputError, match=r"a model for translation has no ppl; give its budget as one of chrf=0\.3, bl"
    ):
        check_budgets([Budget("ppl", 1)], "translation")
    with pytest.raises(
        InputError, match="a model for text-generation has no bleu; give its budget as one of ppl=1%, kl"
    ):
        check_budgets([Budget("bleu", 1)], "text-generation")
    with pytest.raises(InputError, match=r"the budget of kl is given twice, kl=1 and kl=2; give it once"):
        check_budgets([Budget("kl", 1), Budget("kl", 2)], "translation")
