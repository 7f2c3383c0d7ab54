"""Example outputs: where one model beats another the most, where they are furthest apart the other way, and between.

Items are ordered by the difference of their own scores in the task's metric, which are rougher than the test set's:
they choose what to read, nothing else. In: a `TaskComparison` and two of its models. Out: `Example`s.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bench.comparison import ModelResult, TaskComparison
from edgekit.quality.metrics import sentence_statistics

__all__ = ["Example", "Output", "choose_examples"]


@dataclass(frozen=True)
class Output:
    """What a model gave for an item, and that item's own score."""

    model: ModelResult
    text: str
    score: float


@dataclass(frozen=True)
class Example:
    """An item.

    Attributes:
        title: Why it's shown.
        position: Its number in the test set, from 1.
        source: The input.
        references: Texts that would be right.
        outputs: One for each model, in the comparison's order.
    """

    title: str
    position: int
    source: str
    references: tuple[str, ...]
    outputs: tuple[Output, ...]


def choose_examples(comparison: TaskComparison, first: ModelResult, second: ModelResult) -> tuple[Example, ...]:
    """The items with the largest, the median and the smallest difference between two models; fewer of a tiny set."""
    scores = {model.name: _item_scores(comparison, model) for model in comparison.models}
    count = len(comparison.task.inputs)
    # Position settles ties: the same comparison shows the same examples.
    order = sorted(range(count), key=lambda item: (scores[second.name][item] - scores[first.name][item], item))
    titles = {
        order[count // 2]: "The median",
        order[-1]: f"Where {second.name} does best beside {first.name}",
        order[0]: f"Where {first.name} does best beside {second.name}",
    }
    shown = list(dict.fromkeys((order[0], order[count // 2], order[-1])))
    return tuple(
        Example(
            titles[item],
            item + 1,
            comparison.task.inputs[item],
            comparison.task.references[item],
            tuple(Output(model, model.outputs[item], scores[model.name][item]) for model in comparison.models),
        )
        for item in shown
    )


def _item_scores(comparison: TaskComparison, model: ModelResult) -> list[float]:
    task = comparison.task
    statistics = sentence_statistics(task.metric, model.outputs, task.references, task.target_language, task.inputs)
    return [statistics.score_sum(row) for row in statistics.rows]
