"""Each filter by hand and as transformers has it; draws follow the probabilities, and the seed."""

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from edgekit.errors import BundleError
from edgekit.runtime.sampling import Sampler, Sampling, draw, most_likely, penalize, process_logits

NONE_SEEN = np.array([], np.int64)


def left(logits, seen=NONE_SEEN, **settings):
    """What the filters leave: ids and probabilities."""
    ids, scores = process_logits(np.log(np.array(logits, np.float32)), seen, Sampling(**{"temperature": 1} | settings))
    ids = np.arange(len(scores)) if ids is None else ids
    shares = np.exp(scores.astype(float))
    return dict(zip(ids.tolist(), np.round(shares / shares.sum(), 4).tolist(), strict=True))


class TestByHand:
    """Of probabilities 0.1, 0.5, 0.15, 0.25."""

    P = (0.1, 0.5, 0.15, 0.25)

    def test_without_filters_all_stay(self):
        assert left(self.P) == {0: 0.1, 1: 0.5, 2: 0.15, 3: 0.25}

    @pytest.mark.parametrize(
        ("top_k", "expected"),
        [
            (1, {1: 1.0}),
            (2, {1: 0.6667, 3: 0.3333}),
            (3, {1: 0.5556, 2: 0.1667, 3: 0.2778}),
            (4, {0: 0.1, 1: 0.5, 2: 0.15, 3: 0.25}),
            (10**9, {0: 0.1, 1: 0.5, 2: 0.15, 3: 0.25}),
        ],
    )
    def test_top_k(self, top_k, expected):
        assert left(self.P, top_k=top_k) == expected

    @pytest.mark.parametrize(
        ("top_p", "expected"),
        [
            (1e-9, {1}),
            (0.49, {1}),
            (0.51, {1, 3}),
            (0.74, {1, 3}),
            (0.76, {1, 2, 3}),
            (0.91, {0, 1, 2, 3}),
            (1.0, {0, 1, 2, 3}),
        ],
    )
    def test_top_p_keeps_the_fewest_that_reach_it(self, top_p, expected):
        assert set(left(self.P, top_p=top_p)) == expected

    @pytest.mark.parametrize(
        ("min_p", "expected"), [(0, {0, 1, 2, 3}), (0.19, {0, 1, 2, 3}), (0.21, {1, 2, 3}), (0.31, {1, 3}), (1, {1})]
    )
    def test_min_p_is_a_share_of_the_likeliest(self, min_p, expected):
        assert set(left(self.P, min_p=min_p)) == expected

    def test_temperature_is_a_power(self):
        """Of 0.5: the squares, 0.01, 0.25, 0.0225, 0.0625, over their sum, 0.345."""
        assert left(self.P, temperature=0.5) == {0: 0.029, 1: 0.7246, 2: 0.0652, 3: 0.1812}

    def test_temperature_comes_before_the_filters(self):
        """At 0.5 the likeliest has 0.7246, so top_p of 0.6 needs no other."""
        assert set(left(self.P, temperature=0.5, top_p=0.6)) == {1}
        assert set(left(self.P, temperature=1, top_p=0.6)) == {1, 3}

    def test_top_k_comes_before_top_p(self):
        """Of the two best the first has two thirds."""
        assert set(left(self.P, top_k=2, top_p=0.6)) == {1}

    def test_top_p_comes_before_min_p(self):
        assert set(left(self.P, top_p=0.76, min_p=0.4)) == {1, 3}


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    logits = np.array([2.0, -2.0, 1.0, -1.0], np.float32)
    seen = np.array([0, 1])
    assert penalize(logits, seen, 2.0).tolist() == [1.0, -4.0, 1.0, -1.0]
    assert penalize(logits, seen, 0.5).tolist() == [4.0, -1.0, 1.0, -1.0]
    assert logits.tolist() == [2.0, -2.0, 1.0, -1.0]


SETTINGS = [
    Sampling(0.7),
    Sampling(1.0, top_k=5),
    Sampling(1.3, top_p=0.8),
    Sampling(0.9, min_p=0.1),
    Sampling(1.1, repetition_penalty=1.3),
    Sampling(0.8, top_k=50, top_p=0.95, min_p=0.02, repetition_penalty=0.9),
    Sampling(2.0, top_k=300, top_p=0.99, min_p=0.001, repetition_penalty=2.0),
    Sampling(5.0, top_p=0.999),
]


