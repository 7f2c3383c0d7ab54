"""Time, memory and size of exporting T5-small's and NLLB-200-600M's shapes, random weights, by edgekit and by others.

    python benchmarks/export/shapes.py --work DIR [--models t5-shape nllb-shape] [--forms FORM ...]
        [--path ENGINE=DIR ...] [--python ENGINE=PATH ...] [--json FILE]

Checkpoints are made in ``--work`` first, where `compare.py` of benchmarks/peers, which shows how fast the models are
then, finds them too; nothing else stays there. What is timed is each engine's conversion as a process of its
own, start to end: ``edgekit-int8`` and ``edgekit-fp32`` (checked bundles), ``ctranslate2-int8``, ``optimum-fp32`` and
``optimum-int8`` (which is made of the former: its own time and memory). Of the process, looked at every 10 ms: the most
resident memory, and the most of it that is no file's. What cannot be converted is named. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.bench.environment import read_environment

MODELS_SCRIPT = Path(__file__).parents[1] / "peers" / "models.py"
MODELS = ("t5-shape", "nllb-shape")
FORMS = ("edgekit-int8", "edgekit-fp32", "ctranslate2-int8", "optimum-fp32", "optimum-int8")
LOOK_SECONDS = 0.01


def measure(arguments: argparse.Namespace, form: str, source: Path, target: Path, weights: int) -> dict[str, Any]:
    """Converts ``source``, of so many bytes in float32; figures, or in ``left_out`` why there are none."""
    engine = form.partition("-")[0]
    shutil.rmtree(target, ignore_errors=True)
    places = [arguments.path.get(engine), os.environ.get("PYTHONPATH")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
    command = [arguments.python.get(engine, sys.executable), str(MODELS_SCRIPT), form, str(source), str(target)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    peak = {"RssAnon": 0, "VmHWM": 0}
    while process.poll() is None:
        for name, size in _memory(process.pid).items():
            peak[name] = max(peak[name], size)
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - start
    error = (process.communicate()[1].strip().splitlines() or [""])[-1]
    if process.returncode:
        return {"left_out": error or f"status {process.returncode}"}
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return {
        "seconds": round(seconds, 1),
        "peak_rss_mb": round(peak["VmHWM"] / 1e6),
        "peak_anonymous_mb": round(peak["RssAnon"] / 1e6),
        "peak_rss_by_fp32_weights": round(peak["VmHWM"] / weights, 2),
        "peak_anonymous_by_fp32_weights": round(peak["RssAnon"] / weights, 2),
        "disk_mb": round(size / 1e6, 1),
    }


def _memory(pid: int) -> dict[str, int]:
    """Bytes: anonymous ones now, and the most resident ones so far; nothing of a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.startswith(("RssAnon", "VmHWM")))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in fields}


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--path", action="append", default=[], metavar="ENGINE=DIR")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    for name in ("path", "python"):
        setattr(arguments, name, dict(pair.split("=", 1) for pair in getattr(arguments, name)))
    return arguments


def main() -> None:
    """Makes the checkpoints, converts them, prints a line each."""
    arguments = parse_arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for model in arguments.models:
        checkpoint = arguments.work / model
        if not checkpoint.is_dir():
            subprocess.run([sys.executable, str(MODELS_SCRIPT), model, "", str(checkpoint)], check=True)
        weights = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
        exports = arguments.work / f"{model}-exports"
        exports.mkdir(exist_ok=True)
        for form in arguments.forms:
            source = exports / "optimum-fp32" if form == "optimum-int8" else checkpoint
            rows.append({"model": model, "form": form} | measure(arguments, form, source, exports / form, weights))
            print(json.dumps(rows[-1]), flush=True)
        shutil.rmtree(exports)
    if arguments.json:
        results = {"environment": asdict(read_environment()), "rows": rows}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
