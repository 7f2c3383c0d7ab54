"""A benchmark's report for machines: JSON with a schema version, and CSV.

The keys of ``results`` are the fields of `edgekit.bench.benchmark.Result` where ``task`` is ``translation``, and those
of `edgekit.bench.text_benchmark.TextResult` where it is ``text-generation``; a later edgekit may add keys under the
same schema version, and changes or removes none. Rows for readers are made in `edgekit.bench.table`.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from edgekit.bench.benchmark import Report
from edgekit.bench.text_benchmark import TextReport

__all__ = ["REPORT_SCHEMA_VERSION", "to_csv", "to_dict", "to_json"]

REPORT_SCHEMA_VERSION = 1
# A microsecond, a thousandth of a point: beyond every spread that was ever measured. Divergences are far below 1.
DECIMALS, DECIMALS_OF_TEXTS = 3, 6


def to_dict(report: Report | TextReport) -> dict[str, Any]:
    """The report as JSON values.

    Keys: ``schema_version``, ``task``, ``environment``, ``settings``, ``testsets`` or ``texts``, ``results``,
    ``warnings``.
    """
    environment = asdict(report.environment)
    environment["background_cores_during"] = report.background_cores_during
    environment["probe_ms"] = report.probe_ms
    environment["threads"] = report.settings.threads
    values = {
        "schema_version": REPORT_SCHEMA_VERSION,
        "task": "text-generation" if isinstance(report, TextReport) else "translation",
        "environment": environment,
        "settings": asdict(report.settings),
        **(_describe_texts(report) if isinstance(report, TextReport) else _describe_testsets(report)),
        "results": [asdict(result) for result in report.results],
        "warnings": list(report.warnings),
    }
    rounded = _rounded(values, DECIMALS_OF_TEXTS if isinstance(report, TextReport) else DECIMALS)
    assert isinstance(rounded, dict)
    return rounded


def _describe_testsets(report: Report) -> dict[str, Any]:
    testsets = [
        {
            "name": testset.name,
            "languages": pair,
            "sentences": len(testset),
            "sha256": testset.sha256,
            "license": testset.license,
        }
        for pair, testset in report.testsets
    ]
    return {"testsets": testsets}


def _describe_texts(report: TextReport) -> dict[str, Any]:
    texts = [
        {
            "name": text.name,
            "words": text.words,
            "size_bytes": text.size_bytes,
            "sha256": text.sha256,
            "license": text.license,
        }
        for text in report.texts
    ]
    return {"texts": texts}


def to_json(report: Report | TextReport) -> str:
    """The report as JSON text, ending in a newline; numbers rounded beyond what was ever measured."""
    return json.dumps(to_dict(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(report: Report | TextReport) -> str:
    """The results as CSV, a header and a line each; pairs and mappings have columns of their own."""
    rows = [_flat(result) for result in to_dict(report)["results"]]
    output = io.StringIO()
    # A baseline has no interval, so another row may have the wider header.
    header = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(output, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"ci": [1, 2], "a": {"b": 3}}`` becomes ``{"ci_low": 1, "ci_high": 2, "a_b": 3}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        elif isinstance(value, list):
            flat[f"{prefix}{name}_low"], flat[f"{prefix}{name}_high"] = value
        elif name.endswith("_ci95"):
            flat[f"{prefix}{name}_low"] = flat[f"{prefix}{name}_high"] = None
        else:
            flat[prefix + name] = value
    return flat


def _rounded(value: Any, decimals: int) -> Any:
    if isinstance(value, float):
        return round(value, decimals)
    if isinstance(value, dict):
        return {name: _rounded(inner, decimals) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner, decimals) for inner in value]
    return value
