"""A benchmark's `Report` for readers: tables on a terminal, the same without lines or colour in a pipe, or Markdown.

For each test set, one table of quality and one of speed; then one of what each bundle costs; then the signature of it
all: CPU, threads, versions, load, metrics, test sets, and the warnings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.bench.benchmark import Report, Result

__all__ = ["print_report", "to_markdown"]

MISSING = "-"


class Rows(NamedTuple):
    """A table's text: all cells are ready to print, the first column is left-aligned."""

    title: str
    header: tuple[str, ...]
    cells: list[tuple[str, ...]]


def print_report(report: Report, console: Console) -> None:
    """Print tables and footer; lines around them only on a terminal, ASCII where the output's encoding is not UTF."""
    plus_minus = "±" if console.encoding.lower().startswith("utf") else "+-"
    for rows in _tables(report, plus_minus):
        console.print(rows.title, style="bold")
        table = Table(box=box.SIMPLE if console.is_terminal else None, padding=(0, 2, 0, 0))
        for position, name in enumerate(rows.header):
            table.add_column(name, justify="right" if position else "left", no_wrap=not position)
        for cells in rows.cells:
            table.add_row(*cells)
        console.print(table)
        console.print()
    for line in _footer(report):
        console.print(line, soft_wrap=True)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


def to_markdown(report: Report) -> str:
    """The same tables and footer as GitHub Markdown, ending in a newline."""
    lines = []
    for rows in _tables(report, "±"):
        lines += [f"**{rows.title}**", "", _markdown_row(rows.header)]
        lines.append(_markdown_row(["---", *["---:"] * (len(rows.header) - 1)]))
        lines += [*map(_markdown_row, rows.cells), ""]
    lines += [f"- {line}" for line in _footer(report)]
    lines += [f"- **warning:** {warning}" for warning in report.warnings]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _tables(report: Report, plus_minus: str) -> Iterator[Rows]:
    for pair, testset in report.testsets:
        results = [result for result in report.results if (result.languages, result.testset) == (pair, testset.name)]
        title = f"{pair}, {testset.name}, {len(testset)} sentences"
        yield Rows(
            f"Quality: {title}",
            ("", "chrF", "loss [95 %]", "BLEU", "loss [95 %]"),
            [*(_quality_cells(_label(result, report), result) for result in results), _floor_cells(results[0])],
        )
        yield Rows(
            f"Speed: {title}; threads: {report.settings.threads}",
            ("", "p50 ms", "p95 ms", "words/s", "words/s batched"),
            [_speed_cells(_label(result, report), result, plus_minus) for result in results],
        )
    bundles = {(result.model, result.precision, result.bundle, result.load_ms): result for result in report.results}
    yield Rows(
        "Cost of a process",
        ("", "load ms", "import ms", "first sentence ms", "peak memory MB", "size MB"),
        [_cost_cells(_label(result, report), result, plus_minus) for result in bundles.values()],
    )


def _label(result: Result, report: Report) -> str:
    """``marian int8``; with what tells it apart where the model has several sources, or the precision bundles."""
    others = [other for other in report.results if other.model == result.model]
    marks = [result.source] if len({other.source for other in others}) > 1 else []
    if len({other.bundle for other in others if other.precision == result.precision}) > 1:
        marks.append(result.bundle)
    return f"{result.model} {result.precision}" + (f" ({', '.join(marks)})" if marks else "")


def _quality_cells(label: str, result: Result) -> tuple[str, ...]:
    return (
        label,
        f"{result.chrf:.2f}",
        _loss(result.chrf_loss, result.chrf_loss_ci95),
        f"{result.bleu:.2f}",
        _loss(result.bleu_loss, result.bleu_loss_ci95),
    )


def _floor_cells(result: Result) -> tuple[str, ...]:
    return ("(copying the source)", f"{result.chrf_floor:.2f}", MISSING, f"{result.bleu_floor:.2f}", MISSING)


def _loss(points: float | None, ci95: tuple[float, float] | None) -> str:
    return MISSING if points is None or ci95 is None else f"{points:.2f} [{ci95[0]:.2f}, {ci95[1]:.2f}]"


def _speed_cells(label: str, result: Result, plus_minus: str) -> tuple[str, ...]:
    return (
        label,
        _timed(result, "latency_ms_p50", plus_minus),
        _timed(result, "latency_ms_p95", plus_minus),
        _timed(result, "words_per_second", plus_minus),
        _timed(result, "words_per_second_batched", plus_minus),
    )


def _cost_cells(label: str, result: Result, plus_minus: str) -> tuple[str, ...]:
    peak = MISSING if result.peak_rss_mb is None else f"{result.peak_rss_mb:.0f}"
    return (
        label,
        _timed(result, "load_ms", plus_minus),
        _timed(result, "import_ms", plus_minus),
        _figure(result.first_translation_ms),
        peak,
        f"{result.size_mb:.1f}",
    )


def _timed(result: Result, name: str, plus_minus: str) -> str:
    """A median with the distance of its furthest round: ``3.41 ±2%``."""
    median, (low, high) = getattr(result, name), result.spread[name]
    return f"{_figure(median)} {plus_minus}{100 * max(median - low, high - median) / median:.0f}%"


def _figure(value: float) -> str:
    """Three digits or all before the point: ``3.41``, ``34.1``, ``3412``."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _footer(report: Report) -> Iterator[str]:
    environment = report.environment
    flags = " ".join(flag for flag in environment.isa_flags if flag in ("avx2", "avx512_vnni", "avx_vnni", "asimddp"))
    yield (
        f"{environment.cpu} ({flags or 'no int8 instructions known'}), {environment.cores_usable} cores usable, "
        f"{environment.memory_bytes / 1e9:.1f} GB, {environment.os}, governor {environment.governor or 'unknown'}"
    )
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items() if version)
    yield f"{versions}, Python {environment.python}"
    load = MISSING if environment.load_average_1m is None else f"{environment.load_average_1m:.2f}"
    yield (
        f"threads {report.settings.threads}; other work {environment.background_cores_before:.2f} cores before, "
        f"{report.background_cores_during:.2f} during; load average {load}"
    )
    for metric, signature in sorted({pair for result in report.results for pair in result.signatures.items()}):
        yield f"{metric}: {signature}"
    settings = report.settings
    yield (
        f"loss: against fp32, paired bootstrap, {settings.resamples} resamples, seed {settings.seed}; "
        f"figures: median of {settings.rounds} rounds (load, import: of {settings.loads}) and the furthest from it"
    )
    for model, source in sorted({(result.model, result.source) for result in report.results}):
        yield f"{model}: weights from {source}"
    for pair, testset in report.testsets:
        yield f"test set {testset.name} ({pair}): {testset.license}, sha256 {testset.sha256[:16]}"
