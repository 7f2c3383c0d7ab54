"""Tells a change from noise between two reports of `edgekit bench`, of any kind, on the same text.

A figure has changed where the intervals of the two reports don't overlap and the figures differ by more than runs of
the same thing do (`edgekit.bench.report_figures`). Outputs of a task's report are scored against each other by the
paired bootstrap, which is sharper than two intervals. Where other work ran on the machine, processor time is judged and
the wall clock is not, if both reports have both; how fast the machine itself was is said in one line.

In: two JSON files. Out: a `Change` a figure. Refused, in one line that names the file: what is no such report, two
kinds of report, other text, no model that is in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.bench.comparison import COST_FIGURES
from edgekit.bench.environment import BUSY_CORES
from edgekit.bench.report_figures import Figure, ReportFigures, read_report
from edgekit.errors import InputError
from edgekit.quality.bootstrap import paired_bootstrap
from edgekit.quality.metrics import ALL_METRICS, sentence_statistics

__all__ = ["Change", "Comparability", "compare_reports"]

SIGNIFICANT = 0.05
# Part of the probe's time by which runs on one quiet machine differ.
PROBE_DIFFERS = 0.05
# Other work lengthens what the wall clock says and hardly what the processor's does. Energy is that of all work.
PROCESSOR_TIMES = ("cpu_seconds_per_1000_words", "cpu_seconds_per_1000_words_bulk")
WALL_TIMES = (*(name for name in COST_FIGURES if name not in PROCESSOR_TIMES), "load_ms")


@dataclass(frozen=True)
class Change:
    """One figure of one model in both reports.

    Attributes:
        subject: The model, and the test set where a report has several.
        figure: Its name in the report.
        old: In the first report.
        new: In the second.
        verdict: ``better``, ``worse``, ``noise`` (a difference that is none), ``same``, or ``busy`` (of the wall clock,
            while other work ran: not judged).
    """

    subject: str
    figure: str
    old: float
    new: float
    verdict: str


@dataclass(frozen=True)
class Comparability:
    """The changes, how fast the machine itself was, and sentences on what makes the two reports hard to compare.

    Attributes:
        changes: One a figure.
        machine: A sentence.
        probe_ms: Of both reports; None where a report has none.
        warnings: Sentences.
    """

    changes: tuple[Change, ...]
    machine: str
    probe_ms: tuple[float | None, float | None]
    warnings: tuple[str, ...]


def compare_reports(old: Path, new: Path) -> Comparability:
    """What changed from one report to the other.

    Args:
        old: JSON of ``edgekit bench``.
        new: Another one, of the same kind, on the same text.

    Raises:
        InputError: A file is no such report, or the two have nothing to compare; see the module.
    """
    first, second = read_report(old), read_report(new)
    if first.kind != second.kind:
        raise InputError(
            f"expected two reports of one kind, found {first.kind} in {old} and {second.kind} in {new}; give two alike"
        )
    if first.text != second.text:
        raise InputError(f"{old} and {new} were measured on other text; measure both on the same test set and limit")
    shared = [key for key in first.figures if key in second.figures]
    if not shared:
        raise InputError(f"{old} and {new} have no model in common; give reports on the same models")
    differences = dict(_output_differences(first, second))
    is_busy = max(first.background_cores, second.background_cores) > BUSY_CORES
    changes = []
    for key in shared:
        subject, figure = key
        one, other = first.figures[key], second.figures[key]
        unjudged = is_busy and figure in WALL_TIMES and (subject, PROCESSOR_TIMES[0]) in shared
        verdict = "busy" if unjudged else differences.get(key) or _verdict(figure, one, other)
        changes.append(Change(subject, figure, one.value, other.value, verdict))
    return Comparability(
        tuple(changes),
        _machine(first, second),
        (first.probe_ms, second.probe_ms),
        tuple(_warnings(first, second, any(change.verdict == "busy" for change in changes))),
    )


def _verdict(figure: str, old: Figure, new: Figure) -> str:
    if old.value == new.value:
        return "same"
    overlap = old.low <= new.high and new.low <= old.high
    if overlap or abs(new.value - old.value) <= old.tolerance * abs(old.value):
        return "noise"
    return _direction(figure, new.value - old.value)


def _direction(figure: str, difference: float) -> str:
    more_is_better = figure in ALL_METRICS or "words_per_second" in figure or "tokens_per_second" in figure
    return "better" if (difference > 0) == more_is_better else "worse"


def _output_differences(first: ReportFigures, second: ReportFigures) -> Iterator[tuple[tuple[str, str], str]]:
    """Verdicts on the quality of models whose outputs both reports have."""
    if first.comparison is None or second.comparison is None:
        return
    task, settings = first.comparison.task, first.comparison.settings
    old = {model.name: model.outputs for model in first.comparison.models}
    for model in second.comparison.models:
        for metric in task.metrics if model.name in old else ():
            if old[model.name] == model.outputs:
                yield (model.name, metric), "same"
                continue
            before, after = (
                sentence_statistics(metric, outputs, task.references, task.target_language, task.inputs)
                for outputs in (old[model.name], model.outputs)
            )
            loss = paired_bootstrap(before, after, settings.resamples, settings.seed)
            significant = loss.p_value < SIGNIFICANT
            yield (model.name, metric), _direction(metric, -loss.points) if significant else "noise"


def _machine(first: ReportFigures, second: ReportFigures) -> str:
    old, new = first.probe_ms, second.probe_ms
    unknown = "how fast the machine itself was is not known: "
    if not old or not new:
        without = "the first report has" if new else "the second report has" if old else "the reports have"
        return f"{unknown}{without} no time of the speed probe"
    pythons = [str(report.environment.get("python", "")).rpartition(".")[0] for report in (first, second)]
    if pythons[0] != pythons[1]:
        return f"{unknown}the speed probe is Python's, and was run by {pythons[0]} and {pythons[1]}"
    part = new / old - 1
    how = "as fast" if abs(part) <= PROBE_DIFFERS else "slower" if part > 0 else "faster"
    when = "in both reports" if how == "as fast" else "in the second report"
    took = f"{old:.3g} ms, then {new:.3g} ms ({100 * part:+.1f} %)"
    return f"the machine itself was {how} {when}: the speed probe took {took}"


def _warnings(first: ReportFigures, second: ReportFigures, by_processor: bool) -> Iterator[str]:
    for name in ("cpu", "cores_usable", "governor"):
        old, new = first.environment.get(name), second.environment.get(name)
        if old != new:
            yield f"the two were measured on other machines: {name} {old!r} and {new!r}; times don't compare"
    if first.threads != second.threads:
        yield f"the two were measured with {first.threads} and {second.threads} threads"
    for which, report in (("first", first), ("second", second)):
        if report.background_cores > BUSY_CORES:
            judged = "processor time is judged, not the wall clock's" if by_processor else "times may differ for that"
            yield f"other work used {report.background_cores:.2f} cores beside the {which} report: {judged}"
    for which, report in (("first", first), ("second", second)):
        if report.warnings:
            yield f"the {which} report has {report.warnings} warning{'s' if report.warnings > 1 else ''} of its own"
