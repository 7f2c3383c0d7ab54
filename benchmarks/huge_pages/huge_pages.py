"""Bundles with their weights in huge pages and without: speed on one thread, time to load, memory.

    python benchmarks/huge_pages/huge_pages.py BUNDLE [BUNDLE ...] [--rounds 7] [--json FILE]

In: bundles' directories. Out: for each, medians of processes that take turns: ``per_second``, texts translated or
tokens written greedily a second of processor time; `edgekit.load` in ms, files verified before and in the page cache;
the process's resident memory and its huge pages in MB; and the ratio of a round's two speeds, median, least, largest.
Linux only; where it gives every program huge pages (``always``) or none (``never``) there is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from edgekit.bench.environment import read_environment

WORK = """
import contextlib, json, sys, threading, time
import edgekit
from edgekit.quality.parallel_text import load_testset
from edgekit.runtime import session, text_generator
if sys.argv[2] == "without":
    session.in_huge_pages = contextlib.nullcontext
start = time.perf_counter()
model = edgekit.load(sys.argv[1])
load_ms = 1000 * (time.perf_counter() - start)
texts = load_testset("flores-dev", "en", "de").sources[:24]
def tokens(count):
    began = time.thread_time()
    model.generate(texts[0], max_new_tokens=count)
    return time.thread_time() - began
def speed():
    if isinstance(model, text_generator.TextGenerator):
        return 64 / (tokens(65) - tokens(1))
    began = time.thread_time()
    for text in texts:
        model.translate(text)
    return len(texts) / (time.thread_time() - began)
speed()
for thread in threading.enumerate():  # what is made huge beside the first run
    if thread is not threading.current_thread():
        thread.join()
found = {"per_second": max(speed() for _ in range(2)), "load_ms": load_ms}
for line in open("/proc/self/smaps_rollup").read().splitlines()[1:]:
    name, size = line.split()[:2]
    if name in ("Rss:", "AnonHugePages:"):
        found[{"Rss:": "resident_mb", "AnonHugePages:": "huge_mb"}[name]] = int(size) / 1024
print(json.dumps(found))
"""
FORMS = ("with", "without")


def main() -> None:
    """Prints a line for each bundle and form, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {bundle.name: measure(bundle, options.rounds) for bundle in options.bundles}
    if options.json:
        setting = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii").strip()
        report = {"environment": asdict(read_environment()), "setting": setting, "rounds": options.rounds, "rows": rows}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(bundle: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of each form of one bundle, and how many times as fast it is with huge pages."""
    found: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
    for _ in range(rounds):
        for form in FORMS:
            command = [sys.executable, "-c", WORK, str(bundle), form]
            found[form].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    medians = {
        form: {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
        for form, rows in found.items()
    }
    ratios = [a["per_second"] / b["per_second"] for a, b in zip(found["with"], found["without"], strict=True)]
    faster = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    medians["faster"] = {name: round(value, 3) for name, value in faster.items()}
    for form, row in medians.items():
        print(f"{bundle.name:28} {form:8} {json.dumps(row)}", flush=True)
    return medians


if __name__ == "__main__":
    main()
