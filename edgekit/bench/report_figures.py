"""Reads the figures of a report of `edgekit bench`, of any kind, with their intervals.

In: a JSON file. Out: a `ReportFigures`. Refused, in one line that names the file: what is no such report, one of a
later schema version, one that lacks something.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.bench.comparison import COMPARISON_KIND, COST_FIGURES, ModelResult, TaskComparison, from_json
from edgekit.bench.report import REPORT_SCHEMA_VERSION
from edgekit.errors import InputError

__all__ = ["Figure", "ReportFigures", "read_report"]

MOST_BYTES = 256 * 2**20
# Parts of a figure by which two runs of one program differ though the rounds of each agree: where its memory came to
# lie, what the machine did before. A memory limit is searched to 3 %. Size is what it is.
TIMES_DIFFER, MEMORY_DIFFERS = 0.02, 0.05
# By figure where its interval is: in ``spread``, under a key of its own, nowhere, or as wide as that of the loss.
TRANSLATION_FIGURES = {
    "chrf": "loss", "bleu": "loss", "latency_ms_p50": "spread", "latency_ms_p95": "spread",
    "words_per_second": "spread", "words_per_second_batched": "spread", "load_ms": "spread", "peak_rss_mb": None,
    "size_mb": None,
}  # fmt: skip
TEXT_FIGURES = {
    "perplexity": "perplexity_ci95", "decode_tokens_per_second": "spread", "lookup_tokens_per_second": "spread",
    "first_token_ms": "spread", "load_ms": "spread", "peak_rss_mb": None, "size_mb": None,
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure, the ends of its interval (both the figure where it has none), and by which part runs differ."""

    value: float
    low: float
    high: float
    tolerance: float


@dataclass(frozen=True)
class ReportFigures:
    """What a report says.

    Attributes:
        kind: ``translation``, ``text-generation`` or ``task-comparison``.
        text: What it was measured on; equal for reports that compare.
        figures: By subject (the model, and the test set where a report has several) and name.
        environment: Of the machine, by the report's keys.
        threads: Threads for one inference.
        background_cores: CPU use of other work in cores, before or during the rounds, whichever was more.
        probe_ms: Of the speed probe (`edgekit.bench.environment.Conditions`); None in a report without it.
        warnings: How many the report has.
        comparison: The whole report where its kind is ``task-comparison``.
    """

    kind: str
    text: Any
    figures: Mapping[tuple[str, str], Figure]
    environment: Mapping[str, Any]
    threads: Any
    background_cores: float
    probe_ms: float | None
    warnings: int
    comparison: TaskComparison | None


def read_report(path: Path) -> ReportFigures:
    """The figures of a file that ``edgekit bench --json`` wrote.

    Raises:
        InputError: It is no such file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give a file of edgekit bench --json") from None
    try:
        text = data.decode("utf-8-sig")
        values = json.loads(text) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or "schema_version" not in values:
        raise InputError(f"{path}: expected JSON of edgekit bench, found something else; write one with --json FILE")
    if values.get("report") == COMPARISON_KIND:
        return _read_comparison(from_json(text, str(path)))
    version, task = values["schema_version"], values.get("task")
    if version != REPORT_SCHEMA_VERSION or task not in ("translation", "text-generation"):
        raise InputError(
            f"{path}: expected a report with schema version {REPORT_SCHEMA_VERSION}, found version {version!r} on "
            f"{task!r}; use the edgekit that wrote it"
        )
    try:
        return _read_rows(values)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: a report that lacks or spoils {error}; write it again with --json FILE") from None


def _read_comparison(found: TaskComparison) -> ReportFigures:
    figures: dict[tuple[str, str], Figure] = {}
    for model in found.models:
        figures |= {(model.name, name): figure for name, figure in _model_figures(model).items()}
    task, machine, conditions = found.task, found.environment, found.conditions
    return ReportFigures(
        COMPARISON_KIND,
        (task.task, task.sha256, task.inputs, task.references),
        figures,
        {name: getattr(machine, name) for name in ("cpu", "cores_usable", "governor", "python")},
        found.settings.threads,
        max(machine.background_cores_before, conditions.background_cores),
        conditions.probe_ms,
        len(found.warnings),
        found,
    )


def _model_figures(model: ModelResult) -> dict[str, Figure]:
    figures = {metric: Figure(score.points, *score.ci95, 0.0) for metric, score in model.quality.items()}
    for name in (*COST_FIGURES, "load_ms"):
        if (timed := getattr(model.costs, name)) is not None:
            figures[name] = Figure(timed.median, timed.low, timed.high, TIMES_DIFFER)
    for name in ("peak_mb", "smallest_limit_mb"):
        if (value := getattr(model.memory, name)) is not None:
            figures[name] = Figure(value, value, value, MEMORY_DIFFERS)
    return figures | {"size_mb": Figure(model.size_mb, model.size_mb, model.size_mb, 0.0)}


def _read_rows(values: dict[str, Any]) -> ReportFigures:
    is_text = values["task"] == "text-generation"
    figures = {}
    for row in values["results"]:
        where = row["text"] if is_text else f"{row['languages']} {row['testset']}"
        for name, figure in _row_figures(row, TEXT_FIGURES if is_text else TRANSLATION_FIGURES).items():
            figures[f"{row['model']} {row['precision']} on {where}", name] = figure
    described = values["texts" if is_text else "testsets"]
    text = sorted((entry["name"], entry["sha256"], entry["words" if is_text else "sentences"]) for entry in described)
    environment = values["environment"]
    background = [float(environment.get(f"background_cores_{when}", 0.0)) for when in ("before", "during")]
    probe_ms = environment.get("probe_ms")
    return ReportFigures(
        values["task"],
        text,
        figures,
        environment,
        environment["threads"],
        max(background),
        None if probe_ms is None else float(probe_ms),
        len(values["warnings"]),
        None,
    )


def _row_figures(row: Mapping[str, Any], wanted: Mapping[str, str | None]) -> dict[str, Figure]:
    found = {name: (row[name], interval) for name, interval in wanted.items()}
    for length, rate in row.get("prefill_tokens_per_second", {}).items():
        found[f"prefill_tokens_per_second_{length}"] = rate, "spread"
    figures = {}
    for name, (value, interval) in found.items():
        if value is None:
            continue
        low, high = _interval(row, name, value, interval)
        if not all(map(math.isfinite, (value, low, high))):
            raise ValueError(name)
        tolerance = MEMORY_DIFFERS if name == "peak_rss_mb" else TIMES_DIFFER if interval == "spread" else 0.0
        figures[name] = Figure(float(value), float(low), float(high), tolerance)
    return figures


def _interval(row: Mapping[str, Any], name: str, value: float, interval: str | None) -> tuple[float, float]:
    if interval == "spread":
        low, high = row["spread"][name]
    elif interval == "loss":
        # Of fp32 there is none: the same weights on the same text give the same score.
        low, high = row[f"{name}_loss_ci95"] or (0.0, 0.0)
        low, high = value - (high - low) / 2, value + (high - low) / 2
    else:
        low, high = (value, value) if interval is None else row[interval]
    return low, high
