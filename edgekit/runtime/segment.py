"""Texts longer than a model takes, cut where a reader would pause.

In: a text and a measure of its length. Out: pieces that fit, in order, none lost. Cuts at the boundary nearest the
middle: a sentence's end, else a clause's, else a space, else between any two characters; then each half again.
"""

from __future__ import annotations

import re
from collections.abc import Callable

BOUNDARIES = (
    re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|\n+"),
    re.compile(r"(?<=[,;:–—、，；：])\s+"),
    re.compile(r"\s+"),
)


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Cuts ``text`` until each piece ``fits``; a single character counts as fitting."""
    if len(text) < 2 or fits(text):
        return [text]
    cut = _middle_boundary(text)
    return [piece for half in (text[:cut].strip(), text[cut:].strip()) if half for piece in split_text(half, fits)]


def _middle_boundary(text: str) -> int:
    """The best place to cut: an index from 1 to ``len(text) - 1``."""
    middle = len(text) // 2
    for boundary in BOUNDARIES:
        ends = [match.end() for match in boundary.finditer(text) if 0 < match.end() < len(text)]
        # A boundary near an end would leave a scrap on one side: look for a lesser one nearer the middle.
        near = [end for end in ends if len(text) // 4 <= end <= 3 * len(text) // 4]
        if near:
            return min(near, key=lambda end: abs(end - middle))
    return middle
