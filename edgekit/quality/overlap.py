"""Scores of one output against one reference that need no library: ROUGE-L, and whether both are the same.

In: two texts. Out: a number from 0 to 1.
"""

from __future__ import annotations

import re

__all__ = ["exact_match", "rouge_l"]

_WORD = re.compile(r"\w+")


def rouge_l(hypothesis: str, reference: str) -> float:
    """F1 of the longest common subsequence of words: Lin 2004, https://aclanthology.org/W04-1013, with beta 1.

    Words are runs of letters, digits and underscores, lower-cased and not stemmed. 0 where either text has none.
    """
    left, right = _WORD.findall(hypothesis.lower()), _WORD.findall(reference.lower())
    common = _longest_common(left, right)
    return 2 * common / (len(left) + len(right)) if common else 0.0


def exact_match(hypothesis: str, reference: str) -> float:
    """1 where both are the same but for white space, else 0."""
    return float(hypothesis.split() == reference.split())


def _longest_common(left: list[str], right: list[str]) -> int:
    """How many words the longest common subsequence has, by dynamic programming over ``right``'s prefixes."""
    lengths = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for index, other in enumerate(right, 1):
            above = lengths[index]
            lengths[index] = diagonal + 1 if word == other else max(above, lengths[index - 1])
            diagonal = above
    return lengths[-1]
