"""The tables of a report, in no form yet: the overview, quality, pairs, costs.

In: a `TaskComparison`. Out: `Table`s, which `page`, `terminal` and `markdown` each write in their way.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.bench.comparison import ModelResult, TaskComparison
from edgekit.report.cells import MISSING, Cell, Figure, Row, Table, cell, figure_cell, interval_cell, span_cell
from edgekit.report.costs import CPU, MEMORY, MONEY, TIME, Cost, item_noun, timed
from edgekit.report.estimate import Estimate, Order
from edgekit.report.fronts import standings_of
from edgekit.report.numbers import amount, factor, megabytes, milliseconds, p_text, points, signed
from edgekit.report.pairs import Pairs
from edgekit.report.wording import metric_title

# From so many rounds on `TimedFigure` has the median's interval; of fewer, the smallest and the largest.
ROUNDS_OF_AN_INTERVAL = 6

__all__ = ["cost_table", "overview_table", "pair_table", "quality_table", "report_tables"]


def report_tables(comparison: TaskComparison) -> tuple[Table, ...]:
    """All of them, in the order in which they are read."""
    tables = [overview_table(comparison), quality_table(comparison)]
    if comparison.pairs:
        tables.append(pair_table(comparison))
    return (*tables, cost_table(comparison))


def overview_table(comparison: TaskComparison) -> Table:
    """What the verdict rests on: a row a figure, a column a model."""
    metric, models = comparison.task.metric, comparison.models
    pairs = Pairs(comparison)
    scores = [model.quality[metric] for model in models]
    quality = [
        interval_cell(
            Estimate.of(score.points, score.ci95), points, _is_best(model, comparison, pairs.better, Order.HIGHER)
        )
        for model, score in zip(models, scores, strict=True)
    ]
    rows = [Row(f"{metric_title(metric)} [95 %]", tuple(quality))]
    rows += [_cost_row(cost, comparison, pairs) for cost in (TIME, MEMORY, MONEY) if any(map(cost.read, models))]
    if len(models) > 1:
        standings = standings_of(comparison, TIME)
        rows.append(Row("Pareto front, with time", tuple(cell(standing.value) for standing in standings)))
    title = (
        f"{comparison.task.task}: {comparison.task.testset}, {len(comparison.task.inputs):,} {item_noun(comparison)}s"
    )
    note = "Bold: better than all others beyond the intervals." if len(models) > 1 else ""
    return Table(title, tuple(model.name for model in models), tuple(rows), note)


def quality_table(comparison: TaskComparison) -> Table:
    """Every metric with its interval, the floors below the models."""
    metrics = tuple(comparison.task.metrics)
    scored = [(model.name, model.quality) for model in comparison.models]
    scored += [(floor.name, floor.quality) for floor in comparison.floors]
    rows = [
        Row(name, tuple(interval_cell(Estimate.of(quality[m].points, quality[m].ci95), points) for m in metrics))
        for name, quality in scored
    ]
    return Table("Quality", tuple(f"{metric_title(metric)} [95 %]" for metric in metrics), tuple(rows))


def pair_table(comparison: TaskComparison) -> Table:
    """Each two models: difference in the task's metric with its p, ratio of time and memory."""
    metric, pairs = comparison.task.metric, Pairs(comparison)
    by_name = {model.name: model for model in comparison.models}
    costs = [cost for cost in (TIME, MEMORY, MONEY) if any(map(cost.read, comparison.models))]
    rows = []
    for pair in comparison.pairs:
        first, second = by_name[pair.first], by_name[pair.second]
        found = pair.quality.get(metric)
        cells = [MISSING, MISSING]
        if found is not None:
            cells = [
                interval_cell(Estimate.of(found.points, found.ci95), signed),
                Cell((Figure(found.p_value, p_text(found.p_value)),)),
            ]
        cells += [interval_cell(pairs.ratio(first, second, cost), factor) for cost in costs]
        rows.append(Row(f"{pair.first} : {pair.second}", tuple(cells)))
    title = metric_title(metric)
    header = (f"{title}, difference [95 %]", "p", *(f"{cost.noun}, ratio" for cost in costs))
    note = "The first against the second. Ratios are of rounds that ran side by side. p is of each pair by itself."
    return Table("Each two models", header, tuple(rows), note)


