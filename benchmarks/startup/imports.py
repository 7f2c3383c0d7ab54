"""How long `import edgekit.runtime` takes beyond what it is built on: onnxruntime, numpy and tokenizers.

    python benchmarks/startup/imports.py [--rounds 11] [--json FILE]

In: nothing. Out: medians over processes, in ms of processor time: each imports the three libraries, and then edgekit's
runtime with all of its modules. Python's start is in neither figure. Bytecode is there, as pip leaves it when it
installs: a first round, which isn't counted, writes it into a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
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
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
        for _ in range(options.rounds + 1):
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            rounds.append([1000 * float(seconds) for seconds in done.stdout.split()])
    del rounds[0]
    libraries, own = (statistics.median(column) for column in zip(*rounds, strict=True))
    found = {
        "python": platform.python_version(),
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
