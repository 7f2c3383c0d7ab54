"""Starts the workers of bundles that are compared, each bundle as often as its load is timed.

In: measurements with a variant and lists for the times. Out: a loaded worker for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from edgekit.bench.settings import MeasurementSettings
from edgekit.bench.variants import Variant
from edgekit.bench.worker_process import WorkerProcess

__all__ = ["start_workers"]


class _LoadTimes(Protocol):
    """What the times are added to, in milliseconds."""

    @property
    def variant(self) -> Variant: ...
    @property
    def import_ms(self) -> list[float]: ...
    @property
    def load_ms(self) -> list[float]: ...


def start_workers(
    stack: ExitStack,
    measurements: Sequence[_LoadTimes],
    settings: MeasurementSettings,
    command: Callable[[Path, int], list[str]],
) -> list[WorkerProcess]:
    """A worker for each measurement, which has got ``settings.loads`` times of imports and loads.

    Args:
        stack: Ends the workers.
        measurements: What to start; those of the loads before the last take turns too.
        settings: Threads, loads and timeout.
        command: Command line of a worker for a bundle and a number of threads.

    Raises:
        WorkerError: A bundle cannot be loaded.
    """
    for _ in range(settings.loads - 1):
        for measurement in measurements:
            with _start(measurement, settings, command) as worker:
                worker.request("quit")
    return [stack.enter_context(_start(measurement, settings, command)) for measurement in measurements]


def _start(
    measurement: _LoadTimes, settings: MeasurementSettings, command: Callable[[Path, int], list[str]]
) -> WorkerProcess:
    bundle = measurement.variant.bundle
    worker = WorkerProcess(bundle, settings.threads, settings.timeout_s, command(bundle, settings.threads))
    measurement.import_ms.append(worker.import_ms)
    measurement.load_ms.append(worker.load_ms)
    return worker
