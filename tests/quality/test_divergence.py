import math

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.quality.divergence import kl_divergence, same_top, summarize_divergence
from edgekit.quality.perplexity import log_softmax


def test_divergence_by_hand():
    # p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): 1/2 ln 2 - 1/4 ln 2 + 0.
    p, q = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.5, 0.25]])
    assert kl_divergence(p, q) == pytest.approx([math.log(2) / 4])
    # The other way round it is another number: p is the baseline.
    r = np.log([[0.125, 0.75, 0.125]])
    expected = 0.5 * math.log(4) + 0.25 * math.log(1 / 3) + 0.25 * math.log(2)
    assert kl_divergence(p, r) == pytest.approx([expected])
    assert kl_divergence(r, p)[0] != pytest.approx(expected, rel=0.01)


def test_divergence_of_equal_models_is_zero_and_never_below():
    logits = np.random.default_rng(1).normal(0, 5, (200, 300)).astype(np.float32)
    assert (kl_divergence(log_softmax(logits), log_softmax(logits)) == 0).all()
    almost = kl_divergence(log_softmax(logits), log_softmax(logits + np.float32(3)))
    assert (almost >= 0).all()
    assert almost.max() < 1e-9


def test_divergence_of_a_small_change_is_half_the_variance_of_the_logits_change():
    # To second order KL = Var_p(change) / 2: a sum that drops or miscounts tokens does not give it.
    generator = np.random.default_rng(2)
    logits = generator.normal(0, 2, (20, 4000))
    change = generator.normal(0, 0.01, logits.shape)
    p = np.exp(log_softmax(logits))
    mean = (p * change).sum(-1, keepdims=True)
    expected = (p * (change - mean) ** 2).sum(-1) / 2
    np.testing.assert_allclose(kl_divergence(log_softmax(logits), log_softmax(logits + change)), expected, rtol=0.05)


def test_same_top_compares_the_most_probable_token():
    first = np.log([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    second = np.log([[0.4, 0.3, 0.3], [0.1, 0.5, 0.4], [0.3, 0.4, 0.3]])
    assert same_top(first, second).tolist() == [True, False, False]


def test_summary_by_hand():
    found = summarize_divergence(np.arange(101) / 100, np.arange(101) < 75)
    assert found.mean_kl == pytest.approx(0.5)
    assert found.p99_kl == pytest.approx(0.99)
    assert found.max_kl == 1
    assert found.top1_agreement == pytest.approx(75 / 101)


def test_summary_of_nothing_or_of_broken_logits_is_refused():
    with pytest.raises(InputError, match="a divergence needs at least 1 token, found none"):
        summarize_divergence(np.array([]), np.array([], bool))
    with pytest.raises(InputError, match="the divergence at 1 of 2 tokens is not finite"):
        summarize_divergence(np.array([0.1, np.nan]), np.array([True, False]))
