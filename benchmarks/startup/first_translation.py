"""From nothing to the first translation: ``import edgekit``, load, translate one sentence, in fresh processes.

python benchmarks/startup/first_translation.py BUNDLE [--runs 9] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import onnxruntime

PROGRAM = """
import json, sys, time
start = time.perf_counter()
import edgekit
import edgekit.runtime
imported = time.perf_counter()
translator = edgekit.load(sys.argv[1])
loaded = time.perf_counter()
translator.translate("Good morning! How are you today?")
ended = time.perf_counter()
print(json.dumps({"import_s": imported - start, "load_s": loaded - imported, "first_translation_s": ended - loaded,
                  "total_s": ended - start}))
"""


def main() -> None:
    """Measures, after one run that is not counted; prints one line of JSON with medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    command = [sys.executable, "-c", PROGRAM, arguments.bundle]
    runs = [json.loads(subprocess.check_output(command)) for _ in range(arguments.runs + 1)][1:]
    result = {
        "bundle": Path(arguments.bundle).name,
        "runs": len(runs),
        "median": {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]},
        "total_s_range": [round(bound(run["total_s"] for run in runs), 3) for bound in (min, max)],
        "python": sys.version.split()[0],
        "onnxruntime": onnxruntime.__version__,
        "load_average_1m": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