@pytest.mark.parametrize("sampling", SETTINGS)
@pytest.mark.parametrize("spread", [0.3, 3.0, 20.0])
def test_processed_logits_are_transformers(sampling, spread):
    random = np.random.default_rng(0)
    logits = (random.standard_normal((6, 1000)) * spread).astype(np.float32)
    seen = np.unique(random.integers(0, 1000, 40))
    chain = [
        RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        TemperatureLogitsWarper(sampling.temperature),
    ]
    chain += [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    chain += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p else []
    chain += [MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []
    for row in logits:
        expected = torch.tensor(row[None])
        for process in chain:
            expected = process(torch.tensor(seen[None]), expected)
        expected = expected[0].numpy()
        ids, scores = process_logits(row, seen, sampling)
        found = np.full_like(row, -np.inf)
        found[slice(None) if ids is None else ids] = scores
        assert np.array_equal(found == -np.inf, expected == -np.inf)
        np.testing.assert_allclose(found, expected - expected.max(), rtol=1e-5, atol=1e-4)


def test_top_p_of_equals_keeps_the_first():
    assert np.flatnonzero(most_likely(np.zeros(8, np.float32), 0.5)).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(most_likely(np.zeros(8, np.float32), 0.51)).tolist() == [0, 1, 2, 3, 4]


def test_top_p_of_a_single_token_keeps_it():
    assert most_likely(np.zeros(1, np.float32), 0.1).tolist() == [True]


def test_unlikely_tokens_far_below_the_others_are_dropped_too():
    """Beyond the bins that top-p counts into."""
    scores = np.array([0, -500, -1, -5000, -np.inf], np.float32)
    assert most_likely(scores, 0.999999).tolist() == [True, False, True, False, False]


def chosen(sampling, rows, prompt=()):
    sampler = Sampler(sampling, prompt, rows.shape[1])
    return [sampler.choose(row) for row in rows]


ROWS = np.random.default_rng(1).standard_normal((200, 50)).astype(np.float32)


def test_a_seed_reproduces_and_another_does_not():
    first = chosen(Sampling(1.0, seed=7), ROWS)
    assert chosen(Sampling(1.0, seed=7), ROWS) == first
    assert chosen(Sampling(1.0, seed=8), ROWS) != first
    assert chosen(Sampling(1.0), ROWS) != chosen(Sampling(1.0), ROWS)


def test_draws_follow_the_probabilities():
    probabilities = np.array([0.1, 0.5, 0.15, 0.25])
    rows = np.tile(np.log(probabilities).astype(np.float32), (20_000, 1))
    counts = np.bincount(chosen(Sampling(1.0, seed=0), rows), minlength=4) / len(rows)
    np.testing.assert_allclose(counts, probabilities, atol=0.02)
    counts = np.bincount(chosen(Sampling(1.0, top_k=2, seed=0), rows), minlength=4) / len(rows)
    np.testing.assert_allclose(counts, [0, 2 / 3, 0, 1 / 3], atol=0.02)


def test_rounding_in_the_last_bit_changes_no_draw():
    """As a row's logits may differ in a batch."""
    nudged = np.nextafter(ROWS, np.float32(np.inf))
    for sampling in (Sampling(1.0, seed=3), Sampling(0.8, top_k=20, top_p=0.9, seed=3)):
        assert chosen(sampling, nudged) == chosen(sampling, ROWS)


@pytest.mark.parametrize("temperature", [1e-3, 1e-20, 1e-45, 5e-324])
def test_a_temperature_near_zero_is_greedy(temperature):
    assert chosen(Sampling(temperature, seed=0), ROWS * 9) == ROWS.argmax(axis=1).tolist()


def test_greedy_with_a_penalty_avoids_what_was_seen():
    row = np.array([[3.0, 2.5, 2.0, -1.0]], np.float32)
    assert chosen(Sampling(0, repetition_penalty=2.0), np.repeat(row, 4, axis=0)) == [0, 1, 2, 0]
    assert chosen(Sampling(0, repetition_penalty=2.0), row, prompt=[0, 0, 1]) == [2]


@pytest.mark.parametrize(
    ("sampling", "needed"),
    [
        (Sampling(), False),
        (Sampling(0, top_k=1, top_p=0.5, min_p=0.1), False),
        (Sampling(0.1), True),
        (Sampling(0, repetition_penalty=1.1), True),
    ],
)
def test_logits_are_asked_for_when_they_matter(sampling, needed):
    assert sampling.needs_logits == needed


@pytest.mark.parametrize("sampling", [*SETTINGS, Sampling(0, repetition_penalty=1.1)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(sampling, bad):
    row = ROWS[0].copy()
    row[7] = bad
    with pytest.raises(BundleError, match=r"the model's logits are not numbers: its weights are damaged; export"):
        Sampler(sampling, (), len(row)).choose(row)


def test_the_last_token_is_drawn_when_rounding_leaves_none():
    class Highest:
        def random(self):
            return 1.0

    assert draw(None, np.zeros(3, np.float32), Highest()) == 2
    assert draw(np.array([4, 9]), np.zeros(2, np.float32), Highest()) == 9
