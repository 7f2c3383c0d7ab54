"""Figures of a comparison from what was measured: scores with intervals, costs with intervals, pairs of models.

In: outputs and rounds. Out: the values of `edgekit.bench.comparison`. No model runs and no time is measured here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.bench.asking import Output
from edgekit.bench.comparison import COST_FIGURES, Costs, Difference, Floor, ModelResult, Pair, Score, TimedFigure
from edgekit.bench.rounds import ratio, timed_figure
from edgekit.bench.task_rounds import EntrantMeasurement, Sample, TaskSettings
from edgekit.bench.tasks import Task
from edgekit.quality.bootstrap import paired_bootstrap, score_interval
from edgekit.quality.metrics import SentenceStatistics, sentence_statistics

__all__ = ["Scored", "floors", "model_costs", "pairs", "score_outputs"]

SECONDS_PER_HOUR, WORDS = 3600, 1_000_000


@dataclass(frozen=True)
class Scored:
    """Scores of one system: by metric the statistics, and the points with their interval."""

    statistics: Mapping[str, SentenceStatistics]
    quality: Mapping[str, Score]


def score_outputs(task: Task, outputs: Sequence[Output], settings: TaskSettings) -> Scored:
    """Scores of one output for each test item, in all of the task's metrics."""
    return _score(task, [output.text for output in outputs], settings)


def floors(task: Task, settings: TaskSettings) -> tuple[Floor, ...]:
    """What copying the input and an empty output score: a model near them has done nothing."""
    copied, empty = list(task.test.inputs), [""] * len(task.test)
    return (
        Floor("copying the input", _score(task, copied, settings).quality),
        Floor("empty output", _score(task, empty, settings).quality),
    )


def pairs(models: Sequence[ModelResult], scored: Sequence[Scored], settings: TaskSettings) -> tuple[Pair, ...]:
    """Each model against each later one."""
    found = []
    for (first, one), (second, other) in itertools.combinations(zip(models, scored, strict=True), 2):
        losses = {
            metric: paired_bootstrap(
                one.statistics[metric], other.statistics[metric], settings.resamples, settings.seed
            )
            for metric in one.statistics
        }
        differences = {metric: Difference(loss.points, loss.ci95, loss.p_value) for metric, loss in losses.items()}
        costs = {name: (getattr(first.costs, name), getattr(second.costs, name)) for name in COST_FIGURES}
        ratios = {name: ratio(*both) for name, both in costs.items() if None not in both}
        found.append(Pair(first.name, second.name, differences, ratios))
    return tuple(found)


def model_costs(measurement: EntrantMeasurement, sample: Sample, settings: TaskSettings) -> Costs:
    """What one entrant's work took."""
    rounds = measurement.rounds
    totals_ms = [float(np.sum(found.latency_ms)) for found in rounds]
    bulk_rates = [sample.words_bulk / found.bulk_seconds for found in rounds]
    return Costs(
        latency_ms_p50=_percentile([found.latency_ms for found in rounds], 50),
        latency_ms_p95=_percentile([found.latency_ms for found in rounds], 95),
        first_output_ms=_percentile([found.first_ms for found in rounds], 50),
        ms_per_word=timed_figure([total / sample.words for total in totals_ms]),
        ms_per_sentence=timed_figure([total / len(sample.single) for total in totals_ms]),
        words_per_second=timed_figure([1e3 * sample.words / total for total in totals_ms]),
        words_per_second_bulk=timed_figure(bulk_rates),
        cpu_seconds_per_1000_words=timed_figure([1e3 * found.cpu_seconds / sample.words for found in rounds]),
        cpu_seconds_per_1000_words_bulk=timed_figure(
            [1e3 * found.bulk_cpu_seconds / sample.words_bulk for found in rounds]
        ),
        joules_per_1000_words=_joules(measurement, sample),
        price_per_million_words=_price(bulk_rates, settings.price_per_hour),
        load_ms=timed_figure(measurement.load_ms),
        item_latency_ms=tuple(np.median([found.latency_ms for found in rounds], axis=0).tolist()),
    )


def _score(task: Task, texts: Sequence[str], settings: TaskSettings) -> Scored:
    statistics = {
        metric: sentence_statistics(metric, texts, task.test.references, task.target_language, task.test.inputs)
        for metric in task.metrics
    }
    quality = {
        metric: Score(found.score(), score_interval(found, settings.resamples, settings.seed))
        for metric, found in statistics.items()
    }
    return Scored(statistics, quality)


def _percentile(rounds: Sequence[Sequence[float]], percent: float) -> TimedFigure:
    return timed_figure([float(np.percentile(found, percent)) for found in rounds])


def _joules(measurement: EntrantMeasurement, sample: Sample) -> TimedFigure | None:
    joules = [found.joules for found in measurement.rounds]
    known = [value for value in joules if value]
    # One that is 0 is of a counter that is too slow for so little work.
    return timed_figure([1e3 * value / sample.words for value in known]) if len(known) == len(joules) else None


def _price(words_per_second: Sequence[float], price_per_hour: float | None) -> TimedFigure | None:
    if price_per_hour is None:
        return None
    return timed_figure([price_per_hour / SECONDS_PER_HOUR * WORDS / rate for rate in words_per_second])
