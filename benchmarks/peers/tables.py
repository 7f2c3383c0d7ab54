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
        ours = next((timed[label] for label in _ours(engine) if label in timed), None)
        if ours is not None and engine.name != "edgekit":
            row["edgekit_is_faster"] = spread([theirs / mine for theirs, mine in zip(seconds, ours, strict=True)])
        rows.append(row)
    return rows


def _ours(engine: Engine) -> tuple[str, str]:
    return f"edgekit {engine.precision}", "edgekit int8"


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest, to four digits."""
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def show(figure: dict[str, float] | None) -> str:
    """``1.05 [0.98-1.10]``."""
    return f"{figure['median']:.2f} [{figure['min']:.2f}-{figure['max']:.2f}]" if figure else ""


def print_rows(rows: list[dict[str, Any]]) -> None:
    """One line a row, under a heading a setting."""
    last = None
    for row in rows:
        setting = tuple(row[name] for name in ("model", "threads", "beams", "batch"))
        if setting != last:
            print("\n{}, threads {}, beams {}, batch {}".format(*setting))
            print(
                f"  {'engine':<20} {'ms a sentence':>22} {'edgekit faster by':>20} {'tokens':>6} {'chrF':>5} "
                f"{'load + first ms':>16} {'peak MB':>7} {'disk MB':>7}"
            )
        last = setting
        label = f"{row['engine']} {row['precision']}"
        start = f"{row['load_ms']:.0f} + {row['first_translation_ms']:.0f}"
        chrf = "" if row["chrf"] is None else f"{row['chrf']:.1f}"
        print(
            f"  {label:<20} {show(row['ms_per_sentence']):>22} {show(row.get('edgekit_is_faster')):>20} "
            f"{row.get('tokens_per_sentence', ''):>6} {chrf:>5} {start:>16} {row['peak_rss_mb']:>7.0f} "
            f"{row['disk_mb']:>7.1f}"
        )
