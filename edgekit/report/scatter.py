"""Quality against cost as a picture: a point a model with its intervals, its name beside it, the Pareto front marked.

The cost's axis is logarithmic, since models differ by factors. In: `Point`s and the floors. Out: a `Drawing`; colours,
fonts and dark mode are the style sheet's (`edgekit.report.style`). Refuses no number of points above none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgekit.report.axes import Axis, linear_axis, log_axis
from edgekit.report.drawing import Drawing, shortened, text_width
from edgekit.report.estimate import Estimate
from edgekit.report.labels import Box, place_labels
from edgekit.report.numbers import tick
from edgekit.report.pareto import Standing

__all__ = ["Floor", "Point", "draw_scatter"]

LEFT, RIGHT, TOP, BOTTOM = 46, 14, 30, 50
RADIUS = 6.5
FONT, LINE = 13, 16
# A label further from its marker's middle has a line to it.
FAR = 20
# The longest name, in parts of the axis across and in characters.
LABEL_SHARE, MOST = 0.8, 40


@dataclass(frozen=True)
class Point:
    """A model in the picture.

    Attributes:
        name: Its name, as the tables have it.
        is_causal_lm: Decoder-only; otherwise an encoder-decoder.
        cost: On the axis across, above 0.
        quality: On the axis upwards.
        standing: Whether it's on the front.
        on_line: Whether the front's line runs through it, by the figures alone.
    """

    name: str
    is_causal_lm: bool
    cost: Estimate
    quality: Estimate
    standing: Standing
    on_line: bool


@dataclass(frozen=True)
class Floor:
    """What can be had without a model, as a line across."""

    name: str
    quality: float


def draw_scatter(
    points: Sequence[Point],
    floors: Sequence[Floor],
    quality_name: str,
    cost_name: str,
    format_cost: Callable[[float], str],
    size: tuple[int, int],
) -> Drawing:
    """The picture.

    Args:
        points: At least one.
        floors: Drawn as lines across.
        quality_name: Names the axis upwards.
        cost_name: Names the axis across.
        format_cost: A tick's text.
        size: Width and height in pixels.
    """
    width, height = size
    drawing = Drawing(width, height, _description(points, quality_name, cost_name, format_cost))
    across = log_axis(min(p.cost.low for p in points), max(p.cost.high for p in points), LEFT, width - RIGHT)
    heights = [bound for p in points for bound in (p.quality.low, p.quality.high)] + [floor.quality for floor in floors]
    up = linear_axis(min(heights), max(heights), height - BOTTOM, TOP)
    obstacles = _draw_front(drawing, points, across, up)
    _draw_axes(drawing, across, up, quality_name, cost_name, format_cost)
    for point in points:
        obstacles += _draw_point(drawing, point, across, up, cost_name, format_cost)
    obstacles += _draw_floors(drawing, floors, obstacles, across, up)
    _draw_labels(drawing, points, obstacles, across, up)
    return drawing


def _description(points: Sequence[Point], quality: str, cost: str, format_cost: Callable[[float], str]) -> str:
    each = "; ".join(
        f"{p.name}: {p.quality.value:.1f} at {format_cost(p.cost.value)}, {p.standing.value}" for p in points
    )
    return f"{quality} against {cost}, whose axis is logarithmic. {each}."


def _draw_axes(
    drawing: Drawing, across: Axis, up: Axis, quality: str, cost: str, format_cost: Callable[[float], str]
) -> None:
    for at in up.ticks:
        y = up.at(at)
        drawing.add("line", x1=across.start, y1=y, x2=across.end, y2=y, class_="grid")
        drawing.add("text", f"{at:g}", x=across.start - 7, y=y + 4, class_="tick end")
    for at in across.ticks:
        x = across.at(at)
        drawing.add("line", x1=x, y1=up.start, x2=x, y2=up.start + 5, class_="axis")
        drawing.add("text", tick(format_cost(at)), x=x, y=up.start + 19, class_="tick middle")
    drawing.add("line", x1=across.start, y1=up.start, x2=across.end, y2=up.start, class_="axis")
    drawing.add("text", f"{quality} ↑ better", x=4, y=15, class_="name")
    drawing.add("text", f"{cost}, cheaper ←", x=across.end, y=up.start + 40, class_="name end")


def _draw_front(drawing: Drawing, points: Sequence[Point], across: Axis, up: Axis) -> list[Box]:
    """The front's steps, and a shade over what lies behind them; returns what the steps cover."""
    front = sorted((p for p in points if p.on_line), key=lambda p: (p.cost.value, -p.quality.value))
    corners = [(across.at(front[0].cost.value), up.start)]
    for point in front:
        x, y = across.at(point.cost.value), up.at(point.quality.value)
        corners += [(x, corners[-1][1]), (x, y)]
    corners.append((across.end, corners[-1][1]))
    line = " ".join(f"{x},{y}" for x, y in corners[1:])
    drawing.add("polygon", points=f"{line} {across.end},{up.start}", class_="behind")
    drawing.add("polyline", points=line, class_="front")
    return [
        Box(min(x, next_x) - 1, min(y, next_y) - 1, max(x, next_x) + 1, max(y, next_y) + 1)
        for (x, y), (next_x, next_y) in pairwise(corners[1:])
    ]


