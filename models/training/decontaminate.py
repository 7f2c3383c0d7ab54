"""Training pairs that also stand in a test set: found, counted, left out.

A pair is contaminated if either of its sides, lower-cased and reduced to letters and digits, is a line of any test set
in either language. As a program it checks files of pairs, prints the count, and its exit status is 1 if there is any:

    python -m models.training.decontaminate PAIRS.tsv.gz ... --tests DIR [--tests DIR ...]
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

Pair = tuple[str, str]
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """Lower case, letters and digits only, one space between words.

    >>> normalise("Don't  PANIC!")
    'don t panic'
    """
    return _NOT_ALPHANUMERIC.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()


def read_lines(path: Path) -> Iterator[list[str]]:
    """The tab-separated columns of each line of a text file, gzipped or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n").split("\t")


def read_pairs(path: Path) -> Iterator[Pair]:
    """Source and target, the first two columns; lines where either is empty are passed over."""
    for columns in read_lines(path):
        if len(columns) >= 2 and columns[0].strip() and columns[1].strip():
            yield columns[0], columns[1]


def read_test_sentences(folders: Iterable[Path]) -> tuple[frozenset[str], int]:
    """Every normalised line of every test set, and how many files they came from.

    A folder's files ``*.en.gz``, ``*.de.gz`` (one sentence a line) and ``*.tsv.gz`` (one in each column) count.

    Raises:
        ValueError: A folder without such a file: nothing would be checked.
    """
    sentences: set[str] = set()
    count = 0
    for folder in folders:
        files = sorted(folder.glob("*.gz"))
        if not files:
            raise ValueError(f"{folder}: expected test sets, files *.en.gz, *.de.gz or *.tsv.gz, found none")
        count += len(files)
        for path in files:
            sentences.update(normalise(column) for columns in read_lines(path) for column in columns)
    return frozenset(sentences - {""}), count


def find_contaminated(pairs: Iterable[Pair], sentences: frozenset[str]) -> list[Pair]:
    """The pairs with a side that is a test sentence."""
    return [pair for pair in pairs if any(normalise(side) in sentences for side in pair)]


def main() -> None:
    """Checks files of pairs; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, nargs="+", help="files of pairs, source, tab, target")
    parser.add_argument("--tests", type=Path, action="append", required=True, help="a folder of test sets")
    arguments = parser.parse_args()
    sentences, files = read_test_sentences(arguments.tests)
    pairs = [pair for path in arguments.pairs for pair in read_pairs(path)]
    found = find_contaminated(pairs, sentences)
    for source, target in found[:10]:
        print(f"in a test set: {source!r} / {target!r}")
    print(json.dumps({"pairs": len(pairs), "test_files": files, "test_sentences": len(sentences), "found": len(found)}))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
