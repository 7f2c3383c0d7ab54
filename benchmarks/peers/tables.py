"""Rows of figures, and how they are printed."""

from __future__ import annotations

import statistics
from typing import Any

from processes import Engine
from tasks import Task


def summarise(
    setting: dict[str, Any], task: Task, engines: list[Engine], timed: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """A row for each engine: medians and ranges, and the ratio of its time to edgekit's in the same round."""
    rows = []
    for engine in engines:
        seconds = timed[engine.label]
        tokens = sum(len(output) for output in engine.outputs)
        row = setting | {
            "engine": engine.name,
            "precision": engine.precision,
            "version": engine.version,
            "ms_per_sentence": spread([1e3 * s / setting["sentences"] for s in seconds]),
            "chrf": task.chrf(engine.outputs),
            "load_ms": round(1e3 * engine.load_seconds, 1),
            "first_translation_ms": round(1e3 * engine.first_seconds, 1),
            "peak_rss_mb": round(engine.peak_rss_bytes / 1e6, 1),
            "disk_mb": round(engine.disk_bytes / 1e6, 2),
        }
        if not isinstance(engine.outputs[0], str):
            row["tokens_per_sentence"] = round(tokens / setting["sentences"], 2)
            row["tokens_per_second"] = spread([tokens / s for s in seconds])
        if engine.name != "edgekit":
            row["edgekit_is_faster"] = {
                ours.precision: spread([a / b for a, b in zip(seconds, timed[ours.label], strict=True)])
                for ours in engines
                if ours.name == "edgekit" and ours.precision[:4] == engine.precision[:4]
            }
        rows.append(row)
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest, to four digits."""
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def show(figure: dict[str, float]) -> str:
    """``1.05 [0.98-1.10]``."""
    return f"{figure['median']:.2f} [{figure['min']:.2f}-{figure['max']:.2f}]"


def print_rows(rows: list[dict[str, Any]]) -> None:
    """One line a row, under a heading a setting."""
    last = None
    for row in rows:
        setting = tuple(row[name] for name in ("model", "threads", "beams", "batch"))
        if setting != last:
            print("\n{}, threads {}, beams {}, batch {}".format(*setting))
            print(
                f"  {'engine':<22} {'ms a sentence':>22} {'tokens':>6} {'chrF':>5} "
                f"{'load + first ms':>16} {'peak MB':>7} {'disk MB':>7}  edgekit faster by"
            )
        last = setting
        label = f"{row['engine']} {row['precision']}"
        start = f"{row['load_ms']:.0f} + {row['first_translation_ms']:.0f}"
        ratios = ", ".join(f"{form} {show(ratio)}" for form, ratio in row.get("edgekit_is_faster", {}).items())
        chrf = "" if row["chrf"] is None else f"{row['chrf']:.1f}"
        print(
            f"  {label:<22} {show(row['ms_per_sentence']):>22} {row.get('tokens_per_sentence', ''):>6} {chrf:>5} "
            f"{start:>16} {row['peak_rss_mb']:>7.0f} {row['disk_mb']:>7.1f}  {ratios}"
        )
