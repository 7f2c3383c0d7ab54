"""The verdict: which model to buy, and why, in sentences computed from the comparison's figures.

The better encoder-decoder stands against the better decoder-only model where both kinds are there, else the two best
models; the others follow. What lies within the intervals isn't decided. In: a `TaskComparison`. Out: a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekit.bench.comparison import Floor, ModelResult, TaskComparison
from edgekit.report.costs import MEMORY, MONEY, TIME, Cost
from edgekit.report.estimate import Order
from edgekit.report.fronts import standings_of
from edgekit.report.numbers import megabytes, milliseconds, points
from edgekit.report.pairs import Pairs
from edgekit.report.pareto import Standing
from edgekit.report.relation import Outcome, Relation, relate
from edgekit.report.wording import listed, metric_title, say_relation

__all__ = ["Verdict", "kind_title", "reach_verdict"]


@dataclass(frozen=True)
class Verdict:
    """What the comparison says.

    Attributes:
        headline: One sentence.
        lead: What it rests on: the two models it's about, the limits, who does no better than doing nothing.
        further: The other models, and the front.
        relation: The two models that the headline is about; None where there's only one.
    """

    headline: str
    lead: tuple[str, ...]
    further: tuple[str, ...]
    relation: Relation | None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All but the headline, the most important first."""
        return (*self.lead, *self.further)


def kind_title(model: ModelResult) -> str:
    """``decoder-only model`` or ``encoder–decoder``."""
    return "decoder-only model" if model.kind == "causal-lm" else "encoder–decoder"


def reach_verdict(comparison: TaskComparison) -> Verdict:
    """The verdict on a comparison of at least one model."""
    pairs, metric = Pairs(comparison), comparison.task.metric
    context = (*_say_fits(comparison), *_say_floors(comparison))
    if len(comparison.models) == 1:
        (model,) = comparison.models
        return Verdict(f"{model.name} was measured alone: there's nothing to compare it with.", context, (), None)
    costs = (TIME, MEMORY, *([MONEY] if any(map(MONEY.read, comparison.models)) else []))
    one, other = _contenders(comparison, pairs)
    relation = relate(one, other, pairs, costs)
    rest = [model for model in comparison.models if model not in (one, other)]
    further = [say_relation(_beside(model, relation, pairs, costs), pairs, metric) for model in rest]
    return Verdict(
        _headline(comparison, relation),
        (say_relation(relation, pairs, metric), *context),
        (*further, *([_say_front(comparison)] if rest else [])),
        relation,
    )


def _contenders(comparison: TaskComparison, pairs: Pairs) -> tuple[ModelResult, ModelResult]:
    """The best of each kind, or the two best where all are of one kind."""
    kinds: dict[str, list[ModelResult]] = {}
    for model in comparison.models:
        kinds.setdefault(model.kind, []).append(model)
    if len(kinds) == 2:
        first, second = (_best(models, comparison, pairs) for models in kinds.values())
        return first, second
    best = _best(comparison.models, comparison, pairs)
    return best, _best([model for model in comparison.models if model is not best], comparison, pairs)


def _best(models: Sequence[ModelResult], comparison: TaskComparison, pairs: Pairs) -> ModelResult:
    """The fastest of those that aren't measurably worse than the best; those that fit come before those that don't."""
    metric = comparison.task.metric
    able = [model for model in models if model.fit is None or model.fit.fits] or models
    top = max(able, key=lambda model: model.quality[metric].points)
    as_good = [model for model in able if model is top or pairs.better(top, model) is Order.UNCLEAR]
    return min(as_good, key=lambda model: model.costs.latency_ms_p50.median)


def _beside(model: ModelResult, contest: Relation, pairs: Pairs, costs: Sequence[Cost]) -> Relation:
    """A further model beside the contender that beats it in everything, else beside the one of its kind."""
    relations = [relate(contender, model, pairs, costs) for contender in (contest.first, contest.second)]
    for relation in relations:
        if relation.outcome is Outcome.WINS and relation.second is model:
            return relation
    return relations[1] if contest.second.kind == model.kind != contest.first.kind else relations[0]


