"""Parallel text to what `models.training.train` reads: filtered, clean of test sentences, segmented, by domain.

    python -m models.training.prepare WORK --data DIR --tests DIR [--tests DIR ...]

In: ``DIR/<domain>.tsv.gz`` for each of `DOMAINS` and ``DIR/valid.tsv.gz`` (source, tab, target). Out, in WORK: the
vocabulary, ``train.npz`` (the ids of every domain), ``pairs.tsv.gz`` (the pairs kept, with their domain),
``valid.tsv.gz`` and ``prepare.json`` (counts). The same input gives the same output.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.training.decontaminate import Pair, normalise, read_lines, read_pairs, read_test_sentences
from models.training.vocabulary import EOS_ID, Vocabulary, train_vocabulary


@dataclass(frozen=True)
class Domain:
    """A training set's share of the pairs seen while training, and of the text that the vocabulary is learned from.

    Attributes:
        weight: Relative share of the pairs.
        most: Pairs taken at most: a cap on sets of little worth.
    """

    weight: float
    most: int | None = None


# Everyday language leads; business-docs and cpp-docs are large, narrow and partly stiff, so they are capped.
DOMAINS = {
    "tatoeba": Domain(0.50),
    "alternatives": Domain(0.06),
    "chat": Domain(0.04),
    "wiki-postedit": Domain(0.08),
    "debian-web": Domain(0.16),
    "rust-book": Domain(0.03),
    "gnome-help": Domain(0.025),
    "mozilla-web": Domain(0.015),
    "business-docs": Domain(0.04, 16000),
    "cpp-docs": Domain(0.01, 4000),
}
# Not a file: pairs of the above as people also type them.
ALTERED = "altered"
ALTERED_WEIGHT = 0.04
ALTERED_SHARE = 0.12  # of the pairs of each domain, one altered copy each
MOST_WORDS = 90
MOST_PIECES = 110
MOST_RATIO = 2.5  # of lengths in characters, once above 20
VOCABULARY_LINES = 260_000


def keep(pair: Pair) -> bool:
    """Whether a pair looks like a sentence and its translation."""
    source, target = pair
    if max(len(source.split()), len(target.split())) > MOST_WORDS or not any(c.isalpha() for c in source):
        return False
    if source == target and len(source.split()) > 3:
        return False
    short, long = sorted((len(source), len(target)))
    return long <= max(20, short * MOST_RATIO)


def alter(pair: Pair, kind: int) -> Pair:
    """A pair in capitals (0), with a source in lower case (1), or with a source without its final mark (2, 3)."""
    source, target = pair
    if kind == 0:
        return source.upper(), target.upper().replace("ẞ", "SS")
    if kind == 1:
        return source.lower(), target
    return source.rstrip(".!?"), target


def load_domains(data: Path, tests: list[Path]) -> tuple[dict[str, list[Pair]], list[list[str]], dict[str, object]]:
    """The clean pairs of each domain, the validation lines, and the counts of what was left out.

    Validation sentences count as test sentences.
    """
    sentences, files = read_test_sentences(tests)
    valid = [line for line in read_lines(data / "valid.tsv.gz") if len(line) >= 2]
    clean_valid = [line for line in valid if not any(normalise(side) in sentences for side in line[:2])]
    held_out = sentences | {normalise(side) for line in valid for side in line[:2]}
    domains: dict[str, list[Pair]] = {}
    seen: set[Pair] = set()
    counts: Counter[str] = Counter()
    for name, domain in DOMAINS.items():
        rows = []
        for pair in read_pairs(data / f"{name}.tsv.gz"):
            counts["read"] += 1
            sides = [normalise(side) for side in pair]
            if any(side in sentences for side in sides):
                counts["in_a_test_set"] += 1
            elif any(side in held_out for side in sides):
                counts["in_the_validation_set"] += 1
            elif pair in seen or not keep(pair):
                counts["filtered"] += 1
            else:
                seen.add(pair)
                rows.append(pair)
        random.Random(name).shuffle(rows)
        counts["over_the_cap"] += max(0, len(rows) - (domain.most or len(rows)))
        domains[name] = rows[: domain.most]
    left = {
        "test_files": files,
        "test_sentences": len(sentences),
        "validation_in_a_test_set": len(valid) - len(clean_valid),
    }
    return domains, clean_valid, {**left, **counts}


def altered_pairs(domains: dict[str, list[Pair]]) -> list[Pair]:
    """Altered copies of a fixed share of every domain."""
    chosen = [pair for rows in domains.values() for pair in rows[: int(len(rows) * ALTERED_SHARE)]]
    return [alter(pair, index % 4) for index, pair in enumerate(chosen)]


def vocabulary_lines(domains: dict[str, list[Pair]], weights: dict[str, float]) -> list[str]:
    """Both sides of pairs of every domain, by weight, a domain that is too small once whole."""
    total = sum(weights.values())
    lines = []
    for name, rows in domains.items():
        share = int(VOCABULARY_LINES / 2 * weights[name] / total)
        lines += [side for pair in rows[:share] for side in pair]
    return lines


def encode_domain(rows: list[Pair], vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """``ids`` uint16: source, ``</s>``, target, ``</s>`` of every pair; ``lengths`` int32 [pairs, 2] with ``</s>``."""
    ids: list[int] = []
    lengths = []
    for source, target in rows:
        x, y = [*vocabulary.encode(source), EOS_ID], [*vocabulary.encode(target), EOS_ID]
        if max(len(x), len(y)) <= MOST_PIECES:
            ids += x + y
            lengths.append((len(x), len(y)))
    return {"ids": np.array(ids, np.uint16), "lengths": np.array(lengths, np.int32).reshape(-1, 2)}


def prepare(work: Path, data: Path, tests: list[Path], size: int) -> dict[str, object]:
    """Does what the module describes; returns prepare.json."""
    domains, valid, counts = load_domains(data, tests)
    domains[ALTERED] = altered_pairs(domains)
    weights = {name: domain.weight for name, domain in DOMAINS.items()} | {ALTERED: ALTERED_WEIGHT}
    work.mkdir(parents=True, exist_ok=True)
    train_vocabulary(vocabulary_lines(domains, weights), size, work)
    vocabulary = Vocabulary(work)
    arrays: dict[str, np.ndarray] = {}
    sizes: dict[str, object] = {}
    for name, rows in domains.items():
        encoded = encode_domain(rows, vocabulary)
        arrays |= {f"{name}.{key}": value for key, value in encoded.items()}
        lengths = encoded["lengths"]
        mean = [round(float(x), 1) for x in lengths.mean(0)] if len(lengths) else [0.0, 0.0]
        sizes[name] = {"pairs": len(lengths), "mean_pieces": mean, "weight": weights[name]}
    np.savez(work / "train.npz", allow_pickle=False, **arrays)
    _write_lines(work / "pairs.tsv.gz", [[*pair, name] for name, rows in domains.items() for pair in rows])
    _write_lines(work / "valid.tsv.gz", valid)
    report = {"counts": counts, "domains": sizes, "vocabulary": len(vocabulary)}
    (work / "prepare.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _write_lines(path: Path, rows: list[list[str]]) -> None:
    text = "".join("\t".join(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the training sets")
    parser.add_argument("--tests", type=Path, action="append", required=True, help="a folder of test sets")
    parser.add_argument("--vocabulary", type=int, default=8000, help="ids in the vocabulary")
    arguments = parser.parse_args()
    report = prepare(arguments.work, arguments.data, arguments.tests, arguments.vocabulary)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
