"""Installed size of edgekit and of what a user would install instead, each in a fresh virtual environment.

Counted are the bytes of all files in site-packages, compiled Python files included, without pip and setuptools.

    python benchmarks/install/sizes.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
# torch first, so that pip keeps a CPU build where one is configured; the ordinary Linux build is gigabytes larger.
INSTALLS: dict[str, list[list[str]]] = {
    "edgekit": [[str(ROOT)]],
    "edgekit[cli]": [[f"{ROOT}[cli]"]],
    "edgekit[bench]": [[f"{ROOT}[bench]"]],
    "ctranslate2 + sentencepiece": [["ctranslate2==4.8.5", "sentencepiece"]],
    "optimum-onnx, torch for CPU": [
        ["torch==2.13.0"],
        ["optimum-onnx[onnxruntime]==0.1.0", "optimum<2.2", "sentencepiece"],
    ],
}


def installed_mb(requirements: list[list[str]], directory: Path) -> float:
    """Installs into a new environment in ``directory``; returns its size in megabytes (10^6 bytes)."""
    venv.create(directory, with_pip=True)
    python = directory / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    for names in requirements:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *names], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", "pip"], check=True)
    site = next(directory.glob("[Ll]ib/**/site-packages"))
    return sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) / 1e6


def main() -> None:
    """Measures each; prints one line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    results = {"python": sys.version.split()[0], "platform": sys.platform, "installed_mb": {}}
    for name, requirements in INSTALLS.items():
        with tempfile.TemporaryDirectory() as directory:
            results["installed_mb"][name] = round(installed_mb(requirements, Path(directory)))
        print(f"{name}: {results['installed_mb'][name]} MB", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