def _headline(comparison: TaskComparison, relation: Relation) -> str:
    first, second = relation.first, relation.second
    if not any(_passed(model, comparison) for model in comparison.models):
        names = listed([floor.name for floor in comparison.floors])
        return f"None of these models does the task: none is clearly better than {names}."
    if all(model.fit is not None and not model.fit.fits for model in comparison.models):
        return f"None of these models runs {_limits(first)}."
    for model, beside in ((first, second), (second, first)):
        if model.fit and beside.fit and model.fit.fits and not beside.fit.fits:
            return f"Only {_with_kind(model, beside)} runs {_limits(model)}."
    if relation.outcome is Outcome.WINS:
        return f"{_with_kind(first, second)} is the better buy."
    # What is cheap and doesn't do the task is no bargain.
    for model, beside in ((first, second), (second, first)):
        if _passed(model, comparison) and not _passed(beside, comparison):
            return f"Only {_with_kind(model, beside)} does the task: {beside.name} is not clearly better than no model."
    if relation.outcome is Outcome.TRADE:
        return f"It depends on what counts: {first.name} is better, {second.name} is cheaper{_partly(relation)}."
    if relation.outcome is Outcome.CHEAPER:
        return f"{_with_kind(first, second)} is cheaper; that {second.name} is better can't be shown."
    if relation.outcome is Outcome.MIXED:
        names = f"{first.name} and {second.name}"
        return f"It depends on what counts: {names} each save something, and neither is shown to be better."
    if relation.outcome is Outcome.ALIKE:
        return f"These figures don't tell {first.name} and {second.name} apart."
    return f"{first.name} and {second.name}: their quality wasn't compared."


def _partly(relation: Relation) -> str:
    """Which costs speak for the second, where not all do."""
    dearer = [cost.noun for cost, order in relation.costs.items() if order is Order.HIGHER]
    return f" in {listed(dearer)}" if Order.LOWER in relation.costs.values() else ""


def _with_kind(model: ModelResult, beside: ModelResult) -> str:
    """The name, and what kind of model it is where the other is of another kind."""
    return model.name if model.kind == beside.kind else f"{model.name}, the {kind_title(model)},"


def _say_floors(comparison: TaskComparison) -> Iterator[str]:
    """Of each floor the models that aren't above it, but for those that aren't above a higher one."""
    metric, said = comparison.task.metric, set[str]()
    for floor in sorted(comparison.floors, key=lambda floor: -floor.quality[metric].points):
        under = [model for model in comparison.models if model.name not in said and not _above(model, floor, metric)]
        said |= {model.name for model in under}
        if under:
            names = listed([f"{model.name} ({points(model.quality[metric].points)})" for model in under])
            yield (
                f"{names} {'is' if len(under) == 1 else 'are'} not clearly above {floor.name} "
                f"({points(floor.quality[metric].points)} {metric_title(metric)}), which needs no model."
            )


def _say_front(comparison: TaskComparison) -> str:
    by_standing: dict[Standing, list[str]] = {}
    for model, standing in zip(comparison.models, standings_of(comparison, TIME), strict=True):
        by_standing.setdefault(standing, []).append(model.name)
    named = [
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} {standing.value}"
        for standing in Standing
        if (names := by_standing.get(standing))
    ]
    return f"Of {metric_title(comparison.task.metric)} against time, {'; '.join(named)}."


def _say_fits(comparison: TaskComparison) -> Iterator[str]:
    tried = [(model, model.fit) for model in comparison.models if model.fit is not None]
    running = [
        model.name if fit.latency_ms_p50 is None else f"{model.name} ({milliseconds(fit.latency_ms_p50)})"
        for model, fit in tried
        if fit.fits
    ]
    if running:
        yield f"{listed(running)} run{'s' if len(running) == 1 else ''} {_limits(tried[0][0])}."
    failing: dict[str | None, list[str]] = {}
    for model, fit in tried:
        if not fit.fits:
            failing.setdefault(fit.reason, []).append(model.name)
    for reason, names in failing.items():
        yield f"{listed(names)} {'does' if len(names) == 1 else 'do'} not run {_limits(tried[0][0])}: {reason}."


def _limits(model: ModelResult) -> str:
    """``within 512 MB and on 1 core``."""
    assert model.fit is not None, "asked only of models that were tried"
    parts = [] if model.fit.memory_mb is None else [f"within {megabytes(model.fit.memory_mb)}"]
    if model.fit.cores is not None:
        parts.append(f"on {model.fit.cores} core{'s' if model.fit.cores > 1 else ''}")
    return " and ".join(parts)


def _passed(model: ModelResult, comparison: TaskComparison) -> bool:
    return all(_above(model, floor, comparison.task.metric) for floor in comparison.floors)


def _above(model: ModelResult, floor: Floor, metric: str) -> bool:
    """Whether a model's interval lies above a floor's."""
    return model.quality[metric].ci95[0] > floor.quality[metric].ci95[1]
