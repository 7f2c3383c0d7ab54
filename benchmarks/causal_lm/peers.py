"""Decode and prefill beside llama.cpp and onnxruntime-genai: the same model and prompts, interleaved in one run.

python benchmarks/causal_lm/peers.py ENGINE:BITS:MODEL ... [--python ENGINE=PATH ...] [--threads 1 2] [--json FILE]

ENGINE is edgekit (MODEL is a bundle), edgekit-lookup (the same with prompt lookup), llama.cpp (a GGUF file) or genai (a
directory of its builder); BITS, 8 or 4, says which are compared. ``--python`` names the Python in which an engine is
installed; one that cannot be started is named and left out. How the models are made is in `convert.py`. All engines of
one thread count are in memory together and take turns, in another order each round; each round has a prompt of its own,
the same for all. Figures are medians over rounds; a ratio is edgekit's figure (without lookup) by the other's in the
same round: its median, smallest and largest are given, for each and for the better peer (by its median).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgekit.bench.environment import read_environment
from edgekit.bench.worker_process import worker_environment
from edgekit.quality.plain_text import DEFAULT_TEXT, load_text

ENGINE = Path(__file__).with_name("engine.py")
FIGURES = ("prefill_tokens_per_second", "decode_tokens_per_second")
# Threads of the engine that ran before may spin for a while before they sleep.
PAUSE_SECONDS = 0.05


@dataclass
class Contender:
    """An engine with a model, and its figures, one a round."""

    engine: str
    bits: int
    model: Path
    version: str = ""
    rounds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})
    ids: list[list[int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``llama.cpp, SmolLM2.Q8_0.gguf``."""
        return f"{self.engine}, {self.model.name}"


class Engine:
    """A started `engine.py`; a ``with`` block ends it.

    Raises:
        OSError: It ended, or could not be started; the text is its last line.
    """

    def __init__(self, contender: Contender, python: str, threads: int) -> None:
        command = [python, str(ENGINE), contender.engine, str(contender.model), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=subprocess.PIPE, text=True, env=worker_environment(threads)
        )
        contender.version = self._read()["version"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """The reply to one request."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            reply: dict[str, Any] = json.loads(line)
            return reply
        said = self._process.communicate()[1].strip().splitlines()
        raise OSError(said[-1] if said else f"status {self._process.returncode}")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def measure(
    contenders: list[Contender], pythons: dict[str, str], threads: int, arguments: argparse.Namespace
) -> tuple[list[Contender], list[str]]:
    """Runs all rounds; gives those that could be started, and a line on each that could not."""
    left_out = []
    with ExitStack() as stack:
        running: list[tuple[Contender, Engine]] = []
        for contender in contenders:
            try:
                engine = Engine(contender, pythons.get(contender.engine, sys.executable), threads)
            except OSError as error:
                left_out.append(f"{contender.name}: left out, {error}")
                continue
            running.append((contender, stack.enter_context(engine)))
        tokenizer = next(engine for contender, engine in running if contender.engine == "edgekit")
        ids = tokenizer.ask(text=load_text(DEFAULT_TEXT).text)["ids"]
        for number in range(arguments.rounds + 1):  # the first warms up
            prompt = ids[number * arguments.prompt :][: arguments.prompt]
            turn = number % len(running)
            for contender, engine in running[turn:] + running[:turn]:
                time.sleep(PAUSE_SECONDS)
                reply = engine.ask(ids=prompt, new_tokens=arguments.new_tokens)
                if number:
                    rates = (
                        len(prompt) / reply["first_seconds"],
                        (arguments.new_tokens - 1) / reply["following_seconds"],
                    )
                    for name, rate in zip(FIGURES, rates, strict=True):
                        contender.rounds[name].append(rate)
                    contender.ids.append(reply["ids"])
    return [contender for contender, _ in running], left_out


def summarise(contenders: list[Contender], threads: int) -> list[dict[str, Any]]:
    """A row for each contender: medians, ranges, and what edgekit's ratio to it is."""
    rows = []
    for contender in contenders:
        row: dict[str, Any] = {
            "engine": contender.engine,
            "version": contender.version,
            "bits": contender.bits,
            "model": contender.model.name,
            "threads": threads,
        }
        ours = next((one for one in contenders if (one.engine, one.bits) == ("edgekit", contender.bits)), None)
        for name in FIGURES:
            row[name] = spread(contender.rounds[name])
            if ours is not None and contender is not ours:
                pairs = zip(ours.rounds[name], contender.rounds[name], strict=True)
                row[f"edgekit_ratio_{name}"] = spread([mine / theirs for mine, theirs in pairs])
        if ours is not None:
            # Models that were quantised in different ways part at some token; other models part at the first.
            row["leading_ids_as_edgekit"] = statistics.median(
                common_length(mine, theirs) for mine, theirs in zip(ours.ids, contender.ids, strict=True)
            )
        rows.append(row)
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest, to four digits."""
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def common_length(one: list[int], other: list[int]) -> int:
    """How many ids both begin with."""
    return next((index for index, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


def print_rows(rows: list[dict[str, Any]]) -> None:
    """One line a row, and for each precision which peer was the better one."""
    print(
        f"{'threads':>7} {'bits':>4}  {'prefill tok/s':>22} {'decode tok/s':>20}  engine, edgekit / it: prefill, decode"
    )
    for row in rows:
        cells = [f"{row[name]['median']:.1f} [{row[name]['min']:.0f}-{row[name]['max']:.0f}]" for name in FIGURES]
        ratios = [row.get(f"edgekit_ratio_{name}") for name in FIGURES]
        told = ", ".join(show_ratio(ratio) for ratio in ratios if ratio)
        print(f"{row['threads']:>7} {row['bits']:>4}  {cells[0]:>22} {cells[1]:>20}  {row['engine']} {told}")
    for threads, bits, name in sorted({(row["threads"], row["bits"], name) for row in rows for name in FIGURES}):
        alike = [row for row in rows if (row["threads"], row["bits"]) == (threads, bits)]
        peers = [row for row in alike if not row["engine"].startswith("edgekit") and f"edgekit_ratio_{name}" in row]
        if peers:
            best = max(peers, key=lambda row: row[name]["median"])
            told = show_ratio(best[f"edgekit_ratio_{name}"])
            print(f"{threads} threads, {bits} bits, {name}: {told} of the better peer, {best['engine']}")


def show_ratio(ratio: dict[str, float]) -> str:
    """``1.05 [0.98-1.10]``."""
    return f"{ratio['median']:.2f} [{ratio['min']:.2f}-{ratio['max']:.2f}]"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contenders", nargs="+", metavar="ENGINE:BITS:MODEL")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="one round: does everything run?")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
    return arguments


def main() -> None:
    """Measures at each number of threads; prints a table, and writes JSON where it is asked for."""
    arguments = parse_arguments()
    environment = asdict(read_environment())
    pythons = dict(pair.split("=", 1) for pair in arguments.python)
    rows: list[dict[str, Any]] = []
    for threads in arguments.threads:
        parts = [text.split(":", 2) for text in arguments.contenders]
        contenders = [Contender(engine, int(bits), Path(model)) for engine, bits, model in parts]
        started, left_out = measure(contenders, pythons, threads, arguments)
        rows += summarise(started, threads)
        print(*left_out, sep="\n", end="\n" if left_out else "", file=sys.stderr)
    print_rows(rows)
    if arguments.json:
        settings = {name: getattr(arguments, name) for name in ("rounds", "prompt", "new_tokens")}
        found = {"environment": environment, "settings": settings, "results": rows}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
