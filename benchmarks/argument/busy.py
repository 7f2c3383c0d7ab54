"""Do the ratios between two models hold on a busy machine? The same comparison alone, and beside a process that spins.

    python benchmarks/argument/busy.py MODEL MODEL --task translate:en-de --limit 60 --json FILE

In: two bundles and what `edgekit bench --task` takes; with ``--one-core`` all processes share one, so that the second
measurement gets half of it. Out: the warnings of each report, and each ratio's median and interval in both; exit status
1 if the busy report does not say so, or a ratio's two intervals have nothing in common. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RATIOS = (
    "latency_ms_p50",
    "latency_ms_p95",
    "ms_per_word",
    "words_per_second",
    "words_per_second_bulk",
    "cpu_seconds_per_1000_words",
    "cpu_seconds_per_1000_words_bulk",
)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The report of one measurement."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [sys.executable, "-m", "edgekit", "bench", "--cpu", *options.models, "--task", options.task]
        command += ["--testset", options.testset, "--limit", options.limit, "--timed", options.timed, "--json", report]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        return json.loads(report.read_text(encoding="utf-8"))


def described(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a report."""
    (pair,) = report["pairs"]
    return {
        "models": [pair["first"], pair["second"]],
        "background_cores": report["conditions"]["background_cores"],
        "latency_ms_p50": [model["costs"]["latency_ms_p50"]["median"] for model in report["models"]],
        "ratios": {name: pair["ratios"][name] for name in RATIOS},
        "warnings": report["warnings"],
    }


def main() -> int:
    """Prints and writes both; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2)
    parser.add_argument("--task", required=True)
    parser.add_argument("--testset", default="tatoeba")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--timed", type=int, default=20)
    parser.add_argument("--one-core", action="store_true", help="the measured and the spinning process share a core")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of the processes that follow, too
    alone = described(measure(options))
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        busy = described(measure(options))
    finally:
        spinning.kill()
        spinning.wait()
    both = {name: (alone["ratios"][name], busy["ratios"][name]) for name in RATIOS}
    held = {name: one["low"] <= other["high"] and other["low"] <= one["high"] for name, (one, other) in both.items()}
    said = any(warning.startswith("other work used") for warning in busy["warnings"])
    found = {"alone": alone, "busy": busy, "the_busy_report_says_so": said, "intervals_overlap": held}
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    return int(not said or not all(held.values()))


if __name__ == "__main__":
    sys.exit(main())
