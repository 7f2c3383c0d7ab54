"""Counts of GLEU, the score of corrected grammar: BLEU that also looks at what the source had and should not have kept.

Napoles, Sakaguchi, Post and Tetreault 2015, "Ground Truth for Grammatical Error Correction Metrics",
https://aclanthology.org/P15-2097, as corrected by the same authors in 2016, "GLEU Without Tuning",
https://arxiv.org/abs/1605.02592: an n-gram of the output counts where the reference has it, and against the output
where only the source has it. In: words of a source, an output and a reference. Out: counts that add up over sentences;
a score from their sums.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

__all__ = ["COUNTS", "gleu_counts", "gleu_score"]

ORDER = 4
# The output's and the reference's length, then of each order the matches and how many there could be.
COUNTS = 2 + 2 * ORDER


def gleu_counts(source: Sequence[str], hypothesis: Sequence[str], reference: Sequence[str]) -> list[int]:
    """The `COUNTS` counts of one sentence, given as words.

    Of each order n: occurrences of n-grams that output and reference share, less those that the output shares with the
    source where the reference doesn't have the n-gram at all, at least 0; and the output's number of n-grams.
    """
    counts = [len(hypothesis), len(reference)]
    for order in range(1, ORDER + 1):
        found, right = _ngrams(hypothesis, order), _ngrams(reference, order)
        wrong = Counter({ngram: count for ngram, count in _ngrams(source, order).items() if ngram not in right})
        counts += [max(0, (found & right).total() - (found & wrong).total()), found.total()]
    return counts


def gleu_score(counts: Sequence[float]) -> float:
    """0 to 1: the geometric mean of the four precisions, times BLEU's penalty for what is shorter than its reference.

    Args:
        counts: Of one sentence, or summed over many. One precision of 0 makes the score 0.
    """
    length, wanted, *parts = counts
    if not all(parts):
        return 0.0
    logarithms = [math.log(match / total) for match, total in zip(parts[::2], parts[1::2], strict=True)]
    return math.exp(min(0.0, 1 - wanted / length) + sum(logarithms) / ORDER)


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))
