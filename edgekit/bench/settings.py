"""What all measurements have in common: threads, rounds, limits, the bootstrap. Refuses numbers that make no sense."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import InputError
from edgekit.quality.bootstrap import BOOTSTRAP_RESAMPLES, BOOTSTRAP_SEED

__all__ = ["MeasurementSettings"]


@dataclass(frozen=True)
class MeasurementSettings:
    """How it is measured; each kind of benchmark adds its own.

    Attributes:
        threads: Threads for one inference, at least 1.
        rounds: Timed rounds, at least 1.
        limit: Items of each test set (lines of each text) to use, from its beginning; None uses all.
        loads: How often each bundle is loaded, in a process each; the load times are the median.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap, at least 0.
        timeout_s: Seconds that one request to a worker may take.
    """

    threads: int = 1
    rounds: int = 5
    limit: int | None = None
    loads: int = 3
    resamples: int = BOOTSTRAP_RESAMPLES
    seed: int = BOOTSTRAP_SEED
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        self.refuse_below(1, "threads", "rounds", "limit", "loads", "resamples")
        self.refuse_below(0, "seed")

    def refuse_below(self, least: int, *names: str, unit: str = "") -> None:
        """Refuse a setting of these names that is below ``least``; None is none."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} must be at least {least}{unit}, found {value}")
