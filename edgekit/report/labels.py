"""Finds a place for each label of a chart, beside what it names and over nothing else.

Greedy placement and a few rounds of improvement over fixed candidate positions (the "eight-position model" of
Christensen, Marks & Shieber 1995, "An Empirical Study of Algorithms for Point-Feature Label Placement", widened by
rings): the same input gives the same picture. In: boxes. Out: boxes. Where there's no free place, the least bad one is
taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Box", "place_labels"]

# Distances from the marker's middle to the label, in pixels.
RINGS = (9.0, 16.0, 28.0, 44.0, 64.0, 90.0)
# To the right first, as one reads.
DIRECTIONS = ((1, 0), (1, -1), (1, 1), (-1, 0), (-1, -1), (-1, 1), (0, -1), (0, 1))
ROUNDS = 4
# A pixel of overlap costs this; a step of a ring or a direction costs one or less.
OVERLAP_COST, RING_COST, DIRECTION_COST = 10.0, 4.0, 0.1


class Box(NamedTuple):
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


def place_labels(
    anchors: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], obstacles: Sequence[Box], within: Box
) -> list[Box]:
    """A box for each label.

    Args:
        anchors: The middle of what each label names.
        sizes: Width and height of each label.
        obstacles: What no label should cover: markers, intervals, lines.
        within: What no label leaves, unless it's larger than that.
    """
    placed: list[Box | None] = [None] * len(anchors)
    for _ in range(ROUNDS):
        before = list(placed)
        for index, (anchor, size) in enumerate(zip(anchors, sizes, strict=True)):
            others = [box for other, box in enumerate(placed) if box is not None and other != index]
            candidates = _candidates(anchor, size, within)
            placed[index] = min(candidates, key=lambda pair: _cost(pair, [*obstacles, *others]))[1]
        if placed == before:
            break
    return [box for box in placed if box is not None]


def _candidates(anchor: tuple[float, float], size: tuple[float, float], within: Box) -> Iterator[tuple[float, Box]]:
    """Boxes around an anchor with what it costs to be so far away; pushed back where they leave ``within``."""
    (x, y), (width, height) = anchor, size
    for ring, distance in enumerate(RINGS):
        for turn, (right, down) in enumerate(DIRECTIONS):
            left = x + right * distance - (0.0, width / 2, width)[1 - right]
            top = y + down * distance - (0.0, height / 2, height)[1 - down]
            left = max(min(left, within.right - width), within.left)
            top = max(min(top, within.bottom - height), within.top)
            yield RING_COST * ring + DIRECTION_COST * turn, Box(left, top, left + width, top + height)


def _cost(candidate: tuple[float, Box], obstacles: Sequence[Box]) -> float:
    distance, box = candidate
    return distance + OVERLAP_COST * sum(box.overlap(obstacle) for obstacle in obstacles)
