"""One thread against two, one sentence at a time and in batches, interleaved; what `DEFAULT_THREADS` rests on.

python benchmarks/threads/threads.py BUNDLE [BUNDLE ...] [--threads 1 2] [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime

import edgekit

SENTENCES = (Path(__file__).parents[1] / "parity" / "firefox" / "sentences.en").read_text("utf-8").splitlines()
ONE_AT_A_TIME = 40


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measures each bundle; prints one line of JSON a bundle: medians in milliseconds a sentence, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    results = []
    for bundle in arguments.bundles:
        translators = {threads: edgekit.load(bundle, threads) for threads in arguments.threads}
        times: dict[int, dict[str, list[float]]] = {threads: {"one": [], "batched": []} for threads in translators}
        for _ in range(arguments.rounds + 1):
            for threads, translator in translators.items():
                few = SENTENCES[:ONE_AT_A_TIME]
                one = seconds(lambda few=few, t=translator: [t.translate(sentence) for sentence in few])
                times[threads]["one"].append(one / len(few) * 1e3)
                batched = seconds(lambda t=translator: t.translate(SENTENCES))
                times[threads]["batched"].append(batched / len(SENTENCES) * 1e3)
        medians = {
            str(threads): {name: round(statistics.median(values[1:]), 2) for name, values in kinds.items()}
            for threads, kinds in times.items()
        }
        results.append({"bundle": Path(bundle).name, "rounds": arguments.rounds, "ms_per_sentence_by_threads": medians})
        print(json.dumps(results[-1]), flush=True)
    if arguments.json:
        environment = {
            "python": sys.version.split()[0],
            "onnxruntime": onnxruntime.__version__,
            "cores": os.cpu_count(),
            "load_average_1m": round(os.getloadavg()[0], 2),
        }
        text = json.dumps({"environment": environment, "results": results}, indent=2) + "\n"
        arguments.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
