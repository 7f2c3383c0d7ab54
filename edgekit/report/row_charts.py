"""Charts with a row a model, its name above the row: the intervals of quality, and how latencies are distributed.

In: figures and names. Out: `Drawing`s as high as the rows need; the style sheet gives colours. Each asks for at least
one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.report.axes import Axis, linear_axis, log_axis
from edgekit.report.drawing import Drawing, shortened
from edgekit.report.estimate import Estimate
from edgekit.report.numbers import tick
from edgekit.report.scatter import Floor

__all__ = ["IntervalRow", "LatencyRow", "draw_intervals", "draw_latencies"]

LEFT, RIGHT, TOP, BOTTOM = 14, 22, 8, 46
INTERVAL_ROW, LATENCY_ROW = 44, 76
# From a row's top to the name's baseline, and to where the row's figures begin.
NAME_BASELINE, NAME_HEIGHT = 14, 20
BINS_A_DECADE = 24
RADIUS = 5.5
NARROW = 500


@dataclass(frozen=True)
class IntervalRow:
    """A model's quality with its interval."""

    name: str
    is_causal_lm: bool
    quality: Estimate


@dataclass(frozen=True)
class LatencyRow:
    """How long a model took for each sentence.

    Attributes:
        name: The model.
        is_causal_lm: Decoder-only; otherwise an encoder-decoder.
        latencies: Milliseconds, each above 0, at least one.
        p50: The median that the tables show.
        p95: The 95th percentile that they show.
    """

    name: str
    is_causal_lm: bool
    latencies: tuple[float, ...]
    p50: float
    p95: float


def draw_intervals(rows: Sequence[IntervalRow], floors: Sequence[Floor], quality_name: str, width: int) -> Drawing:
    """A dot and a whisker a row on a common axis; floors as lines downwards."""
    height = TOP + INTERVAL_ROW * len(rows) + BOTTOM + 16 * len(floors)
    each = "; ".join(f"{r.name}: {r.quality.value:.1f} [{r.quality.low:.1f}, {r.quality.high:.1f}]" for r in rows)
    each += "".join(f"; {floor.name}: {floor.quality:.1f}" for floor in floors)
    drawing = Drawing(width, height, f"{quality_name} with 95 % intervals. {each}.")
    bounds = [bound for row in rows for bound in (row.quality.low, row.quality.high)]
    bounds += [floor.quality for floor in floors]
    axis = linear_axis(min(bounds), max(bounds), LEFT, width - RIGHT)
    bottom = TOP + INTERVAL_ROW * len(rows)
    _draw_axis(drawing, axis, bottom, lambda at: f"{at:g}", f"{quality_name}, better →")
    for index, floor in enumerate(floors):
        x, y = axis.at(floor.quality), bottom + BOTTOM + 16 * index
        drawing.add("line", x1=x, y1=TOP, x2=x, y2=bottom + 5, class_="floor")
        drawing.add("line", x1=LEFT, y1=y, x2=LEFT + 18, y2=y, class_="floor")
        drawing.add("text", f"{floor.name}: {floor.quality:.1f}", x=LEFT + 26, y=y + 4, class_="note")
    for index, row in enumerate(rows):
        top, kind = TOP + INTERVAL_ROW * index, _kind(row.is_causal_lm)
        _draw_name(drawing, row.name, top)
        y = top + NAME_HEIGHT + 10
        low, high, x = axis.at(row.quality.low), axis.at(row.quality.high), axis.at(row.quality.value)
        drawing.add("line", x1=low, y1=y, x2=high, y2=y, class_=f"whisker {kind}")
        _draw_marker(drawing, row.is_causal_lm, x, y)
    return drawing


def draw_latencies(rows: Sequence[LatencyRow], format_time: Callable[[float], str], width: int) -> Drawing:
    """A histogram a row on a common logarithmic axis; lines at the median and the 95th percentile."""
    height = TOP + LATENCY_ROW * len(rows) + BOTTOM
    each = "; ".join(f"{r.name}: half within {format_time(r.p50)}, 95 % within {format_time(r.p95)}" for r in rows)
    drawing = Drawing(width, height, f"Time a sentence, distribution on a logarithmic axis. {each}.")
    every = [time for row in rows for time in (*row.latencies, row.p50, row.p95)]
    axis = log_axis(min(every), max(every), LEFT, width - RIGHT, most=5 if width < NARROW else 8)
    bottom = TOP + LATENCY_ROW * len(rows)
    _draw_axis(drawing, axis, bottom, format_time, "time a sentence, faster ←")
    for index, row in enumerate(rows):
        _draw_histogram(drawing, row, axis, TOP + LATENCY_ROW * index, format_time)
    return drawing


def _draw_histogram(
    drawing: Drawing, row: LatencyRow, axis: Axis, top: float, format_time: Callable[[float], str]
) -> None:
    _draw_name(drawing, row.name, top)
    base, room, kind = top + LATENCY_ROW - 10, LATENCY_ROW - NAME_HEIGHT - 14, _kind(row.is_causal_lm)
    counts: dict[int, int] = {}
    for latency in row.latencies:
        position = math.floor(BINS_A_DECADE * math.log10(latency))
        counts[position] = counts.get(position, 0) + 1
    for position, count in sorted(counts.items()):
        left = axis.at(10 ** (position / BINS_A_DECADE))
        right = axis.at(10 ** ((position + 1) / BINS_A_DECADE))
        tall = round(room * count / max(counts.values()), 2)
        drawing.add(
            "rect", x=left, y=round(base - tall, 2), width=round(max(right - left - 1, 1), 2), height=tall,
            class_=f"bar {kind}",
        )  # fmt: skip
    drawing.add("line", x1=axis.start, y1=base, x2=axis.end, y2=base, class_="grid")
    for name, value in (("p50", row.p50), ("p95", row.p95)):
        x = axis.at(value)
        drawing.add("line", x1=x, y1=base - room - 2, x2=x, y2=base + 4, class_=f"mark {name}")
    text = f"p50 {format_time(row.p50)} · p95 {format_time(row.p95)}"
    drawing.add("text", text, x=axis.end, y=top + NAME_BASELINE, class_="note end")


def _draw_axis(drawing: Drawing, axis: Axis, y: float, format_tick: Callable[[float], str], name: str) -> None:
    drawing.add("line", x1=axis.start, y1=y, x2=axis.end, y2=y, class_="axis")
    for at in axis.ticks:
        x = axis.at(at)
        drawing.add("line", x1=x, y1=TOP, x2=x, y2=y, class_="grid")
        drawing.add("text", tick(format_tick(at)), x=x, y=y + 16, class_="tick middle")
    drawing.add("text", name, x=axis.end, y=y + 33, class_="name end")


def _draw_name(drawing: Drawing, name: str, top: float) -> None:
    most = 24 if drawing.width < NARROW else 48
    drawing.add("text", shortened(name, most), x=LEFT + 4, y=top + NAME_BASELINE, class_="label")


def _draw_marker(drawing: Drawing, is_causal_lm: bool, x: float, y: float) -> None:
    if is_causal_lm:
        drawing.add(
            "rect", x=x - RADIUS * 0.9, y=y - RADIUS * 0.9, width=RADIUS * 1.8, height=RADIUS * 1.8,
            class_="marker causal front",
        )  # fmt: skip
    else:
        drawing.add("circle", cx=x, cy=y, r=RADIUS, class_="marker seq2seq front")


def _kind(is_causal_lm: bool) -> str:
    return "causal" if is_causal_lm else "seq2seq"
