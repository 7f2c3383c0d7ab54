"""Decode and prefill beside llama.cpp and onnxruntime-genai: the same model and prompts, interleaved in one run.

python benchmarks/causal_lm/peers.py ENGINE:BITS:MODEL ... [--python ENGINE=PATH ...] [--threads 1 2] [--json FILE]
                                     [--quality FILE]

ENGINE is edgekit (MODEL is a bundle), edgekit-lookup (the same with prompt lookup), llama.cpp (a GGUF file) or genai (a
directory of its builder); BITS, 8 or 4, says which are compared. ``--python`` names the Python in which an engine is
installed; one that cannot be started is named and left out. How the models are made is in `convert.py`. All engines of
one thread count are in memory together and take turns, in another order each round; each round has a prompt of its own,
the same for all. Figures are medians over rounds; a ratio is the figure of edgekit (without lookup) by the other's in
the same round: its median, smallest and largest are given, for each of edgekit's bundles and each peer, and for the
better peer (by its median). With ``--quality``, the JSON of `peers_quality.py`, rows tell what their files lose, and
the better peer is also named among those that lose no more than edgekit's file, as far as the intervals can tell.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peers_processes import FIGURES, Contender, parse_contenders, start_engines
from peers_tables import Losses, print_rows, summarise

from edgekit.bench.environment import read_environment
from edgekit.quality.plain_text import DEFAULT_TEXT, load_text

# Threads of the engine that ran before may spin for a while before they sleep.
PAUSE_SECONDS = 0.05


def measure(contenders: list[Contender], threads: int, arguments: argparse.Namespace) -> list[Contender]:
    """Runs all rounds; gives those that could be started."""
    with ExitStack() as stack:
        running = start_engines(contenders, arguments.python, threads, stack)
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
    return [contender for contender, _ in running]


def read_losses(path: Path | None) -> Losses:
    """What each contender's file loses, by its name, from the JSON of `peers_quality.py`."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"] if path else []
    return {f"{row['engine']}, {row['model']}": row["loss"] for row in rows if "loss" in row}


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
    parser.add_argument("--quality", type=Path, help="what peers_quality.py wrote: rows then tell what files lose")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
    return arguments


def main() -> None:
    """Measures at each number of threads; prints a table, and writes JSON where it is asked for."""
    arguments = parse_arguments()
    environment = asdict(read_environment())
    losses = read_losses(arguments.quality)
    rows: list[dict[str, Any]] = []
    for threads in arguments.threads:
        started = measure(parse_contenders(arguments.contenders), threads, arguments)
        rows += summarise(started, threads, losses)
    print_rows(rows)
    if arguments.json:
        settings = {name: getattr(arguments, name) for name in ("rounds", "prompt", "new_tokens")}
        found = {"environment": environment, "settings": settings, "results": rows}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
