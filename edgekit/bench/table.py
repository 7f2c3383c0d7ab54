"""A benchmark's report for readers: tables on a terminal, the same without lines or colour in a pipe, or Markdown.

Of translation, for each test set, one table of quality and one of speed; then one of what each bundle costs (those of
text generation are made in `edgekit.bench.text_table`); then the signature of it all: CPU, threads, versions, load,
metrics, test sets, and the warnings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.bench.benchmark import Report, Result
from edgekit.bench.cells import MISSING, Rows, figure, interval, machine_lines, timed
from edgekit.bench.text_benchmark import TextReport
from edgekit.bench.text_table import text_notes, text_tables

__all__ = ["print_report", "to_markdown"]


def print_report(report: Report | TextReport, console: Console) -> None:
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


def to_markdown(report: Report | TextReport) -> str:
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


def _tables(report: Report | TextReport, plus_minus: str) -> Iterator[Rows]:
    return (
        text_tables(report, plus_minus) if isinstance(report, TextReport) else _translation_tables(report, plus_minus)
    )


def _footer(report: Report | TextReport) -> Iterator[str]:
    yield from machine_lines(report)
    yield from text_notes(report) if isinstance(report, TextReport) else _translation_notes(report)


def _translation_tables(report: Report, plus_minus: str) -> Iterator[Rows]:
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
        interval(result.chrf_loss, result.chrf_loss_ci95),
        f"{result.bleu:.2f}",
        interval(result.bleu_loss, result.bleu_loss_ci95),
    )


def _floor_cells(result: Result) -> tuple[str, ...]:
    return ("(copying the source)", f"{result.chrf_floor:.2f}", MISSING, f"{result.bleu_floor:.2f}", MISSING)


def _speed_cells(label: str, result: Result, plus_minus: str) -> tuple[str, ...]:
    return (
        label,
        timed(result, "latency_ms_p50", plus_minus),
        timed(result, "latency_ms_p95", plus_minus),
        timed(result, "words_per_second", plus_minus),
        timed(result, "words_per_second_batched", plus_minus),
    )


def _cost_cells(label: str, result: Result, plus_minus: str) -> tuple[str, ...]:
    peak = MISSING if result.peak_rss_mb is None else f"{result.peak_rss_mb:.0f}"
    return (
        label,
        timed(result, "load_ms", plus_minus),
        timed(result, "import_ms", plus_minus),
        figure(result.first_translation_ms),
        peak,
        f"{result.size_mb:.1f}",
    )


def _translation_notes(report: Report) -> Iterator[str]:
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
