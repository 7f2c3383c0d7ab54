"""Energy of the CPU's packages, where Linux's powercap shows RAPL's counters and this user may read them.

The counters are of the whole package, whatever else it does, and of no memory and no power supply; on most machines
only root reads them (they were closed after CVE-2020-8694). Where they cannot be read there is no figure, and no
estimate.

In: nothing. Out: joules since some time in the past, by package; differences that survive a counter's wrap.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["joules_between", "read_energy"]

POWERCAP = Path("/sys/class/powercap")


def read_energy(root: Path = POWERCAP) -> dict[str, tuple[int, int]] | None:
    """Of each package its counter and the largest value before it wraps, in microjoules; None where none can be read.

    Args:
        root: The powercap directory; ``intel-rapl:0`` is a package (of AMD too), ``intel-rapl:0:1`` a part of it.
    """
    found = {}
    try:
        for package in sorted(root.glob("intel-rapl:*")):
            if package.name.count(":") == 1:
                counter = int((package / "energy_uj").read_text(encoding="ascii"))
                found[package.name] = (counter, int((package / "max_energy_range_uj").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return None
    return found or None


def joules_between(
    before: Mapping[str, tuple[int, int]] | None, after: Mapping[str, tuple[int, int]] | None
) -> float | None:
    """Energy between two readings, at most one wrap apart; None where either is."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    total = 0
    for name, (counter, largest) in after.items():
        difference = counter - before[name][0]
        total += difference if difference >= 0 else difference + largest
    return total / 1e6
