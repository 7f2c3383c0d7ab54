"""Axes of a chart: round tick values, and where on the picture a value stands.

In: the range of the data, and pixels. Out: ticks, positions. Logarithmic axes refuse what isn't above 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Axis", "linear_axis", "log_axis"]

# How far beyond the data an axis reaches: a share of its range, and a factor.
LINEAR_MARGIN, LOG_MARGIN = 0.04, 1.25


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels.

    Attributes:
        low: Value at ``start``.
        high: Value at ``end``, above ``low``.
        start: Pixel of ``low``.
        end: Pixel of ``high``; below ``start`` for an axis that points upwards.
        ticks: Round values between ``low`` and ``high``.
        logarithmic: Equal factors, not equal differences, are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    logarithmic: bool

    def at(self, value: float) -> float:
        """The pixel of a value; one outside the axis stands at its end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def linear_axis(low: float, high: float, start: float, end: float, count: int = 5) -> Axis:
    """An axis of about ``count`` ticks that covers ``low`` to ``high`` with a margin; equal ends are spread by 1."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    margin = LINEAR_MARGIN * (high - low)
    # A quality or a time below 0 doesn't exist: no axis shows one unless the data do.
    low, high = (max(low - margin, 0.0) if low >= 0 else low - margin), high + margin
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, start, end, tuple(round(index * step, 10) for index in range(first, last + 1)), False)


def log_axis(low: float, high: float, start: float, end: float, most: int = 7) -> Axis:
    """A logarithmic axis over ``low`` to ``high`` with a margin, its ticks 1, 2 and 5 a decade, at most ``most``.

    Raises:
        ValueError: ``low`` isn't above 0.
    """
    if low <= 0:
        raise ValueError(f"a logarithmic axis needs values above 0, found {low}")
    low, high = low / LOG_MARGIN, high * LOG_MARGIN
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        every = [round(factor * 10.0**decade, 12) for decade in decades for factor in factors]
        ticks = [tick for tick in every if low <= tick <= high]
        if len(ticks) <= most:
            break
    return Axis(low, high, start, end, tuple(ticks[:: math.ceil(len(ticks) / most) or 1]), True)
