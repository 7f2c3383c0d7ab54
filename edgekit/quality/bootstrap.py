"""The 95 % interval of a score, and of the loss between two systems with its p value, by bootstrap over sentences.

Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation", https://aclanthology.org/W04-3250: draw
as many sentences as the test set has, with replacement, score both systems on the same draw, and repeat; the 2.5th and
97.5th percentile of the differences bound the loss. The interval says how far the loss depends on which sentences the
test set happens to hold. It says nothing of other text, and nothing of a person's judgement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError
from edgekit.quality.metrics import SentenceStatistics

__all__ = [
    "BOOTSTRAP_RESAMPLES", "BOOTSTRAP_SEED", "FEWEST_SENTENCES", "Loss", "paired_bootstrap", "resample_counts",
    "resampled_losses", "score_interval",
]  # fmt: skip

BOOTSTRAP_RESAMPLES = 1000
BOOTSTRAP_SEED = 12345
# Intervals of fewer are too narrow: ten sentences none of which differs would give one of no width.
FEWEST_SENTENCES = 100
# Draw counts are int64 [chunk, sentences]: 100 at a time keep 100,000 sentences under 80 MB.
CHUNK = 100


@dataclass(frozen=True)
class Loss:
    """What a system loses against a baseline, in the metric's points; negative where it gains.

    Attributes:
        points: score(baseline) - score(system) on the whole test set.
        ci95: The 2.5th and 97.5th percentile of that difference over the resamples.
        resamples: How many resamples were scored.
        seed: The generator's seed (numpy PCG64).
        p_value: How probable a loss or gain of this size is between systems that are equally good: the share of
            resamples that stray from their mean by as much, two-sided, with 1 added to both counts, so never 0.
    """

    points: float
    ci95: tuple[float, float]
    resamples: int
    seed: int
    p_value: float


def paired_bootstrap(
    baseline: SentenceStatistics,
    system: SentenceStatistics,
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Loss:
    """The loss of ``system`` against ``baseline``, both scored on the same sentences with the same metric.

    Args:
        baseline: Statistics of the fp32 output.
        system: Statistics of the output compared with it, sentence for sentence.
        resamples: At least 1.
        seed: Same seed, same interval.

    Raises:
        InputError: The two were not scored alike on as many sentences, or ``resamples`` is below 1.
    """
    losses = resampled_losses(baseline, system, resamples, seed)
    low, high = np.percentile(losses, [2.5, 97.5])
    points = baseline.score() - system.score()
    as_far = int((np.abs(losses - losses.mean()) >= abs(points)).sum())
    return Loss(points, (float(low), float(high)), resamples, seed, (as_far + 1) / (resamples + 1))


def resampled_losses(
    baseline: SentenceStatistics, system: SentenceStatistics, resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """The loss in each resample, float64 [resamples]; arguments and errors as `paired_bootstrap`'s."""
    if baseline.signature != system.signature or baseline.rows.shape != system.rows.shape:
        raise InputError(
            "a paired bootstrap needs the same sentences and the same metric twice; found "
            f"{len(baseline.rows)} sentences under {baseline.signature} and {len(system.rows)} under {system.signature}"
        )
    differences: list[float] = []
    for counts in resample_counts(len(baseline.rows), resamples, seed):
        pairs = zip(counts @ baseline.rows, counts @ system.rows, strict=True)
        differences += [baseline.score_sum(first) - system.score_sum(second) for first, second in pairs]
    return np.array(differences)


def score_interval(
    statistics: SentenceStatistics, resamples: int = BOOTSTRAP_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of one system's score over resamples of its sentences.

    Raises:
        InputError: ``resamples`` is below 1.
    """
    scores = [
        statistics.score_sum(total)
        for counts in resample_counts(len(statistics.rows), resamples, seed)
        for total in counts @ statistics.rows
    ]
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def resample_counts(items: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each item is drawn in each resample: int64 [at most `CHUNK`, items] at a time, ``resamples`` rows.

    Counts times statistics are the resample's sums: a draw with replacement is a multinomial count an item.

    Args:
        items: How many there are, at least 1; as many are drawn.
        resamples: At least 1.
        seed: Same seed, same counts.

    Raises:
        InputError: ``resamples`` is below 1.
    """
    if resamples < 1:
        raise InputError(f"a bootstrap needs at least 1 resample, found {resamples}")
    generator = np.random.default_rng(seed)
    even = np.full(items, 1 / items)
    for start in range(0, resamples, CHUNK):
        yield generator.multinomial(items, even, size=min(CHUNK, resamples - start))
