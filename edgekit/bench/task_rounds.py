"""Times entrants on a task, round by round and side by side, until the intervals are tight.

All are loaded at once, each in a process of its own. First everything that quality is scored on is generated, in bulk,
which warms the processes up. Then come the rounds: every entrant answers the same item before anyone gets the next, so
that a machine that is busy for a while slows all of them; then each answers a larger sample in one call. Who begins
changes from round to round.

In: askings, `TaskSettings`. Out: an `EntrantMeasurement` for each, and the `Conditions` of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from edgekit.bench.asking import Asking, Output
from edgekit.bench.comparison import TimedFigure
from edgekit.bench.conditions import MachineWatch
from edgekit.bench.energy import joules_between, read_energy
from edgekit.bench.environment import Conditions
from edgekit.bench.loads import start_workers
from edgekit.bench.measure import spread_sample
from edgekit.bench.rounds import timed_figure
from edgekit.bench.settings import MeasurementSettings
from edgekit.bench.variants import Variant
from edgekit.bench.worker_process import WorkerError, WorkerProcess
from edgekit.errors import InputError

__all__ = ["EntrantMeasurement", "EntrantRound", "Sample", "TaskSettings", "measure_task", "relative_width"]

# Items a request while scoring: enough to fill batches, few enough to show progress and to answer in time.
QUALITY_CHUNK = 64
WARM_UP_ITEMS = 3


@dataclass(frozen=True)
class TaskSettings(MeasurementSettings):
    """What is measured; numbers of items are upper bounds, for a test set may have fewer.

    Attributes:
        rounds: Timed rounds at least; 6 are the fewest that have a 95 % interval.
        most_rounds: Timed rounds at most, unless ``rounds`` are more.
        most_seconds: No round begins later than this after the first.
        tight: Rounds end when the interval of every entrant's time, one at a time and in bulk, is at most this much to
            either side, in part of its median.
        latency_items: Items a round asked one at a time.
        bulk_items: Items a round asked in one call.
        dev_items: Development items that each candidate prompt is tried on.
        batch_tokens: Token budget of a translator's batch.
        price_per_hour: Of the machine, in any currency; None for no price.
        memory_bytes: Memory that a model has to fit into; None for no such question.
        cores: Logical cores that it has to fit onto; None for all.
        command: The command line that repeats the measurement.
    """

    rounds: int = 6
    most_rounds: int = 24
    most_seconds: float = 600.0
    tight: float = 0.05
    latency_items: int = 40
    bulk_items: int = 64
    dev_items: int = 32
    batch_tokens: int = 512
    price_per_hour: float | None = None
    memory_bytes: int | None = None
    cores: int | None = None
    command: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_below(1, "latency_items", "bulk_items", "dev_items", "memory_bytes", "cores")
        if self.price_per_hour is not None and not 0 < self.price_per_hour < float("inf"):
            raise InputError(f"a price per hour must be above 0, found {self.price_per_hour:g}")
        if self.cores is not None and self.threads > self.cores:
            raise InputError(f"{self.threads} threads don't fit onto {self.cores} cores; give as many cores as threads")


@dataclass(frozen=True)
class Sample:
    """Which items are timed: indices into the test set, and their words."""

    single: tuple[int, ...]
    bulk: tuple[int, ...]
    words: int
    words_bulk: int


@dataclass
class EntrantRound:
    """One round of one entrant: an array has a figure an item."""

    latency_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    joules: float | None = 0.0
    bulk_seconds: float = 0.0
    bulk_cpu_seconds: float = 0.0


@dataclass
class EntrantMeasurement:
    """What one entrant gave.

    Attributes:
        asking: Who, and how it was asked.
        import_ms: Of each process.
        load_ms: Of each process.
        outputs: One for each test item.
        rounds: What was timed.
        peak_rss_bytes: After the rounds; None where the system does not say.
    """

    asking: Asking
    import_ms: list[float] = field(default_factory=list)
    load_ms: list[float] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    rounds: list[EntrantRound] = field(default_factory=list)
    peak_rss_bytes: int | None = None

    @property
    def variant(self) -> Variant:
        """The bundle."""
        return self.asking.entrant.variant

    def paces(self) -> tuple[TimedFigure, TimedFigure]:
        """Milliseconds of all timed items of a round, one at a time and in bulk: what has to be tight."""
        single = [float(np.sum(found.latency_ms)) for found in self.rounds]
        return timed_figure(single), timed_figure([1e3 * found.bulk_seconds for found in self.rounds])


def relative_width(figure: TimedFigure) -> float:
    """How far the interval reaches to its further side, in part of the median."""
    return max(figure.high - figure.median, figure.median - figure.low) / figure.median


def measure_task(
    askings: Sequence[Asking],
    commands: Sequence[list[str]],
    settings: TaskSettings,
    advance: Callable[[int], None],
) -> tuple[list[EntrantMeasurement], Sample, Conditions]:
    """Outputs and times of all entrants.

    Args:
        askings: The entrants; all are in memory at once.
        commands: Command line of each one's worker.
        settings: What to measure.
        advance: Called with a number of items each time that so many are done, in the first ``settings.rounds`` rounds.

    Raises:
        WorkerError: A bundle cannot be loaded, or a worker died, answered nonsense or took too long.
        InputError: There is no item that all entrants take.
    """
    measurements = [EntrantMeasurement(asking) for asking in askings]
    by_bundle = {
        measurement.variant.bundle: command for measurement, command in zip(measurements, commands, strict=True)
    }

    def command(bundle: Path, _: int) -> list[str]:
        return by_bundle[bundle]

    with ExitStack() as stack:
        workers = start_workers(stack, measurements, settings, command)
        for measurement, worker in zip(measurements, workers, strict=True):
            _generate_outputs(measurement, worker, advance)
        sample = _sample(measurements, settings)
        for measurement, worker in zip(measurements, workers, strict=True):
            _ask_each(measurement.asking, worker, sample.single[:WARM_UP_ITEMS])
        watch = MachineWatch(worker.pid for worker in workers)
        started = monotonic()
        while not _is_enough(measurements, settings, monotonic() - started):
            watch.begin_round()
            _run_round(measurements, workers, sample)
            if len(measurements[0].rounds) <= settings.rounds:
                advance(len(measurements) * (len(sample.single) + len(sample.bulk)))
        conditions = watch.finish()
        for measurement, worker in zip(measurements, workers, strict=True):
            measurement.peak_rss_bytes = worker.request("peak_memory")["peak_rss_bytes"]
            worker.request("quit")
    return measurements, sample, conditions


def _generate_outputs(measurement: EntrantMeasurement, worker: WorkerProcess, advance: Callable[[int], None]) -> None:
    inputs = measurement.asking.task.test.inputs
    for start in range(0, len(inputs), QUALITY_CHUNK):
        texts = inputs[start : start + QUALITY_CHUNK]
        measurement.outputs += measurement.asking.outputs(worker, texts)
        advance(len(texts))


def _sample(measurements: Sequence[EntrantMeasurement], settings: TaskSettings) -> Sample:
    """Items at even distances, of those that no entrant refuses."""
    inputs = measurements[0].asking.task.test.inputs
    able = [
        index
        for index in range(len(inputs))
        if not any(measurement.outputs[index].was_refused for measurement in measurements)
    ]
    if not able:
        raise InputError("no test item is short enough for all models; leave out the models with a short context")
    single, bulk = spread_sample(able, settings.latency_items), spread_sample(able, settings.bulk_items)
    counts = [sum(len(inputs[index].split()) for index in indices) for indices in (single, bulk)]
    return Sample(tuple(single), tuple(bulk), *counts)


def _is_enough(measurements: Sequence[EntrantMeasurement], settings: TaskSettings, seconds: float) -> bool:
    done = len(measurements[0].rounds)
    if done < settings.rounds:
        return False
    if done >= settings.most_rounds or seconds > settings.most_seconds:
        return True
    return all(
        relative_width(figure) <= settings.tight for measurement in measurements for figure in measurement.paces()
    )


def _run_round(measurements: Sequence[EntrantMeasurement], workers: Sequence[WorkerProcess], sample: Sample) -> None:
    first = len(measurements[0].rounds) % len(measurements)
    pairs = list(zip(measurements, workers, strict=True))
    order = [*pairs[first:], *pairs[:first]]
    for measurement, _ in order:
        measurement.rounds.append(EntrantRound())
    for index in sample.single:
        for measurement, worker in order:
            _record(measurement.rounds[-1], measurement.asking, worker, index)
    for measurement, worker in order:
        texts = [measurement.asking.task.test.inputs[index] for index in sample.bulk]
        reply = worker.request("answer_bulk", **measurement.asking.fields(texts))
        found = measurement.rounds[-1]
        found.bulk_seconds, found.bulk_cpu_seconds = reply["seconds"], reply["cpu_seconds"]


def _record(found: EntrantRound, asking: Asking, worker: WorkerProcess, index: int) -> None:
    before = read_energy()
    (answer,) = _ask_each(asking, worker, [index])
    joules = joules_between(before, read_energy())
    found.latency_ms.append(answer["ms"])
    found.first_ms.append(answer["first_ms"])
    found.cpu_seconds += answer["cpu_seconds"]
    found.joules = None if joules is None or found.joules is None else found.joules + joules


def _ask_each(asking: Asking, worker: WorkerProcess, indices: Sequence[int]) -> list[dict[str, Any]]:
    texts = [asking.task.test.inputs[index] for index in indices]
    answers: list[dict[str, Any]] = worker.request("answer_each", **asking.fields(texts))["answers"]
    if refused := next((answer["refused"] for answer in answers if "refused" in answer), None):
        raise WorkerError(f"measuring {asking.entrant.variant.bundle}: refuses what it has answered before: {refused}")
    return answers