def _draw_floors(
    drawing: Drawing, floors: Sequence[Floor], obstacles: Sequence[Box], across: Axis, up: Axis
) -> list[Box]:
    """Lines across with their names, where least is in the way; returns what they cover."""
    taken: list[Box] = []
    for floor in floors:
        y, text = up.at(floor.quality), f"{floor.name}: {floor.quality:.1f}"
        drawing.add("line", x1=across.start, y1=y, x2=across.end, y2=y, class_="floor")
        wide = text_width(text, FONT - 1)
        right, left = across.end - 4, across.start + 8
        places = [
            Box(side, top, side + wide, top + LINE)
            for top in (y - LINE - 1, y + 2)
            for side in (right - wide, left)
            if top + LINE <= up.start
        ]
        place = min(places, key=lambda box: sum(box.overlap(other) for other in (*obstacles, *taken)))
        x, side = (left, "note") if place.left == left else (right, "note end")
        drawing.add("text", text, x=x, y=round(place.bottom - 4, 2), class_=side)
        taken += [place, Box(across.start, y - 1, across.end, y + 1)]
    return taken


def _draw_point(
    drawing: Drawing, point: Point, across: Axis, up: Axis, cost_name: str, format_cost: Callable[[float], str]
) -> list[Box]:
    """The point's intervals and marker; returns what they cover."""
    x, y = across.at(point.cost.value), up.at(point.quality.value)
    left, right = across.at(point.cost.low), across.at(point.cost.high)
    bottom, top = up.at(point.quality.low), up.at(point.quality.high)
    kind = "causal" if point.is_causal_lm else "seq2seq"
    drawing.add("line", x1=left, y1=y, x2=right, y2=y, class_=f"whisker {kind}")
    drawing.add("line", x1=x, y1=bottom, x2=x, y2=top, class_=f"whisker {kind}")
    shape = f"marker {kind} {point.standing.name.lower()}"
    title = f"{point.name}: {point.quality.value:.1f}, {cost_name} {format_cost(point.cost.value)}"
    if point.is_causal_lm:
        # A square of about the circle's area.
        half = RADIUS * 0.89
        drawing.add("rect", title=title, x=x - half, y=y - half, width=2 * half, height=2 * half, class_=shape)
    else:
        drawing.add("circle", title=title, cx=x, cy=y, r=RADIUS, class_=shape)
    reach = RADIUS + 1
    marker = Box(x - reach, y - reach, x + reach, y + reach)
    return [marker, Box(left, y - 1, right, y + 1), Box(x - 1, top, x + 1, bottom)]


def _draw_labels(drawing: Drawing, points: Sequence[Point], obstacles: list[Box], across: Axis, up: Axis) -> None:
    most = int(LABEL_SHARE * (across.end - across.start) / text_width("n", FONT, bold=True))
    names = [shortened(point.name, min(most, MOST)) for point in points]
    anchors = [(across.at(point.cost.value), up.at(point.quality.value)) for point in points]
    sizes = [(text_width(name, FONT, bold=True) + 4, float(LINE)) for name in names]
    boxes = place_labels(anchors, sizes, obstacles, Box(across.start + 2, up.end - 8, drawing.width - 2, up.start - 2))
    for name, (x, y), box in zip(names, anchors, boxes, strict=True):
        # The nearest point of the label.
        near_x, near_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
        if ((near_x - x) ** 2 + (near_y - y) ** 2) ** 0.5 > FAR:
            drawing.add("line", x1=x, y1=y, x2=near_x, y2=near_y, class_="leader")
        # Set from the side of the marker, so that a font narrower than thought leaves no gap there.
        side, at = ("end", box.right - 2) if box.right <= x else ("", box.left + 2)
        drawing.add("text", name, x=round(at, 2), y=round(box.bottom - 4, 2), class_=f"label {side}".strip())
