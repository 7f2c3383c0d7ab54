"""Scores translations of a test set: chrF and BLEU, the loss against a baseline, the floor of copying the source.

In: a test set and one or two systems' translations of it. Out: `Scores`, the figures that a bench report prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.quality.bootstrap import BOOTSTRAP_RESAMPLES, BOOTSTRAP_SEED, Loss, paired_bootstrap
from edgekit.quality.metrics import METRIC_NAMES, SentenceStatistics, sentence_statistics
from edgekit.quality.parallel_text import TestSet

__all__ = ["Scores", "floor_scores", "score_translations"]


@dataclass(frozen=True)
class Scores:
    """One system's scores on one test set.

    Attributes:
        statistics: By metric name (``chrf``, ``bleu``): the sentence statistics, to compare others with.
        points: By metric name: the corpus score, 0 to 100.
        signatures: By metric name: sacreBLEU's signature.
        losses: By metric name: the loss against the baseline; empty where there was none.
    """

    statistics: Mapping[str, SentenceStatistics]
    points: Mapping[str, float]
    signatures: Mapping[str, str]
    losses: Mapping[str, Loss]


def score_translations(
    testset: TestSet,
    translations: Sequence[str],
    target_language: str | None,
    baseline: Scores | None = None,
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Scores:
    """Scores of the translations of a test set's sources, and their loss where a baseline is given.

    Args:
        testset: What was translated.
        translations: One for each source.
        target_language: ISO 639-1 code or None; chooses BLEU's tokeniser.
        baseline: The fp32 scores on the same test set.
        resamples: Bootstrap resamples for the interval of the loss.
        seed: Seed of the bootstrap.

    Raises:
        InputError: There are not as many translations as sources, or the baseline is of another test set.
    """
    statistics = {
        metric: sentence_statistics(metric, translations, testset.references, target_language)
        for metric in METRIC_NAMES
    }
    losses = {}
    if baseline is not None:
        losses = {
            metric: paired_bootstrap(baseline.statistics[metric], statistics[metric], resamples, seed)
            for metric in METRIC_NAMES
        }
    return Scores(
        statistics,
        {metric: found.score() for metric, found in statistics.items()},
        {metric: found.signature for metric, found in statistics.items()},
        losses,
    )


def floor_scores(testset: TestSet, target_language: str | None) -> dict[str, float]:
    """What copying the source scores, by metric name: a system near it has translated nothing."""
    return dict(score_translations(testset, testset.sources, target_language).points)
