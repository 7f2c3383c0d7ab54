"""A packed bundle beside its directory: time to load, and memory after it.

    python benchmarks/startup/packed.py BUNDLE [BUNDLE ...] [--rounds 7] [--json FILE]

In: bundles' directories. Out: for each, medians of processes that take turns: `edgekit.load` in ms, with its files
verified before and in the page cache, and the process's growth in MB: of memory that no file backs (``anonymous``) and
of all resident pages. Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgekit.bundle.pack import pack_bundle

TIMED = """
import json, sys, time
import edgekit
from edgekit.runtime import text_generator
def memory():
    lines = open("/proc/self/smaps_rollup").read().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Anonymous"], sizes["Rss"]
before = memory()
start = time.perf_counter()
model = edgekit.load(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps([1000 * seconds, *((after - old) / 1024 for after, old in zip(memory(), before))]))
"""


def main() -> None:
    """Prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for bundle in options.bundles:
            forms = {"directory": bundle, "packed": pack_bundle(bundle, Path(directory) / f"{bundle.name}.edgekit")}
            time.sleep(3)  # files younger than two seconds are hashed at each load
            rounds: dict[str, list[list[float]]] = {form: [] for form in forms}
            for _ in range(options.rounds + 1):
                for form, path in forms.items():
                    done = subprocess.run(
                        [sys.executable, "-c", TIMED, str(path)], capture_output=True, text=True, check=True
                    )
                    rounds[form].append(json.loads(done.stdout))
            for form, rows in rounds.items():
                # The first load verifies.
                load, anonymous, resident = (statistics.median(column) for column in zip(*rows[1:], strict=True))
                row = {
                    "load_ms": round(load, 1),
                    "anonymous_mb": round(anonymous, 1),
                    "resident_mb": round(resident, 1),
                    "size_bytes": sum(file.stat().st_size for file in _files(forms[form])),
                }
                found[f"{bundle.name} {form}"] = row
                print(f"{bundle.name:32} {form:10} {json.dumps(row)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _files(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
