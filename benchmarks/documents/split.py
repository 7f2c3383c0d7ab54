"""Texts of several sentences, translated sentence by sentence and as one; and where splitters cut them.

    python benchmarks/documents/split.py BUNDLE [BUNDLE ...] [--lines 240] [--json FILE]

In: translation bundles of a pair that has a packaged test set. Out: chrF and BLEU of texts made of 1 and of 4
consecutive lines of flores-dev, with ``split=True`` and ``split=False``; and precision and recall of the boundaries
between lines that edgekit's rules find in texts of 6, beside sentencex (1.0.32) where it is installed. A line may
hold several sentences, so precision has a ceiling below 1, the same for all.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import sacrebleu

from edgekit.quality.parallel_text import load_testset
from edgekit.runtime import Translator
from edgekit.runtime.sentences import sentence_starts

Starts = Callable[[str, str], list[int]]


def joined(lines: Sequence[str], count: int) -> list[str]:
    """Texts of ``count`` consecutive lines."""
    return [" ".join(lines[start : start + count]) for start in range(0, len(lines), count)]


def boundaries(lines: Sequence[str], language: str, starts: Starts) -> dict[str, float]:
    """Precision and recall of the places where lines begin."""
    right = found = wanted = 0
    for text, first in zip(joined(lines, 6), range(0, len(lines), 6), strict=True):
        ends = [0]
        for line in lines[first : first + 6]:
            ends.append(ends[-1] + len(line) + 1)
        expected, cut = set(ends[1:-1]), set(starts(text, language)) - {0}
        right, found, wanted = right + len(expected & cut), found + len(cut), wanted + len(expected)
    return {"precision": round(right / found, 3), "recall": round(right / wanted, 3)}


def splitters() -> dict[str, Starts]:
    """Edgekit's rules, and other libraries that are installed."""
    found: dict[str, Starts] = {"edgekit": sentence_starts}
    if importlib.util.find_spec("sentencex"):
        import sentencex

        found["sentencex"] = lambda text, language: places(text, sentencex.segment(language, text))
    return found


def places(text: str, sentences: Sequence[str]) -> list[int]:
    """Where sentences begin in their text."""
    ends = [0]
    for sentence in sentences:
        if body := sentence.strip():
            ends.append(text.index(body, ends[-1]) + len(body))
    return [end + len(text[end:]) - len(text[end:].lstrip()) for end, _ in pairwise(ends)]


def main() -> None:
    """Prints the figures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--lines", type=int, default=240)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = {}
    for path in options.bundles:
        translator = Translator.load(path)
        source, target = str(translator.manifest.languages.source), str(translator.manifest.languages.target)
        testset = load_testset("flores-dev", source, target)
        sources, references = testset.sources[: options.lines], testset.references[: options.lines]
        for count in (1, 4):
            for split in (False, True):
                found = translator.translate(joined(sources, count), split=split)
                scores = {
                    "chrf": round(sacrebleu.corpus_chrf(found, [joined(references, count)]).score, 2),
                    "bleu": round(sacrebleu.corpus_bleu(found, [joined(references, count)]).score, 2),
                }
                name = f"{translator.manifest.name}, {count} lines, {'split' if split else 'whole'}"
                figures[name] = scores
                print(name, scores, flush=True)
        for language, lines in ((source, sources), (target, references)):
            for name, starts in splitters().items():
                figures[f"{name} {language}"] = boundaries(lines, language, starts)
                print(name, language, figures[f"{name} {language}"], flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
