"""Times and collects the translations of bundles that are compared with each other.

Each variant runs in a worker process of its own. All are loaded and warmed up by the translations that quality is
scored on, then take turns round by round (A B A B ...), so that a machine that slows down slows all of them. A round
translates a fixed sample of each test set one sentence at a time, and a larger one in batches; a figure is the median
of its rounds.
In: variants, test sets, `BenchSettings`. Out: `VariantMeasurement`s; scores and tables are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgekit.bench.conditions import MachineWatch
from edgekit.bench.environment import Conditions
from edgekit.bench.loads import start_workers
from edgekit.bench.settings import MeasurementSettings
from edgekit.bench.variants import Variant
from edgekit.bench.worker_process import WorkerError, WorkerProcess, worker_command
from edgekit.quality.parallel_text import TestSet

__all__ = ["BenchSettings", "TimedRounds", "VariantMeasurement", "count_steps", "measure", "spread_sample"]

T = TypeVar("T")

# Sentences a request while scoring: enough to fill batches, few enough to show progress.
QUALITY_CHUNK = 256


@dataclass(frozen=True)
class BenchSettings(MeasurementSettings):
    """What is measured; sentence counts are upper bounds, for a test set may have fewer.

    Attributes:
        latency_sentences: Sentences a round translated one at a time, of each test set.
        batched_sentences: Sentences a round translated in batches, of each test set.
        batch_tokens: Token budget of a batch.
    """

    latency_sentences: int = 100
    batched_sentences: int = 128
    batch_tokens: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_below(1, "latency_sentences", "batched_sentences")


@dataclass
class TimedRounds:
    """What was timed on one test set.

    Attributes:
        words: White-space words of the sentences translated one at a time.
        words_batched: White-space words of those translated in batches.
        latency_ms: float64 [sentences] a round.
        batched_seconds: One figure a round, for all sentences together.
    """

    words: int
    words_batched: int
    latency_ms: list[np.ndarray] = field(default_factory=list)
    batched_seconds: list[float] = field(default_factory=list)

    def percentile_ms(self, percent: float) -> list[float]:
        """The sentence latency's percentile in each round, linearly interpolated, in milliseconds."""
        return [float(np.percentile(latencies, percent)) for latencies in self.latency_ms]

    def words_per_second(self) -> list[float]:
        """Source words per second one sentence at a time, in each round."""
        return [1e3 * self.words / float(latencies.sum()) for latencies in self.latency_ms]

    def words_per_second_batched(self) -> list[float]:
        """Source words per second in batches, in each round."""
        return [self.words_batched / seconds for seconds in self.batched_seconds]


@dataclass
class VariantMeasurement:
    """What one variant gave.

    Attributes:
        variant: What was measured.
        import_ms: Import of edgekit and its runtime in each of its processes.
        load_ms: Load of the bundle, its files verified before and in the page cache, in each of its processes.
        first_translation_ms: The first sentence after the load.
        peak_rss_bytes: Largest resident memory of the measured process, its interpreter and libraries included.
        translations: By position of the test set: one for each of its sources.
        timed: By position of the test set.
    """

    variant: Variant
    import_ms: list[float] = field(default_factory=list)
    load_ms: list[float] = field(default_factory=list)
    first_translation_ms: float = 0.0
    peak_rss_bytes: int | None = None
    translations: list[list[str]] = field(default_factory=list)
    timed: list[TimedRounds] = field(default_factory=list)


def spread_sample(texts: Sequence[T], count: int) -> list[T]:
    """``count`` of the texts at even distances, or all where there are fewer: the same for every variant and run."""
    count = min(count, len(texts))
    return [texts[index * len(texts) // count] for index in range(count)]


def count_steps(variants: int, testsets: Sequence[TestSet], settings: BenchSettings) -> int:
    """How many sentences `measure` will report through ``advance``."""
    rounds = sum(
        min(settings.latency_sentences, len(testset)) + min(settings.batched_sentences, len(testset))
        for testset in testsets
    )
    return variants * (sum(map(len, testsets)) + settings.rounds * rounds)


def measure(
    variants: Sequence[Variant],
    testsets: Sequence[TestSet],
    settings: BenchSettings,
    advance: Callable[[int], None],
    command: Callable[[Path, int], list[str]] = worker_command,
) -> tuple[list[VariantMeasurement], Conditions]:
    """Measure variants side by side.

    Args:
        variants: What to compare; all are in memory at once.
        testsets: Test sets of their language pair.
        settings: What to measure.
        advance: Called with a number of sentences each time that so many are done.
        command: Command line of a worker for a bundle and a number of threads.

    Returns:
        A measurement for each variant, in their order, and what the machine did during the timed rounds.

    Raises:
        WorkerError: A bundle cannot be loaded, or a worker died, answered nonsense or took too long.
    """
    measurements = [VariantMeasurement(variant) for variant in variants]
    with ExitStack() as stack:
        workers = start_workers(stack, measurements, settings, command)
        for measurement, worker in zip(measurements, workers, strict=True):
            _translate_testsets(measurement, worker, testsets, settings, advance)
        watch = MachineWatch(worker.pid for worker in workers)
        for _ in range(settings.rounds):
            watch.begin_round()
            for position, testset in enumerate(testsets):
                for measurement, worker in zip(measurements, workers, strict=True):
                    _time_round(measurement.timed[position], worker, testset, settings, advance)
        conditions = watch.finish()
        for measurement, worker in zip(measurements, workers, strict=True):
            measurement.peak_rss_bytes = worker.request("peak_memory")["peak_rss_bytes"]
            worker.request("quit")
    return measurements, conditions


def _translate_testsets(
    measurement: VariantMeasurement,
    worker: WorkerProcess,
    testsets: Sequence[TestSet],
    settings: BenchSettings,
    advance: Callable[[int], None],
) -> None:
    """Translate every sentence once, in batches: what is scored, and the warm-up of the timed rounds."""
    first = worker.request("translate_each", texts=testsets[0].sources[:1])
    measurement.first_translation_ms = first["latency_ms"][0]
    for testset in testsets:
        translations: list[str] = []
        for start in range(0, len(testset), QUALITY_CHUNK):
            texts = testset.sources[start : start + QUALITY_CHUNK]
            reply = worker.request("translate_batched", texts=texts, batch_tokens=settings.batch_tokens)
            if len(reply["translations"]) != len(texts):
                raise WorkerError(
                    f"measuring {measurement.variant.bundle}: expected {len(texts)} translations, "
                    f"found {len(reply['translations'])}"
                )
            translations += reply["translations"]
            advance(len(texts))
        measurement.translations.append(translations)
        single = spread_sample(testset.sources, settings.latency_sentences)
        batched = spread_sample(testset.sources, settings.batched_sentences)
        measurement.timed.append(TimedRounds(_count_words(single), _count_words(batched)))
        # One at a time takes other paths than batches do, so it has a warm-up of its own.
        worker.request("translate_each", texts=spread_sample(single, 10))


def _time_round(
    timed: TimedRounds, worker: WorkerProcess, testset: TestSet, settings: BenchSettings, advance: Callable[[int], None]
) -> None:
    single = spread_sample(testset.sources, settings.latency_sentences)
    timed.latency_ms.append(np.array(worker.request("translate_each", texts=single)["latency_ms"]))
    batched = spread_sample(testset.sources, settings.batched_sentences)
    reply = worker.request("translate_batched", texts=batched, batch_tokens=settings.batch_tokens)
    timed.batched_seconds.append(reply["seconds"])
    advance(len(single) + len(batched))


def _count_words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)
