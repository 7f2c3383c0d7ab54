"""The picture of quality against time alone, as an SVG file: for a README, light or dark as its reader's screen is.

It brings its own background, since what shows it may not say which one it has. In: a `TaskComparison`. Out: SVG text.
"""

from __future__ import annotations

from importlib import resources

from edgekit.bench.comparison import TaskComparison
from edgekit.errors import InputError
from edgekit.report.costs import TIME, item_noun
from edgekit.report.drawing import Drawing, shortened, text_width
from edgekit.report.fronts import draw_front
from edgekit.report.wording import metric_title

__all__ = ["to_svg"]

WIDTH, FRONT_HEIGHT = 760, 380
MARGIN, HEADER = 16, 62
# Characters of the heading that fit.
MOST = 76


def to_svg(comparison: TaskComparison) -> str:
    """The picture, ending in a newline.

    Raises:
        InputError: No model's time was measured.
    """
    front = draw_front(comparison, TIME, (WIDTH - 2 * MARGIN, FRONT_HEIGHT))
    if front is None:
        raise InputError("expected a model with a measured time to draw, found none")
    task, noun = comparison.task, item_noun(comparison)
    heading = f"{metric_title(task.metric)} against time: {task.task}, {task.testset}, {len(task.inputs):,} {noun}s"
    drawing = Drawing(WIDTH, HEADER + FRONT_HEIGHT + MARGIN, heading)
    drawing.add("rect", x=0.5, y=0.5, rx=8, width=WIDTH - 1, height=drawing.height - 1, class_="card")
    drawing.add("text", shortened(heading, MOST), x=MARGIN + 4, y=28, class_="heading")
    _draw_legend(drawing, {model.kind == "causal-lm" for model in comparison.models})
    drawing.nest(front, MARGIN, HEADER)
    return drawing.standalone(resources.files("edgekit.report").joinpath("chart.css").read_text(encoding="utf-8"))


def _draw_legend(drawing: Drawing, kinds: set[bool]) -> None:
    x, y = MARGIN + 10.0, 48
    for is_causal_lm, name in ((False, "encoder–decoder"), (True, "decoder-only"), (None, "green: Pareto front")):
        if is_causal_lm is None:
            drawing.add("line", x1=x - 6, y1=y, x2=x + 8, y2=y, class_="front")
        elif is_causal_lm not in kinds:
            continue
        elif is_causal_lm:
            drawing.add("rect", x=x - 5, y=y - 5, width=10, height=10, class_="marker causal front")
        else:
            drawing.add("circle", cx=x, cy=y, r=5.5, class_="marker seq2seq front")
        drawing.add("text", name, x=x + 14, y=y + 4, class_="note")
        x += text_width(name, 12) + 34
