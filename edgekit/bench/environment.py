"""What a measurement ran on: CPU, instruction sets, memory, versions, and how busy the machine was with other work.

Reads, never changes: no governor is set and no process is moved. Fields that a system does not tell are None or empty.
In: nothing but the machine. Out: `Environment`, and `CpuReading` pairs from which the background load follows.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cpuinfo
import psutil  # type: ignore[import-untyped]

from edgekit import __version__

__all__ = [
    "Conditions",
    "CpuReading",
    "Environment",
    "background_cores",
    "busy_reason",
    "read_cpu",
    "read_environment",
    "usable_cores",
]

# The instruction sets on which the speed of int8 and fp32 products depends, as py-cpuinfo spells them.
ISA_FLAGS = (
    "sse4_1", "ssse3", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "amx_int8", "amx_bf16", "asimd", "neon", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
VERSIONED_PACKAGES = ("onnxruntime", "numpy", "tokenizers", "sacrebleu")
CPUFREQ_GLOB = "cpu[0-9]*/cpufreq/scaling_governor"
BACKGROUND_INTERVAL_S = 0.5
# A quarter of a core: an idle desktop stays below a tenth, a browser playing a video or a build does not.
BUSY_CORES = 0.25


@dataclass(frozen=True)
class Environment:
    """The machine and the versions; sizes in bytes.

    Attributes:
        cpu: The CPU's name, or "unknown".
        architecture: The instruction set's family, such as ``x86_64``.
        isa_flags: Those of `ISA_FLAGS` that the CPU has.
        cores_physical: Physical cores, or None.
        cores_logical: Logical cores, or None.
        cores_usable: Logical cores that this process may run on.
        memory_bytes: Physical memory.
        governor: Frequency governors in use, comma-separated, or None where they cannot be read.
        os: Name and release of the operating system.
        python: Version of Python.
        versions: Version of edgekit and of the packages that it runs on; None where one is not installed.
        load_average_1m: Runnable processes over the last minute, before the measurement; None on Windows.
        background_cores_before: CPU use of everything just before, in cores, over half a second.
    """

    cpu: str
    architecture: str
    isa_flags: tuple[str, ...]
    cores_physical: int | None
    cores_logical: int | None
    cores_usable: int
    memory_bytes: int
    governor: str | None
    os: str
    python: str
    versions: dict[str, str | None]
    load_average_1m: float | None
    background_cores_before: float


@dataclass(frozen=True)
class Conditions:
    """What the machine did during the timed rounds.

    Attributes:
        background_cores: CPU use of other work, in cores.
        stolen_cores: CPU time that the host gave to other machines, in cores; part of ``background_cores``.
        frequency_mhz: Lowest and highest mean frequency of the cores that a round began with; None where unknown.
        throttle_events: How often a core was slowed for its heat; None where the system does not count.
        quota_throttled_seconds: How long a CPU quota (a container's) held the processes back; None where there is none.
        speed_range: Slowest and fastest of the rounds in which the same small calculation was timed, in units of their
            median: ``(0.9, 1.02)`` says that the machine was once 10 % slower.
        probe_ms: How long that calculation took, in milliseconds: the median over the rounds, of each the fastest of a
            few. None in reports that edgekit wrote before it kept this.
    """

    background_cores: float
    stolen_cores: float
    frequency_mhz: tuple[float, float] | None
    throttle_events: int | None
    quota_throttled_seconds: float | None
    speed_range: tuple[float, float]
    probe_ms: float | None = None


@dataclass(frozen=True)
class CpuReading:
    """CPU time used so far, in seconds: by the whole machine, by the measuring processes, and the clock."""

    clock: float
    machine: float
    own: float


def read_environment() -> Environment:
    """The machine as it is now; takes about two seconds, most of them in py-cpuinfo."""
    before = read_cpu(())
    time.sleep(BACKGROUND_INTERVAL_S)
    background = background_cores(before, read_cpu(()))
    info = cpuinfo.get_cpu_info()
    return Environment(
        cpu=str(info.get("brand_raw") or platform.processor() or "unknown"),
        architecture=platform.machine(),
        isa_flags=tuple(flag for flag in ISA_FLAGS if flag in info.get("flags", ())),
        cores_physical=psutil.cpu_count(logical=False),
        cores_logical=psutil.cpu_count(),
        cores_usable=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        governor=read_governor(Path("/sys/devices/system/cpu")),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={"edgekit": __version__, **{name: _version(name) for name in VERSIONED_PACKAGES}},
        load_average_1m=None if os.name == "nt" else os.getloadavg()[0],
        background_cores_before=background,
    )


def read_cpu(pids: Iterable[int]) -> CpuReading:
    """A reading whose ``own`` time is that of this process and of ``pids``; processes that have ended are left out."""
    # guest time is part of user time; steal is what the host took away, so it disturbs as other work does.
    times: dict[str, float] = psutil.cpu_times()._asdict()
    names = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
    own = 0.0
    for pid in (os.getpid(), *pids):
        try:
            used: Any = psutil.Process(pid).cpu_times()
            own += used.user + used.system
        except psutil.NoSuchProcess:
            continue
    return CpuReading(time.monotonic(), sum(times.get(name, 0.0) for name in names), own)


def background_cores(before: CpuReading, after: CpuReading) -> float:
    """CPU use of everything else between two readings, in cores (1.0: one core fully busy), never negative."""
    elapsed = max(after.clock - before.clock, 1e-9)
    return max(0.0, ((after.machine - before.machine) - (after.own - before.own)) / elapsed)


def busy_reason(environment: Environment, background_cores_during: float | None = None) -> str | None:
    """Why the figures are not to be trusted fully, as a sentence without its full stop; None on a quiet machine.

    Args:
        environment: The machine before the measurement.
        background_cores_during: CPU use of other work during the timed rounds, in cores.
    """
    if background_cores_during is not None and background_cores_during > BUSY_CORES:
        return f"other work used {background_cores_during:.2f} cores during the timed rounds"
    if environment.background_cores_before > BUSY_CORES:
        return f"other work used {environment.background_cores_before:.2f} cores just before the measurement"
    # Above the cores, not near them: a bench that has just ended leaves an average of its own threads behind.
    load = environment.load_average_1m
    if load is not None and load > environment.cores_usable:
        return f"the load average was {load:.1f} on {environment.cores_usable} usable cores"
    return None


def read_governor(cpus: Path) -> str | None:
    """The frequency governors under a ``/sys/devices/system/cpu`` directory; None where there are none."""
    try:
        found = {path.read_text(encoding="ascii").strip() for path in cpus.glob(CPUFREQ_GLOB)}
    except (OSError, UnicodeDecodeError):
        return None
    return ", ".join(sorted(found)) or None


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
