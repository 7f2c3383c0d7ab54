"""Eight threads on one translator give what one thread gives, sentence by sentence.

    python benchmarks/threads/same_output.py BUNDLE [--sentences 10000] [--threads 8]

In: a translation bundle. Out: how many of the sentences of the packaged test sets (repeated with numbers where they are
not enough) came out otherwise; 1 if any did. Each thread takes other sentences, in batches of other sizes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import edgekit
from edgekit.quality.parallel_text import load_testset
from edgekit.runtime import Translator

PIECE = 100


def sentences(source: str, target: str, count: int) -> list[str]:
    """Different sentences of both test sets, then the same with a number behind each."""
    own = [text for name in ("tatoeba", "flores-dev") for text in load_testset(name, source, target).sources]
    numbered = (f"{text} ({number})" for number in itertools.count(1) for text in own)
    return list(itertools.islice(itertools.chain(own, numbered), count))


def translate_in_threads(translator: Translator, texts: list[str], threads: int) -> list[str]:
    """The translations, made by threads that start together and take pieces of ``texts`` in a random order."""
    starts = list(range(0, len(texts), PIECE))
    random.Random(1).shuffle(starts)
    found = [""] * len(texts)
    barrier, places = threading.Barrier(threads), iter(starts)

    def work(number: int) -> None:
        barrier.wait()
        for start in places:  # a list's iterator may be shared: each start is given once
            piece = texts[start : start + PIECE]
            found[start : start + len(piece)] = translator.translate(piece, batch_tokens=64 * (number + 1))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return found


def main() -> int:
    """Prints the counts; 1 if an output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--sentences", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    translator = Translator.load(options.bundle)
    languages = translator.manifest.languages
    texts = sentences(languages.source or "en", languages.target or "de", options.sentences)
    expected = translator.translate(texts)
    found = translate_in_threads(translator, texts, options.threads)
    differ = sum(one != other for one, other in zip(expected, found, strict=True))
    counts = {"sentences": len(texts), "threads": options.threads, "differ": differ}
    print(json.dumps(counts | {"edgekit": edgekit.__version__}))
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
