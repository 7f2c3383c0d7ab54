import math
import re

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.quality.perplexity import (
    TextLosses,
    log_softmax,
    perplexity,
    perplexity_loss,
    plan_windows,
    token_losses,
)


def spans(windows):
    return [(window.start, window.first, window.end) for window in windows]


def losses(nats, tokens, text_bytes=100, text_words=20):
    return TextLosses(np.array(nats, float), np.array(tokens), text_bytes, text_words)


def test_windows_of_seven_tokens():
    windows = plan_windows(7, context=4, stride=2, follows_bos=False)
    assert spans(windows) == [(0, 1, 2), (0, 2, 4), (2, 4, 6), (3, 6, 7)]
    # The row before a token predicts it.
    assert [window.rows for window in windows] == [slice(0, 1), slice(1, 3), slice(1, 3), slice(2, 3)]


def test_windows_behind_a_bos_have_room_for_it_and_count_the_first_token():
    windows = plan_windows(7, context=4, stride=2, follows_bos=True)
    assert spans(windows) == [(0, 0, 2), (1, 2, 4), (3, 4, 6), (4, 6, 7)]
    assert [window.rows for window in windows] == [slice(0, 2), slice(1, 3), slice(1, 3), slice(2, 3)]


@pytest.mark.parametrize("follows_bos", [False, True])
@pytest.mark.parametrize(
    ("tokens", "context", "stride"), [(2, 8, 4), (100, 16, 8), (97, 16, 15), (33, 2, 1), (5, 64, 1)]
)
def test_every_token_is_counted_once_with_enough_before_it(tokens, context, stride, follows_bos):
    windows = plan_windows(tokens, context, stride, follows_bos)
    counted = [position for window in windows for position in range(window.first, window.end)]
    assert counted == list(range(0 if follows_bos else 1, tokens))
    for window in windows:
        assert window.end - window.start + follows_bos <= context
        assert window.rows.start >= 0
        assert window.rows.stop == window.end - window.start - 1 + follows_bos
        assert window.start == 0 or window.first - window.start + follows_bos >= context - stride


@pytest.mark.parametrize(("context", "stride"), [(8, 0), (8, 8), (8, 9)])
def test_stride_out_of_range_is_refused(context, stride):
    with pytest.raises(
        InputError, match=f"stride must be at least 1 and below the context of 8 tokens, found {stride}"
    ):
        plan_windows(100, context, stride, follows_bos=False)


@pytest.mark.parametrize(("tokens", "follows_bos"), [(0, False), (1, False), (0, True)])
def test_text_without_a_token_to_count_is_refused(tokens, follows_bos):
    with pytest.raises(InputError, match=f"a text of at least 2 tokens, found {tokens}; use a longer one"):
        plan_windows(tokens, 8, 4, follows_bos)


def test_log_softmax_and_losses_by_hand():
    # exp of these is 1, 2, 1 and 4, 4, 8 times the same factor.
    logits = np.array([[0.0, math.log(2), 0.0], [math.log(4), math.log(4), math.log(8)]], np.float32) + 1000
    found = log_softmax(logits)
    np.testing.assert_allclose(np.exp(found), [[0.25, 0.5, 0.25], [0.25, 0.25, 0.5]], rtol=1e-4)
    np.testing.assert_allclose(token_losses(found, [1, 0]), [math.log(2), math.log(4)], rtol=1e-4)


def test_losses_of_broken_logits_are_refused():
    logits = log_softmax(np.array([[0.0, np.nan], [0.0, 1.0]], np.float32))
    with pytest.raises(InputError, match="the logits of 1 of 2 tokens are not finite; export the model again"):
        token_losses(logits, [0, 0])


def test_perplexity_by_hand():
    # Half of the tokens cost ln 2, half ln 8: ln 4 on average, 2 bits a token, 16 bits in all.
    found = perplexity(losses([4 * math.log(2), 4 * math.log(8)], [4, 4], text_bytes=32, text_words=4))
    assert found.tokens == 8
    assert found.perplexity == pytest.approx(4)
    assert found.nats_per_token == pytest.approx(math.log(4))
    assert found.bits_per_byte == pytest.approx(16 / 32)
    assert found.word_perplexity == pytest.approx(2 ** (16 / 4))
    # Two windows: a resample is both of either, or one of each.
    assert found.ci95 == pytest.approx((2, 8))


def test_perplexity_of_a_uniform_guess_is_the_vocabulary_size_without_an_interval():
    uniform = token_losses(log_softmax(np.zeros((6, 50), np.float32)), [0, 7, 49, 3, 3, 1])
    found = perplexity(losses([uniform[:4].sum(), uniform[4:].sum()], [4, 2]))
    assert found.perplexity == pytest.approx(50)
    assert found.ci95 == pytest.approx((50, 50))


def test_word_perplexity_beyond_a_float_is_left_out():
    found = perplexity(losses([8000.0], [1000], text_words=10))
    assert found.word_perplexity is None
    assert found.perplexity == pytest.approx(math.exp(8))


def test_perplexity_beyond_a_float_is_refused():
    with pytest.raises(InputError, match="loses 800 nats a token, more than any does; export it again"):
        perplexity(losses([8000.0], [10]))


def test_interval_shrinks_with_more_windows_and_is_the_same_for_a_seed():
    generator = np.random.default_rng(3)
    nats = generator.normal(3 * 256, 60, 400)
    few, many = (perplexity(losses(nats[:count], np.full(count, 256))) for count in (25, 400))
    assert many.ci95[0] < many.perplexity < many.ci95[1]
    assert many.ci95[1] - many.ci95[0] < (few.ci95[1] - few.ci95[0]) / 2
    # The mean of 400 windows is known to 60 / 256 / 20 nats, 1.96 times that either way.
    half = 1.96 * nats.std() / 256 / 20
    assert math.log(many.ci95[1] / many.perplexity) == pytest.approx(half, rel=0.1)
    again = perplexity(losses(nats, np.full(400, 256)))
    assert again == many
    assert perplexity(losses(nats, np.full(400, 256)), seed=4).ci95 != many.ci95


def test_windows_count_by_their_tokens():
    found = perplexity(losses([10 * math.log(2), math.log(8)], [10, 1]))
    assert found.nats_per_token == pytest.approx((10 * math.log(2) + math.log(8)) / 11)


def test_loss_is_paired_so_what_both_find_hard_cancels():
    generator = np.random.default_rng(5)
    hard = generator.normal(3 * 256, 200, 100)
    baseline = losses(hard, np.full(100, 256))
    worse = losses(hard + 256 * math.log(1.02), np.full(100, 256))
    found = perplexity_loss(baseline, worse)
    assert found.percent == pytest.approx(2)
    assert found.ci95 == pytest.approx((2, 2))
    better = perplexity_loss(worse, baseline)
    assert better.percent == pytest.approx(100 * (1 / 1.02 - 1))
    assert better.ci95[1] < 0
    equal = perplexity_loss(baseline, baseline)
    assert (equal.percent, equal.ci95) == (0, (0, 0))


def test_loss_over_other_windows_is_refused():
    message = re.escape("needs the same windows twice; found 10 tokens in 2 windows and 9 in 1")
    with pytest.raises(InputError, match=message):
        perplexity_loss(losses([1, 1], [5, 5]), losses([1], [9]))


def test_no_resamples_are_refused():
    with pytest.raises(InputError, match="a bootstrap needs at least 1 resample, found 0"):
        perplexity(losses([1.0], [1]), resamples=0)