def cost_table(comparison: TaskComparison) -> Table:
    """Everything that a model costs: a row a figure, a column a model; rows that nobody has are left out."""
    pairs, item, models = Pairs(comparison), item_noun(comparison), comparison.models
    rows = [_cost_row(TIME, comparison, pairs)]
    for heading, name, form in _timed_rows(item):
        rows.append(Row(heading, tuple(span_cell(timed(getattr(model.costs, name)), form) for model in models)))
    rows += [
        _cost_row(CPU, comparison, pairs),
        _cost_row(MONEY, comparison, pairs),
        _cost_row(MEMORY, comparison, pairs),
        *(Row(heading, tuple(figure_cell(read(model), megabytes) for model in models)) for heading, read in SIZES),
        Row("loading", tuple(span_cell(timed(model.costs.load_ms), milliseconds) for model in models)),
        Row("fits the limits asked for", tuple(_fit_cell(model) for model in models)),
    ]
    kept = [row for row in rows if any(found != MISSING for found in row.cells)]
    rounds = comparison.settings.rounds
    spans = "95 % interval of the median over" if rounds >= ROUNDS_OF_AN_INTERVAL else "range of"
    note = f"In parentheses: the {spans} {rounds} rounds. Words are the source's. MB: a million bytes."
    return Table("Costs", tuple(model.name for model in models), tuple(kept), note)


SIZES: tuple[tuple[str, Callable[[ModelResult], float | None]], ...] = (
    ("peak memory, in bulk", lambda model: model.memory.peak_mb),
    ("smallest memory limit it runs under", lambda model: model.memory.smallest_limit_mb),
    ("size on disk", lambda model: model.size_mb),
)


def _timed_rows(item: str) -> tuple[tuple[str, str, Callable[[float], str]], ...]:
    """Heading, field of `Costs` and form of what is timed besides the median latency."""
    return (
        (f"95th percentile of a {item}", "latency_ms_p95", milliseconds),
        ("time to first output", "first_output_ms", milliseconds),
        ("time a word", "ms_per_word", milliseconds),
        ("words/s, one at a time", "words_per_second", amount),
        ("words/s, in bulk", "words_per_second_bulk", amount),
        (
            "CPU seconds for 1,000 words, one at a time",
            "cpu_seconds_per_1000_words",
            lambda value: milliseconds(1e3 * value),
        ),
        ("energy of 1,000 words (CPU packages)", "joules_per_1000_words", lambda value: f"{amount(value)} J"),
    )


def _cost_row(cost: Cost, comparison: TaskComparison, pairs: Pairs) -> Row:
    def cheaper(one: ModelResult, other: ModelResult) -> Order:
        return pairs.cheaper(one, other, cost)

    cells = [
        span_cell(cost.read(model), cost.format, _is_best(model, comparison, cheaper, Order.LOWER))
        for model in comparison.models
    ]
    return Row(cost.title.format(item=item_noun(comparison)), tuple(cells))


def _is_best(
    model: ModelResult,
    comparison: TaskComparison,
    order: Callable[[ModelResult, ModelResult], Order],
    wanted: Order,
) -> bool:
    others = [other for other in comparison.models if other is not model]
    return bool(others) and all(order(model, other) is wanted for other in others)


def _fit_cell(model: ModelResult) -> Cell:
    fit = model.fit
    if fit is None:
        return MISSING
    if not fit.fits:
        return cell(f"no: {fit.reason}")
    if fit.latency_ms_p50 is None:
        return cell("yes")
    return Cell(("yes, ", Figure(fit.latency_ms_p50, milliseconds(fit.latency_ms_p50))))
