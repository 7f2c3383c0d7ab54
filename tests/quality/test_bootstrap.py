import numpy as np
import pytest
import sacrebleu

from edgekit.errors import InputError
from edgekit.quality.bootstrap import paired_bootstrap, score_interval
from edgekit.quality.metrics import sentence_statistics
from edgekit.quality.parallel_text import load_testset
from edgekit.quality.scores import score_translations


class ShareCorrect:
    """A metric simple enough to work by hand: the percentage of sentences that are right."""

    signature = "share"

    def __init__(self, correct):
        self.rows = np.array([[int(value), 1] for value in correct], dtype=np.int64)

    def score_sum(self, total):
        return 100 * total[0] / total[1]

    def score(self):
        return self.score_sum(self.rows.sum(axis=0))


def test_identical_systems_lose_exactly_nothing():
    testset = load_testset("flores-dev", "en", "de").first(50)
    baseline = score_translations(testset, testset.sources, "de")
    again = score_translations(testset, testset.sources, "de", baseline)
    for metric in ("bleu", "chrf"):
        assert again.losses[metric].points == 0
        assert again.losses[metric].ci95 == (0, 0)


def test_a_system_that_loses_on_every_sentence_has_no_spread():
    loss = paired_bootstrap(ShareCorrect([1] * 40), ShareCorrect([0] * 40))
    assert loss.points == 100
    assert loss.ci95 == (100, 100)


def test_interval_of_a_share_is_the_binomials():
    # 30 of 100 sentences lost: a resample's loss is Binomial(100, 0.3), whose 2.5 % and 97.5 % quantiles are 21 and 39.
    loss = paired_bootstrap(ShareCorrect([1] * 100), ShareCorrect([0] * 30 + [1] * 70), resamples=10_000)
    assert loss.points == pytest.approx(30)
    assert loss.ci95 == pytest.approx((21, 39), abs=0.5)


def test_pairing_keeps_sentences_together():
    # Both systems are right on the same half: unpaired, the difference would vary by 2 x 5 points a standard deviation.
    half = [1, 0] * 50
    assert paired_bootstrap(ShareCorrect(half), ShareCorrect(half)).ci95 == (0, 0)


def test_a_gain_is_a_negative_loss():
    loss = paired_bootstrap(ShareCorrect([0] * 10), ShareCorrect([1] * 10))
    assert loss.points == -100
    assert loss.ci95 == (-100, -100)


def test_interval_equals_that_of_rescoring_resampled_texts():
    testset = load_testset("tatoeba", "en", "de").first(40)
    worse = [text[: len(text) * 3 // 4] for text in testset.references]
    first = sentence_statistics("chrf", testset.references, testset.references)
    second = sentence_statistics("chrf", worse, testset.references)
    found = paired_bootstrap(first, second, resamples=1000)
    generator, losses = np.random.default_rng(7), []
    for _ in range(200):
        drawn = generator.integers(0, 40, 40)
        references = [[testset.references[index] for index in drawn]]
        losses.append(100 - sacrebleu.corpus_chrf([worse[index] for index in drawn], references).score)
    assert found.ci95 == pytest.approx(np.percentile(losses, [2.5, 97.5]), abs=0.6)
    assert found.points == pytest.approx(100 - second.score())


def test_seed_decides_the_interval():
    first, second = ShareCorrect([1] * 50), ShareCorrect([0, 1] * 25)
    one = paired_bootstrap(first, second, resamples=150, seed=1)
    assert one == paired_bootstrap(first, second, resamples=150, seed=1)
    assert one.ci95 != paired_bootstrap(first, second, resamples=7, seed=2).ci95
    assert (one.resamples, one.seed) == (150, 1)


def test_unlike_systems_are_refused():
    with pytest.raises(InputError, match=r"same sentences and the same metric twice; found 3 sentences .* and 2"):
        paired_bootstrap(ShareCorrect([1, 1, 1]), ShareCorrect([1, 1]))
    chrf, bleu = (sentence_statistics(metric, ["a b"], ["a b"]) for metric in ("chrf", "bleu"))
    with pytest.raises(InputError, match=r"same metric twice"):
        paired_bootstrap(chrf, bleu)
    with pytest.raises(InputError, match=r"at least 1 resample, found 0"):
        paired_bootstrap(chrf, chrf, resamples=0)


def test_p_value_is_small_for_a_clear_difference_and_1_for_none():
    clear = paired_bootstrap(ShareCorrect([1] * 100), ShareCorrect([0] * 30 + [1] * 70))
    assert clear.p_value == 1 / 1001
    same = paired_bootstrap(ShareCorrect([1, 0] * 20), ShareCorrect([1, 0] * 20))
    assert same.p_value == 1


def test_p_value_is_the_normal_tail():
    # 14 of 100 sentences differ, 9 to one side: 4 points, a standard deviation of sqrt(14 - 0.16) = 3.72, z = 1.075.
    first, second = [1] * 9 + [0] * 5 + [1] * 86, [0] * 9 + [1] * 5 + [1] * 86
    found = paired_bootstrap(ShareCorrect(first), ShareCorrect(second), resamples=10_000)
    assert found.p_value == pytest.approx(0.28, abs=0.05)
    assert found.p_value == paired_bootstrap(ShareCorrect(second), ShareCorrect(first), resamples=10_000).p_value


def test_interval_of_one_score_is_the_binomials():
    # 30 of 100 right: the quantiles of Binomial(100, 0.3).
    assert score_interval(ShareCorrect([1] * 30 + [0] * 70), resamples=10_000) == pytest.approx((21, 39), abs=0.5)
    assert score_interval(ShareCorrect([1] * 5)) == (100, 100)
