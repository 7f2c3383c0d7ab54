"""Unigram segmentation, with SentencePiece's own rounding.

The best segmentation is the one whose scores add up highest (Kudo 2018, arXiv:1804.10959, section 3; Viterbi).
SentencePiece adds in float32 from the beginning of the text, so where two segmentations score alike ("WWW" as WW+W or
W+WW) the rounding of everything before decides. `tokenizers` adds in float64 and decides otherwise in up to 2 of
10,000 real sentences and in 1 of 10 rows of dashes or exclamation marks, so edgekit does not segment with it.

Nearly always one segmentation is clearly best. So words are segmented one at a time, remembered, and with each the
distance to its second-best segmentation; only if that is within what float32 may lose is the whole text segmented again
with SentencePiece's arithmetic (github.com/google/sentencepiece, src/unigram_model.cc, Model::EncodeOptimized).

In: pieces with scores, and normalised text. Out: pieces and ids. Runs of unknown characters are left to the caller.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from math import inf
from typing import NamedTuple

# unigram_model.cc, kUnkPenalty: an unknown character scores this much below the worst piece.
UNKNOWN_PENALTY = 10.0
# Two paths of n additions each are apart by at most 2n roundings of half a unit in the last place, 2**-24 of the sum;
# twice that leaves room for the rounding of this bound itself.
_ROUNDING_OF_TWO_PATHS = 2.0**-22
# A sum beyond this is subtracted from all that follows, so that long texts keep their precision;
# sentencepiece 0.2.3 does this, older ones did not.
_RESET = 100_000.0
_CACHED_WORDS = 16384
_CACHED_CHARACTERS = 64
# So many characters tell well enough how long a piece that begins with them may be.
_OPENING = 2
_FLOAT32 = struct.Struct("<f")

# Where no piece reaches from one word into the next, words can be segmented one at a time: pieces and words that
# begin with their white space, and, from models with treat_whitespace_as_suffix, those that end with it.
_WORD_SHAPES = (
    (re.compile("▁*[^▁]*"), re.compile("▁*[^▁]+|▁+")),
    (re.compile("[^▁]*▁*"), re.compile("[^▁]+▁*|▁+")),
)
_WHOLE_TEXT = re.compile(".+", re.DOTALL)


class _Word(NamedTuple):
    pieces: tuple[tuple[str, int], ...]
    score: float
    margin: float  # distance to the second-best segmentation, a character


class Unigram:
    """Segments text into the pieces of one Unigram model; threads may share it.

    Args:
        pieces: Each piece that text may become: its id and its score, a float32.
        unk_id: The id of an unknown character.
        min_score: The lowest score of a normal piece.
    """

    def __init__(self, pieces: Mapping[str, tuple[int, float]], unk_id: int, min_score: float) -> None:
        self._pieces = pieces
        self._unknown = unk_id, _round_to_float32(min_score - UNKNOWN_PENALTY)
        self._longest: dict[str, int] = {}
        for piece in pieces:
            if len(piece) > self._longest.get(piece[:_OPENING], 1):
                self._longest[piece[:_OPENING]] = len(piece)
        self._reach = max(self._longest.values(), default=1) + 1
        fits = (words for piece_shape, words in _WORD_SHAPES if all(map(piece_shape.fullmatch, pieces)))
        self._words = next(fits, _WHOLE_TEXT)
        self._remembered = lru_cache(_CACHED_WORDS)(self._segment_word)

    def encode(self, text: str) -> list[tuple[str, int]]:
        """Returns the pieces of a normalised text with their ids, in order; each unknown character is a piece."""
        words = [
            self._remembered(word) if len(word) <= _CACHED_CHARACTERS else self._segment_word(word)
            for word in self._words.findall(text)
        ]
        rounding = _ROUNDING_OF_TWO_PATHS * min(sum(abs(word.score) for word in words), 2 * _RESET)
        if all(word.margin > rounding for word in words):
            return [piece for word in words for piece in word.pieces]
        return self._segment_in_float32(text)

    def _matches(self, text: str, begin: int) -> list[tuple[int, int, float]]:
        """Returns end, id and score of every piece that may begin at `begin`; shorter ones come first."""
        single = self._pieces.get(text[begin])
        matches = [(begin + 1, *single)] if single else []
        longest = self._longest.get(text[begin : begin + _OPENING], 1)
        for end in range(begin + 2, min(begin + longest, len(text)) + 1):
            if found := self._pieces.get(text[begin:end]):
                matches.append((end, *found))
        if not single:
            matches.append((begin + 1, *self._unknown))
        return matches

    def _segment_word(self, word: str) -> _Word:
        size = len(word)
        best, second = [0.0] + [-inf] * size, [-inf] * (size + 1)
        came_from = [(0, 0)] * (size + 1)
        for begin in range(size):
            for end, piece_id, score in self._matches(word, begin):
                candidate = best[begin] + score
                if candidate > best[end]:
                    second[end] = max(best[end], second[begin] + score)
                    best[end], came_from[end] = candidate, (begin, piece_id)
                elif candidate > second[end]:
                    second[end] = candidate
        return _Word(_trace(word, came_from), best[size], (best[size] - second[size]) / size)

    def _segment_in_float32(self, text: str) -> list[tuple[str, int]]:
        size = len(text)
        best = [0.0] + [-inf] * size
        came_from = [(0, 0)] * (size + 1)
        for begin in range(size):
            if abs(best[begin]) > _RESET:
                reach = slice(begin, begin + self._reach)
                best[reach] = [
                    _round_to_float32(score - best[begin]) if score > -inf else score for score in best[reach]
                ]
            for end, piece_id, score in self._matches(text, begin):
                candidate = _round_to_float32(best[begin] + score)
                if candidate > best[end]:
                    best[end], came_from[end] = candidate, (begin, piece_id)
        return list(_trace(text, came_from))


def _trace(text: str, came_from: list[tuple[int, int]]) -> tuple[tuple[str, int], ...]:
    pieces, end = [], len(text)
    while end > 0:
        begin, piece_id = came_from[end]
        pieces.append((text[begin:end], piece_id))
        end = begin
    return tuple(reversed(pieces))


def _round_to_float32(value: float) -> float:
    rounded: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]
    return rounded
