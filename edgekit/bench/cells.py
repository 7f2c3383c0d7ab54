"""What the tables of all benchmarks share: cells with figures, and the lines on the machine below them.

In: figures, or a report. Out: text that is ready to print.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from edgekit.bench.environment import Environment

__all__ = ["MISSING", "Rows", "figure", "interval", "machine_lines", "spread_cell", "timed"]

MISSING = "-"


class Rows(NamedTuple):
    """A table's text: all cells are ready to print, the first column is left-aligned."""

    title: str
    header: tuple[str, ...]
    cells: list[tuple[str, ...]]


class _Settings(Protocol):
    @property
    def threads(self) -> int: ...


class _Report(Protocol):
    @property
    def environment(self) -> Environment: ...
    @property
    def background_cores_during(self) -> float: ...
    @property
    def settings(self) -> _Settings: ...


class _Result(Protocol):
    @property
    def spread(self) -> Mapping[str, tuple[float, float]]: ...


def figure(value: float) -> str:
    """Three digits or all before the point: ``3.41``, ``34.1``, ``3412``."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def interval(points: float | None, ci95: tuple[float, float] | None) -> str:
    """A figure with its interval, ``0.21 [0.04, 0.39]``; a dash where there is none."""
    return MISSING if points is None or ci95 is None else f"{points:.2f} [{ci95[0]:.2f}, {ci95[1]:.2f}]"


def timed(result: _Result, name: str, plus_minus: str) -> str:
    """The median of a result's field with the distance of its furthest round: ``3.41 ±2%``."""
    return spread_cell(getattr(result, name), result.spread[name], plus_minus)


def spread_cell(median: float, spread: tuple[float, float], plus_minus: str) -> str:
    """A median with the distance of its furthest round: ``3.41 ±2%``."""
    low, high = spread
    return f"{figure(median)} {plus_minus}{100 * max(median - low, high - median) / median:.0f}%"


def machine_lines(report: _Report) -> Iterator[str]:
    """CPU, memory, versions, threads, and what else ran."""
    environment = report.environment
    flags = " ".join(flag for flag in environment.isa_flags if flag in ("avx2", "avx512_vnni", "avx_vnni", "asimddp"))
    yield (
        f"{environment.cpu} ({flags or 'no int8 instructions known'}), {environment.cores_usable} cores usable, "
        f"{environment.memory_bytes / 1e9:.1f} GB, {environment.os}, governor {environment.governor or 'unknown'}"
    )
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items() if version)
    yield f"{versions}, Python {environment.python}"
    load = MISSING if environment.load_average_1m is None else f"{environment.load_average_1m:.2f}"
    yield (
        f"threads {report.settings.threads}; other work {environment.background_cores_before:.2f} cores before, "
        f"{report.background_cores_during:.2f} during; load average {load}"
    )
