"""Draws the test and development sets from larger ones: ``python benchmarks/testsets/sample.py``.

In: two aligned text files, or one ``source<TAB>reference[<TAB>set]`` file, plain or ``.gz``. Out: a ``.tsv.gz`` whose
bytes depend only on the input, the count and the seed. A pair is dropped where its source or its reference has occurred
before, so that a set has distinct sources in both directions; of the rest, the pairs with the smallest SHA-256 of
``seed<TAB>source`` are kept, in their original order. No random generator: the rule gives the same pairs everywhere.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["SAMPLE_SEED", "sample_pairs", "write_pairs"]

SAMPLE_SEED = 2026


def sample_pairs(pairs: Iterable[tuple[str, str]], count: int, seed: int = SAMPLE_SEED) -> list[tuple[str, str]]:
    """At most ``count`` of the pairs, without repeated sources or references, in their original order."""
    sources: set[str] = set()
    references: set[str] = set()
    distinct: list[tuple[str, str]] = []
    for source, reference in pairs:
        if source not in sources and reference not in references:
            distinct.append((source, reference))
            sources.add(source)
            references.add(reference)
    kept = sorted(distinct, key=lambda pair: hashlib.sha256(f"{seed}\t{pair[0]}".encode()).digest())[:count]
    chosen = {source for source, _ in kept}
    return [pair for pair in distinct if pair[0] in chosen]


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write ``source<TAB>reference`` lines as gzip, without a time stamp or a file name in the header."""
    text = "".join(f"{source}\t{reference}\n" for source, reference in pairs)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def _read_lines(path: Path) -> list[str]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    return text.removesuffix("\n").split("\n")


def main() -> None:
    """Parse the command line and write one sampled set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, help="SOURCES REFERENCES, or one TSV")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .tsv.gz to write")
    parser.add_argument("--count", type=int, required=True, help="pairs to keep")
    parser.add_argument("--seed", type=int, default=SAMPLE_SEED)
    parser.add_argument("--without", nargs="*", default=[], help="sets to leave out, named in a TSV's third column")
    arguments = parser.parse_args()
    if len(arguments.inputs) == 2:
        pairs = list(zip(*map(_read_lines, arguments.inputs), strict=True))
    else:
        rows = [line.split("\t") for line in _read_lines(arguments.inputs[0])]
        pairs = [(row[0], row[1]) for row in rows if not set(row[2:]) & set(arguments.without)]
    write_pairs(arguments.output, sample_pairs(pairs, arguments.count, arguments.seed))


if __name__ == "__main__":
    main()
