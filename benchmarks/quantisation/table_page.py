"""A model's results as a Markdown page: one row a scheme, what was refused, what a mix is made of, and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MISSING = "-"


def to_markdown(report: Mapping[str, Any]) -> str:
    """The page of one model's results, as `tables` keeps them."""
    rows = report["bundles"]
    columns = _columns(rows)
    lines = [f"# {report['model']}", "", f"| scheme | MB | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name, row in rows.items():
        shown = f"**{name}** (plain int8)" if name == report["plain_int8"] else name
        cells = [_cell(row, *column) for column in columns.values()]
        lines.append(f"| {shown} | {row['size_mb']:.1f} | {' | '.join(cells)} |")
    lines += ["", _caption(report), ""]
    lines += [f"- `{name}` is refused: {reason}." for name, reason in report["refused"].items()]
    for name, row in rows.items():
        if "mix" in row:
            counts = ", ".join(f"{count} in {of_format}" for of_format, count in row["mix"].items())
            lines.append(f"- `{name}`, found by `edgekit quantize --search`: of its tensors {counts}.")
    return "\n".join(lines).rstrip() + "\n"


def _columns(rows: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """(section, test set or "", figure) by title, those that any row has."""
    found = {}
    tests = next(iter(rows.values()))["quality"]
    for test in tests:
        found |= {
            f"chrF, {test}": ("quality", test, "chrf"),
            f"chrF lost, {test}": ("quality", test, "chrf_loss"),
            "perplexity": ("quality", test, "perplexity"),
            "perplexity lost, %": ("quality", test, "perplexity_loss_percent"),
            "KL, nats": ("quality", test, "kl"),
            "same top token": ("quality", test, "same_top"),
        }
    for test in tests:
        found[f"ms p50, {test}"] = ("speed", test, "ms_p50")
        found[f"words/s in batches, {test}"] = ("speed", test, "words_per_second_batched")
    found["decode, tokens/s"] = ("speed", "", "decode_tokens_per_second")
    found["prefill, tokens/s"] = ("speed", "", "prefill_tokens_per_second")
    return {title: at for title, at in found.items() if any(_cell(row, *at) != MISSING for row in rows.values())}


def _cell(row: Mapping[str, Any], section: str, test: str, figure: str) -> str:
    values = row.get(section) or {}
    values = values.get(test, {}) if test else values
    if figure not in values:
        return MISSING
    digits = {"kl": 4, "same_top": 3, "words_per_second_batched": 0, "prefill_tokens_per_second": 0}.get(figure, 2)
    shown = f"{values[figure]:.{digits}f}"
    if (bounds := values.get(f"{figure}_ci95")) is not None:
        shown += f" [{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
    return shown


def _caption(report: Mapping[str, Any]) -> str:
    tests = next(iter(report["bundles"].values()))["quality"]
    amounts = "; ".join(
        f"{figures[unit]:,} {unit} of {test}"
        for test, figures in tests.items()
        for unit in ("sentences", "tokens")
        if unit in figures
    )
    caption = f"Quality on {amounts}; losses against fp32 with 95 % intervals by paired bootstrap."
    if (machine := report.get("machine")) is None:
        return f"{caption} Time not measured yet."
    warning = f" Warning: {machine['warning']}." if machine["warning"] else ""
    return (
        f"{caption} Time on one thread of {machine['cpu']}, medians of {machine['rounds']} rounds, side by side; "
        f"{machine['background_cores_during']:.2f} other cores were busy.{warning}"
    )
