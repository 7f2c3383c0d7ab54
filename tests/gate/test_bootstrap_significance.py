"""The bootstrap beside sacreBLEU's own (`sacrebleu.significance`), on the same outputs."""

import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from edgekit.quality.bootstrap import paired_bootstrap, resampled_losses
from edgekit.quality.development import load_development_pairs
from edgekit.quality.metrics import sentence_statistics

SAMPLES = 2000
PAIRS = load_development_pairs("valid", "en", "de").first(150)


def worsened(every):
    """The references with the middle words of each ``every``-th exchanged, and of each tenth left out."""
    outputs = []
    for index, reference in enumerate(PAIRS.references):
        words = reference.split()
        if index % every == 0 and len(words) > 2:
            words[1], words[-1] = words[-1], words[1]
        outputs.append(" ".join(words[: -max(1, len(words) // 3)] if index % 10 == 0 else words))
    return outputs


@pytest.fixture(scope="module")
def outputs():
    return worsened(2), worsened(3)


@pytest.fixture(scope="module")
def theirs(outputs):
    # sacreBLEU compares with the first system, its baseline.
    _, scores = PairedTest(
        [("fp32", outputs[0]), ("int8", outputs[1])],
        {"BLEU": BLEU(), "chrF2": CHRF()},
        [list(PAIRS.references)],
        test_type="bs",
        n_samples=SAMPLES,
    )()
    return {"bleu": scores["BLEU"], "chrf": scores["chrF2"]}


def statistics(metric, output):
    return sentence_statistics(metric, output, PAIRS.references, "de")


@pytest.mark.parametrize("metric", ["chrf", "bleu"])
def test_scores_are_equal_and_intervals_of_one_system_as_wide(outputs, theirs, metric):
    perfect = statistics(metric, PAIRS.references)
    for output, their in zip(outputs, theirs[metric], strict=True):
        found = statistics(metric, output)
        assert found.score() == pytest.approx(their.score)
        # A system that is always right scores 100 in each resample, so the loss against it is 100 less the score.
        loss = paired_bootstrap(perfect, found, SAMPLES)
        assert (loss.ci95[1] - loss.ci95[0]) / 2 == pytest.approx(float(their.ci), rel=0.08)
        assert 100 - np.mean(loss.ci95) == pytest.approx(float(their.mean), abs=0.15 * float(their.ci))


@pytest.mark.parametrize("metric", ["chrf", "bleu"])
def test_the_interval_of_the_difference_agrees_with_their_p_value(outputs, theirs, metric):
    """Koehn's p, as sacreBLEU has it: how often a difference is as far from the mean one as that is from nothing."""
    fp32, int8 = (statistics(metric, output) for output in outputs)
    differences = resampled_losses(fp32, int8, SAMPLES, 1)
    loss = abs(fp32.score() - int8.score())
    expected = (np.count_nonzero(np.abs(differences - differences.mean()) >= loss) + 1) / (SAMPLES + 1)
    assert theirs[metric][1].p_value == pytest.approx(expected, abs=0.02)
    low, high = paired_bootstrap(fp32, int8, SAMPLES).ci95
    # And the interval excludes no difference exactly where a normal p of that spread is below 5 %.
    p_value = math.erfc(loss / ((high - low) / 2 / 1.96) / math.sqrt(2))
    assert theirs[metric][1].p_value == pytest.approx(p_value, abs=0.03)
    assert (low > 0 or high < 0) == (theirs[metric][1].p_value < 0.05)
