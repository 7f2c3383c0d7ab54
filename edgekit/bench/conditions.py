"""Watches the machine while it is measured: other work, stolen time, frequencies, throttling, and its speed.

Reads what Linux tells (other systems tell less: then a field is None), and times a small calculation of its own at the
beginning of each round: where no counter says why a machine is slow, that says that it is. How long it took is kept:
from it two reports tell which of them a slower machine made.

In: the measured processes' ids. Out: `Conditions`, and sentences on what makes the figures doubtful.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

import psutil  # type: ignore[import-untyped]

from edgekit.bench.environment import Conditions, background_cores, read_cpu

__all__ = [
    "MachineWatch", "condition_warnings", "read_frequency", "read_quota_seconds", "read_throttle_events",
    "usual_probe_ms",
]  # fmt: skip

CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
# A few milliseconds, of which the fastest of three counts: longer than a timer's tick, shorter than anyone minds.
PROBE_STEPS, PROBE_REPEATS = 100_000, 3
# Below these, what was seen is usual on a quiet machine.
STOLEN_CORES, FREQUENCY_MOVED, SPEED_MOVED, QUOTA_SECONDS = 0.05, 0.10, 0.10, 0.05


class MachineWatch:
    """What happens from its creation until `finish`."""

    def __init__(self, pids: Iterable[int]) -> None:
        """Starts to watch; ``pids`` are the measured processes, whose work is not other work."""
        self._pids = tuple(pids)
        self._before = read_cpu(self._pids)
        self._stolen = _stolen_seconds()
        self._throttled, self._quota = read_throttle_events(CPUS), read_quota_seconds(CGROUPS)
        self._frequencies: list[float] = []
        self._probes: list[float] = []

    def begin_round(self) -> None:
        """Reads the frequencies and times the small calculation, while no measured process works."""
        self._probes.append(min(_probe() for _ in range(PROBE_REPEATS)))
        if (frequency := read_frequency(CPUS)) is not None:
            self._frequencies.append(frequency)

    def finish(self) -> Conditions:
        """What was seen; at least one round has begun."""
        after = read_cpu(self._pids)
        elapsed = max(after.clock - self._before.clock, 1e-9)
        throttled, quota = read_throttle_events(CPUS), read_quota_seconds(CGROUPS)
        usual = statistics.median(self._probes)
        return Conditions(
            background_cores=background_cores(self._before, after),
            stolen_cores=(_stolen_seconds() - self._stolen) / elapsed,
            frequency_mhz=(min(self._frequencies), max(self._frequencies)) if self._frequencies else None,
            throttle_events=None if throttled is None or self._throttled is None else throttled - self._throttled,
            quota_throttled_seconds=None if quota is None or self._quota is None else quota - self._quota,
            # A calculation that takes longer is a machine that is slower.
            speed_range=(usual / max(self._probes), usual / min(self._probes)),
            probe_ms=1e3 * usual,
        )


def condition_warnings(conditions: Conditions) -> list[str]:
    """Sentences, without full stops, on what but other work makes the figures doubtful."""
    found = []
    if conditions.stolen_cores > STOLEN_CORES:
        found.append(f"the host gave {conditions.stolen_cores:.2f} cores' time to other machines")
    if conditions.frequency_mhz is not None:
        low, high = conditions.frequency_mhz
        if high > (1 + FREQUENCY_MOVED) * low:
            found.append(f"the cores' frequency moved between {low:.0f} and {high:.0f} MHz")
    if conditions.throttle_events:
        found.append(f"cores were slowed for their heat {conditions.throttle_events} times")
    if (conditions.quota_throttled_seconds or 0) > QUOTA_SECONDS:
        found.append(f"a CPU quota held the processes back for {conditions.quota_throttled_seconds:.1f} s")
    slowest, fastest = conditions.speed_range
    if fastest - slowest > SPEED_MOVED:
        found.append(
            f"the same small calculation ran at {100 * slowest:.0f} to {100 * fastest:.0f} % of its usual speed in "
            "different rounds"
        )
    return found


def usual_probe_ms(watched: Iterable[Conditions]) -> float | None:
    """How long the small calculation took: the median over several watches, None where none of them says."""
    found = [conditions.probe_ms for conditions in watched if conditions.probe_ms is not None]
    return statistics.median(found) if found else None


def read_frequency(cpus: Path) -> float | None:
    """Mean frequency of the cores in MHz under a ``/sys/devices/system/cpu`` directory; None where it is not told."""
    found = [value / 1e3 for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq") if (value := _number(path))]
    return statistics.fmean(found) if found else None


def read_throttle_events(cpus: Path) -> int | None:
    """How often cores have been slowed for their heat so far; None where nobody counts."""
    paths = cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    found = [int(value) for path in paths if (value := _number(path)) is not None]
    return sum(found) if found else None


def read_quota_seconds(cgroups: Path) -> float | None:
    """How long a CPU quota has held this container's processes back so far; None where there is none.

    Args:
        cgroups: Where the groups are mounted: ``cpu.stat`` of version 2, ``cpu/cpu.stat`` of version 1 (cgroups(7)).
    """
    for path, key, unit in (
        (cgroups / "cpu.stat", "throttled_usec", 1e-6),
        (cgroups / "cpu/cpu.stat", "throttled_time", 1e-9),
    ):
        with contextlib.suppress(OSError, ValueError):
            fields = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
            if int(fields.get("nr_periods", 0)):
                return int(fields[key]) * unit
    return None


def _number(path: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        return float(path.read_text(encoding="ascii"))
    return None


def _stolen_seconds() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def _probe() -> float:
    started = perf_counter()
    total = 0
    for step in range(PROBE_STEPS):
        total += step
    return perf_counter() - started
