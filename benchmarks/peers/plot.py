"""The ratios of a comparison as a picture: ``python plot.py RESULTS.json PICTURE.svg``.

In: what `compare.py --json` wrote. Out: SVG, a line for each setting and peer, with a mark for each form of edgekit at
the peer's time by edgekit's (the median of the rounds; the bar reaches from the smallest to the largest), on a
logarithmic axis: right of 1, edgekit takes less time.
"""

from __future__ import annotations

import json
import math
import sys
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

WIDTH, LABELS, RIGHT, LINE, HEADING = 860, 270, 30, 20, 34
# Okabe and Ito's colours, which most readers can tell apart (https://jfly.uni-koeln.de/color/).
COLOURS = {
    "int8": "#0072b2",
    "int8-static": "#009e73",
    "int8-shortlist": "#d55e00",
    "int8-low-memory": "#cc79a7",
    "fp32": "#666666",
}
TICKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)

Row = dict[str, Any]


class Picture:
    """Lines of marks, from top to bottom, between the smallest and the largest ratio."""

    def __init__(self, rows: list[Row]) -> None:
        """Takes rows with ratios."""
        ratios = [bound for row in rows for ratio in row["edgekit_is_faster"].values() for bound in ratio.values()]
        self._least, self._most = min(0.5, *ratios) / 1.1, max(2, *ratios) * 1.1
        self._svg = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", width=str(WIDTH))
        self._add("rect", x=0, y=0, width="100%", height="100%", fill="white")
        self._y = 10
        self._add_legend(dict.fromkeys(form for row in rows for form in row["edgekit_is_faster"]))

    def add_heading(self, text: str, lines: int) -> None:
        """Begins a group of so many lines."""
        self._y += HEADING
        self._text(text, 12, self._y, weight="bold")
        for tick in TICKS:
            if self._least <= tick <= self._most:
                x, colour = self._x(tick), "#222222" if tick == 1 else "#dddddd"
                self._add("line", x1=x, x2=x, y1=self._y + 4, y2=self._y + 8 + lines * LINE, stroke=colour)
                self._text(f"{tick:g}", x, self._y, anchor="middle")

    def add_line(self, row: Row) -> None:
        """A peer in a setting, under its heading."""
        self._y += LINE
        self._text("beams {beams}, batch {batch}: {engine} {precision}".format(**row), 12, self._y)
        for form, ratio in row["edgekit_is_faster"].items():
            y, colour = self._y - 4, COLOURS[form]
            ends = {"x1": self._x(ratio["min"]), "x2": self._x(ratio["max"])}
            self._add("line", **ends, y1=y, y2=y, stroke=colour, stroke_width=2)
            self._add("circle", cx=self._x(ratio["median"]), cy=y, r=4, fill=colour)

    def to_svg(self) -> str:
        """The document, ending in a newline."""
        self._svg.set("height", str(self._y + 20))
        self._svg.set("viewBox", f"0 0 {WIDTH} {self._y + 20}")
        ElementTree.indent(self._svg)
        return ElementTree.tostring(self._svg, "unicode") + "\n"

    def _x(self, ratio: float) -> float:
        share = math.log(ratio / self._least) / math.log(self._most / self._least)
        return round(LABELS + share * (WIDTH - LABELS - RIGHT), 1)

    def _add_legend(self, forms: dict[str, None]) -> None:
        self._y += LINE
        self._text("time of the other engine by edgekit's, in the form", 12, self._y)
        x = 340
        for form in forms:
            self._add("circle", cx=x, cy=self._y - 4, r=4, fill=COLOURS[form])
            self._text(form, x + 8, self._y)
            x += 120

    def _text(self, text: str, x: float, y: float, *, weight: str = "normal", anchor: str = "start") -> None:
        style = {"font-family": "sans-serif", "font-size": 12, "font-weight": weight, "text-anchor": anchor}
        self._add("text", text, x=x, y=y, fill="#222222", **style)

    def _add(self, tag: str, text: str | None = None, **attributes: Any) -> None:
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        ElementTree.SubElement(self._svg, tag, named).text = text


def draw(results: dict[str, Any]) -> str:
    """The picture of a comparison."""
    rows = [row for row in results["rows"] if row.get("edgekit_is_faster")]
    picture = Picture(rows)
    for (model, threads), group in groupby(rows, key=lambda row: (row["model"], row["threads"])):
        lines = list(group)
        picture.add_heading(f"{model}, {threads} thread{'s' if threads > 1 else ''}", len(lines))
        for row in lines:
            picture.add_line(row)
    return picture.to_svg()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    Path(sys.argv[2]).write_text(draw(json.loads(Path(sys.argv[1]).read_text("utf-8"))), encoding="utf-8")
