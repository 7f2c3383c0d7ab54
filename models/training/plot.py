"""The learning curves of several runs as one SVG: quality against processor hours.

    python -m models.training.plot OUT.svg LOG.csv ...

In: log.csv files of `models.training.train`; where the model is the same, a later file continues the earlier one (a
cool-down after the run that it started from). Out: two charts side by side, chrF and nats a piece on the development
set. No drawing library is needed.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

Points = list[tuple[float, float]]
COLOURS = ("#0b6bcb", "#c4501b", "#3a7d44", "#7a4fa3")
WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 34, 44
CHARTS = (("chrf", "chrF, development sample, greedy"), ("everyday_nats", "nats a target piece, everyday sentences"))


def read_logs(paths: Sequence[Path]) -> dict[str, list[dict[str, str]]]:
    """The rows of each model, in order of time."""
    rows: dict[str, list[dict[str, str]]] = {}
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["model"], []).append(row)
    return {name: sorted(found, key=lambda row: float(row["processor_hours"])) for name, found in rows.items()}


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values from below `low` to above `high`."""
    rough = max(high - low, 1e-9) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def chart(title: str, curves: dict[str, Points], left: int) -> list[str]:
    """One chart's SVG elements, `left` pixels from the edge."""
    every = [point for points in curves.values() for point in points]
    xs = ticks(0.0, max(x for x, _ in every))
    ys = ticks(min(y for _, y in every), max(y for _, y in every))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / (xs[-1] - xs[0]) * (WIDTH - LEFT - RIGHT)
        up = (y - ys[0]) / (ys[-1] - ys[0]) * (HEIGHT - TOP - BOTTOM)
        return round(left + LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)

    parts = [f'<text x="{left + LEFT}" y="18" class="title">{title}</text>']
    for y in ys:
        (x0, at), (x1, _) = place(xs[0], y), place(xs[-1], y)
        parts.append(f'<line x1="{x0}" y1="{at}" x2="{x1}" y2="{at}" class="grid"/>')
        parts.append(f'<text x="{x0 - 6}" y="{at + 4}" text-anchor="end">{y:g}</text>')
    for x in xs:
        at, bottom = place(x, ys[0])
        parts.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle">{x:g}</text>')
    middle = left + LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">processor hours</text>')
    rising = every[0][1] < every[-1][1]
    for index, (name, points) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        places = [place(*point) for point in points]
        line = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in places]
        # The names stand where the curves, which flatten, leave room.
        at = HEIGHT - BOTTOM - 12 - 16 * (len(curves) - 1 - index) if rising else TOP + 18 + 16 * index
        parts.append(f'<text x="{left + WIDTH - RIGHT - 8}" y="{at}" text-anchor="end" fill="{colour}">{name}</text>')
    return parts


def plot(paths: Sequence[Path]) -> str:
    """The SVG's text.

    Raises:
        ValueError: No row in any log.
    """
    rows = read_logs(paths)
    if not rows:
        raise ValueError(f"expected rows in {', '.join(map(str, paths))}, found none; train first")
    parts = []
    for index, (column, title) in enumerate(CHARTS):
        curves = {
            name: [(float(row["processor_hours"]), float(row[column])) for row in found] for name, found in rows.items()
        }
        parts += chart(title, curves, index * WIDTH)
    style = "text{font:12px sans-serif}.title{font-weight:bold}.grid{stroke:#ddd}"
    size = f'width="{WIDTH * len(CHARTS)}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style><rect {size} fill="white"/>'
    return "\n".join([head, *parts, "</svg>", ""])


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("logs", type=Path, nargs="+")
    arguments = parser.parse_args()
    arguments.out.write_text(plot(arguments.logs), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
