"""Numbers as a reader meets them: rounded to what matters, with their units, the same in every form of the report.

In: figures. Out: text, with a true minus sign; a form that can't show it replaces it.
"""

from __future__ import annotations

import re

from edgekit.bench.cells import figure
from edgekit.report.estimate import Estimate

__all__ = [
    "amount",
    "factor",
    "megabytes",
    "milliseconds",
    "p_text",
    "points",
    "share_of",
    "signed",
    "tick",
]

# Zeros at the end behind the point, and the point where nothing else is behind it: of 1.00 all, of 1.50 the last.
TRAILING_ZEROS = re.compile(r"\.0+(?!\d)|(?<=\.)(\d*?[1-9])0+(?!\d)")
MINUS = "\u2212"
SMALLEST_P = 0.001
# From here on a share is said as one of so many parts: "36 % of", then "1/3 of".
PARTS = 2.75
HALF = (0.48, 0.52)
# An interval that reaches over more than this factor leaves one digit.
ROUGH = 1.25


def amount(value: float) -> str:
    """Three digits, or all before the point: ``0.0123``, ``3.41``, ``34.1``, ``3,412``."""
    return f"{value:,.0f}" if value >= 999.5 else figure(value) if value >= 1 else f"{value:#.3g}" if value else "0"


def milliseconds(value: float) -> str:
    """A time: ``3.40 ms``, ``340 ms``, ``3.40 s``."""
    return f"{amount(value / 1e3)} s" if value >= 999.5 else f"{amount(value)} ms"


def tick(text: str) -> str:
    """A figure that is known to be round, without the zeros: ``1 s`` for ``1.00 s``."""
    return TRAILING_ZEROS.sub(r"\1", text)


def megabytes(value: float) -> str:
    """A size of so many 10^6 bytes: ``8.3 MB``, ``218 MB``, ``1.2 GB``."""
    if value >= 999.5:
        return f"{value / 1e3:.1f} GB"
    return f"{value:.0f} MB" if value >= 10 else f"{value:.2g} MB"


def points(value: float) -> str:
    """A score: one digit behind the point."""
    return f"{value:.1f}".replace("-", MINUS)


def signed(value: float) -> str:
    """A difference of scores with its sign; ``0.0`` has none."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def factor(value: float) -> str:
    """A ratio in two digits: ``0.061``, ``1.4``, ``16``, ``1,300``."""
    return _two_digits(value) if value >= 9.95 else f"{value:#.2g}"


def p_text(p_value: float) -> str:
    """``p < 0.001``, or ``p = 0.03``: a bootstrap of 1,000 resamples can't tell smaller ones apart."""
    return f"p < {SMALLEST_P:g}" if p_value < SMALLEST_P else f"p = {p_value:.2g}"


def share_of(found: Estimate, noun: str) -> str:
    """A ratio in words: ``1/16 of the time``, ``80 % of the time``, ``1.4 times the time``, ``about 1/70 of the time``.

    Args:
        found: Above 0; where its interval is wide, one digit is said of it and not two.
        noun: What it's a ratio of.
    """
    is_rough = found.high > ROUGH * found.low
    said = _one_digit(found.value) if is_rough else _share(found.value)
    return f"{'about ' if is_rough else ''}{said} the {noun}"


def _share(ratio: float) -> str:
    if HALF[0] <= ratio <= HALF[1]:
        return "half of"
    if 1 / ratio >= PARTS:
        return f"1/{_two_digits(1 / ratio)} of"
    if ratio < 0.995:
        return f"{100 * ratio:.0f} % of"
    return f"{_two_digits(ratio)} times" if ratio >= 10 else f"{ratio:.2g} times"


def _one_digit(ratio: float) -> str:
    if 1 / ratio >= PARTS:
        return f"1/{float(f'{1 / ratio:.1g}'):,.0f} of"
    if ratio < 0.95:
        return f"{100 * float(f'{ratio:.1g}'):.0f} % of"
    return f"{float(f'{ratio:.1g}'):,.0f} times" if ratio >= 9.5 else f"{float(f'{2 * ratio:.1g}') / 2:g} times"


def _two_digits(value: float) -> str:
    """``16``, ``130``, ``1,300``: no ratio of two measured figures is known better."""
    return f"{float(f'{value:.2g}'):,.0f}"
