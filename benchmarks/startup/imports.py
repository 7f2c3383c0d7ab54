"""How long `import edgekit.runtime` takes beyond what it is built on: onnxruntime, numpy and tokenizers.

    python benchmarks/startup/imports.py [--rounds 11] [--json FILE]

In: nothing. Out: medians of processes that take turns, in ms: one imports the three libraries, the other the three and
then edgekit's runtime with all of its modules. The difference is edgekit's own; Python's start is in neither figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

LIBRARIES = "import onnxruntime, numpy, tokenizers"
OWN = "import edgekit.runtime, edgekit.runtime.text_generator"
TIMED = """
import time
start = time.process_time()
{libraries}
middle = time.process_time()
{own}
print(middle - start, time.process_time() - middle)
"""


def main() -> int:
    """Prints the figures; 1 if edgekit's own import takes more than 100 ms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    code = TIMED.format(libraries=LIBRARIES, own=OWN)
    rounds = []
    for _ in range(options.rounds):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        rounds.append([1000 * float(seconds) for seconds in done.stdout.split()])
    libraries, own = (statistics.median(column) for column in zip(*rounds, strict=True))
    found = {
        "rounds": options.rounds,
        "libraries_ms": round(libraries, 1),
        "edgekit_ms": round(own, 1),
        "edgekit_ms_range": [round(min(row[1] for row in rounds), 1), round(max(row[1] for row in rounds), 1)],
    }
    print(json.dumps(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(own > 100)


if __name__ == "__main__":
    sys.exit(main())
