"""The tables of a `TextReport`, and the lines that say what its figures are: all that is particular to language models.

For each text one table of quality; then one of speed and one of what each bundle costs, which depend on no text.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.bench.cells import MISSING, Rows, interval, spread_cell, timed
from edgekit.bench.text_benchmark import TextReport, TextResult

__all__ = ["text_notes", "text_tables"]


def text_tables(report: TextReport, plus_minus: str) -> Iterator[Rows]:
    """All tables; ``plus_minus`` stands between a median and its furthest round."""
    for text in report.texts:
        results = [result for result in report.results if result.text == text.name]
        yield Rows(
            f"Quality: {text.name}, {text.words} words",
            ("", "perplexity [95 %]", "loss % [95 %]", "bits/byte", "mean KL", "99 % KL", "same top", "tokens"),
            [_quality_cells(_label(result, report), result) for result in results],
        )
    # Results of one bundle differ between texts in quality only.
    bundles = [result for result in report.results if result.text == report.texts[0].name]
    # Models with a shorter context have shorter prompts.
    lengths = sorted({int(length) for result in bundles for length in result.prefill_tokens_per_second})
    yield Rows(
        f"Speed: tokens/s; threads: {report.settings.threads}",
        ("", *(f"prefill {length}" for length in lengths), "decode", "with lookup", "first token ms"),
        [_speed_cells(_label(result, report), result, lengths, plus_minus) for result in bundles],
    )
    yield Rows(
        "Cost of a process",
        ("", "load ms", "import ms", "peak memory MB", "size MB"),
        [_cost_cells(_label(result, report), result, plus_minus) for result in bundles],
    )


def text_notes(report: TextReport) -> Iterator[str]:
    """What was counted and timed, where the weights and texts come from."""
    settings = report.settings
    windows = sorted({(result.context, result.stride) for result in report.results}, reverse=True)
    decoded = sorted({(result.decode_prompt_tokens, result.decode_new_tokens) for result in report.results})
    yield "; ".join(f"perplexity: context {context}, stride {stride}" for context, stride in windows) + (
        f"; intervals: bootstrap over windows, {settings.resamples} resamples, seed {settings.seed}"
    )
    yield "loss, KL and same top: against fp32; KL(fp32 || this) in nats a token; same top: share of tokens"
    yield "; ".join(f"decode: {new} tokens behind a prompt of {prompt}" for prompt, new in decoded) + (
        "; with lookup: the same text, its repetitions drafted"
    )
    yield (f"figures: median of {settings.rounds} rounds (load, import: of {settings.loads}) and the furthest from it")
    sources = {(result.model, result.source, result.source_quantization) for result in report.results}
    for model, source, quantization in sorted(sources, key=str):
        stored = f", quantised already: {quantization}" if quantization else ""
        yield f"{model}: weights from {source}{stored}"
    for text in report.texts:
        yield f"text {text.name}: {text.license}, sha256 {text.sha256[:16]}"


def _label(result: TextResult, report: TextReport) -> str:
    """``smollm2 int8``, ``smollm2 fp32 (dequantised source)``; with what tells it apart from others of that name."""
    others = [other for other in report.results if (other.model, other.precision) == (result.model, result.precision)]
    marks = ["dequantised source"] if result.precision == "fp32" and result.source_quantization else []
    marks += [result.source] if len({other.source for other in others}) > 1 else []
    marks += [result.bundle] if len({other.bundle for other in others}) > 1 else []
    return f"{result.model} {result.precision}" + (f" ({', '.join(marks)})" if marks else "")


def _quality_cells(label: str, result: TextResult) -> tuple[str, ...]:
    return (
        label,
        interval(result.perplexity, result.perplexity_ci95),
        interval(result.perplexity_loss_percent, result.perplexity_loss_percent_ci95),
        f"{result.bits_per_byte:.4f}",
        MISSING if result.mean_kl is None else f"{result.mean_kl:.4f}",
        MISSING if result.p99_kl is None else f"{result.p99_kl:.3f}",
        MISSING if result.top1_agreement is None else f"{100 * result.top1_agreement:.1f} %",
        str(result.tokens),
    )


def _speed_cells(label: str, result: TextResult, lengths: list[int], plus_minus: str) -> tuple[str, ...]:
    rates = result.prefill_tokens_per_second
    prefill = [
        spread_cell(rates[str(length)], result.spread[f"prefill_tokens_per_second_{length}"], plus_minus)
        if str(length) in rates
        else MISSING
        for length in lengths
    ]
    return (
        label,
        *prefill,
        timed(result, "decode_tokens_per_second", plus_minus),
        timed(result, "lookup_tokens_per_second", plus_minus),
        timed(result, "first_token_ms", plus_minus),
    )


def _cost_cells(label: str, result: TextResult, plus_minus: str) -> tuple[str, ...]:
    peak = MISSING if result.peak_rss_mb is None else f"{result.peak_rss_mb:.0f}"
    return (
        label,
        timed(result, "load_ms", plus_minus),
        timed(result, "import_ms", plus_minus),
        peak,
        f"{result.size_mb:.1f}",
    )
