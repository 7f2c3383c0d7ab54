"""The standings of a comparison's models, and the picture of them, for any one cost.

In: a `TaskComparison` and a `Cost`. Out: `Standing`s, or a `Drawing`; None where too little was measured for a picture.
"""

from __future__ import annotations

from edgekit.bench.comparison import TaskComparison
from edgekit.report.costs import Cost, item_noun
from edgekit.report.drawing import Drawing
from edgekit.report.estimate import Estimate
from edgekit.report.pairs import Pairs
from edgekit.report.pareto import Standing, front_by_figures, standings
from edgekit.report.scatter import Floor, Point, draw_scatter
from edgekit.report.wording import metric_title

__all__ = ["draw_front", "floor_lines", "quality_of", "standings_of"]


def standings_of(comparison: TaskComparison, cost: Cost) -> list[Standing]:
    """The standing of each model, of quality against a cost."""
    models, pairs = comparison.models, Pairs(comparison)
    return standings(
        len(models),
        lambda one, other: pairs.better(models[one], models[other]),
        lambda one, other: pairs.cheaper(models[one], models[other], cost),
    )


def quality_of(comparison: TaskComparison) -> list[Estimate]:
    """The models' quality in the task's metric, with their intervals."""
    scores = [model.quality[comparison.task.metric] for model in comparison.models]
    return [found for score in scores if (found := Estimate.of(score.points, score.ci95)) is not None]


def floor_lines(comparison: TaskComparison) -> list[Floor]:
    """The floors in the task's metric."""
    return [Floor(floor.name, floor.quality[comparison.task.metric].points) for floor in comparison.floors]


def draw_front(comparison: TaskComparison, cost: Cost, size: tuple[int, int]) -> Drawing | None:
    """Quality against a cost; models whose cost wasn't measured are left out, and None if that's all of them."""
    rows = [
        (model, standing, quality, found)
        for model, standing, quality in zip(
            comparison.models, standings_of(comparison, cost), quality_of(comparison), strict=True
        )
        if (found := cost.read(model)) is not None and found.low > 0
    ]
    if not rows:
        return None
    on_line = front_by_figures([quality for _, _, quality, _ in rows], [found for _, _, _, found in rows])
    points = [
        Point(model.name, model.kind == "causal-lm", found, quality, standing, on)
        for (model, standing, quality, found), on in zip(rows, on_line, strict=True)
    ]
    title = cost.title.format(item=item_noun(comparison))
    metric = metric_title(comparison.task.metric)
    return draw_scatter(points, floor_lines(comparison), metric, title, cost.format, size)
