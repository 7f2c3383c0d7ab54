"""A lexical shortlist learned from a model's own translations, for models that come with none.

Which target ids does a source id bring about? IBM's Model 1 (Brown et al. 1993, https://aclanthology.org/J93-2003,
section 4) says it from sentences and their translations alone: each target token of a sentence is shared out among the
sentence's source tokens by the present probabilities, the shares are counted, and the counts are the next
probabilities. The end token, which every source has, takes what belongs to no word.

In: sentences as source ids and what the model makes of them. Out: the arrays of `edgekit.runtime.shortlist`, and how
many sentences that were not learned from would still be translated as before: those whose every token is in their own
list. Refuses a shortlist that changes too many of them.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.encodings import SAMPLE_BYTES, describe_utf_16
from edgekit.errors import InputError
from edgekit.export.model import ShortlistArrays
from edgekit.runtime.shortlist import Shortlist

Rows = Sequence[Sequence[int]]

# The likeliest targets of a source id, and the most frequent targets of all, which are always candidates.
BEST, ALWAYS = 200, 1000
ITERATIONS = 4
# One sentence of so many is not learned from, but asked.
HELD_OUT = 20
LEAST_LINES = 1000
# Pairs of tokens are held in memory: 20 to 40 bytes each, some 250 pairs a sentence.
MOST_LINES = 100_000
LEAST_UNCHANGED = 0.8
# A candidate's row is read in float32, any other output row in int8: a step took as long with 1,500 candidates as with
# all 6,000 ids (256 wide, 1 to 32 rows).
FLOAT_ROW_COST = 4


@dataclass(frozen=True)
class LearnedShortlist:
    """A shortlist and what it is worth.

    Attributes:
        arrays: as a bundle stores them.
        unchanged: share of the sentences not learned from whose translation is in their list.
        candidates: target ids a sentence, on average.
    """

    arrays: ShortlistArrays
    unchanged: float
    candidates: float

    def describe(self, target_vocab_size: int, precision: str) -> str:
        """One line: how short it is, whether it is short enough to save time, and what it keeps."""
        is_slower = precision != "fp32" and self.candidates * FLOAT_ROW_COST >= target_vocab_size
        return (
            f"the shortlist has {self.candidates:.0f} of {target_vocab_size} target tokens a sentence"
            + (", too many to be faster than all of them in int8: export without the text" if is_slower else "")
            + f"; {self.unchanged:.1%} of the sentences it was not learned from are translated as without it"
        )


def read_lines(path: Path) -> list[str]:
    """Source sentences: one a line, or before a line's first tab; plain or gzip, UTF-8; the first `MOST_LINES`.

    Raises:
        InputError: the file can't be read as such, or has fewer than `LEAST_LINES` sentences.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            utf_16 = describe_utf_16(file.peek(SAMPLE_BYTES))
            lines = [] if utf_16 else list(islice(_sentences(io.TextIOWrapper(file, "utf-8")), MOST_LINES))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected UTF-8 text to learn a shortlist from, found {error}") from None
    if utf_16:
        raise InputError(f"{path}: expected UTF-8 text to learn a shortlist from, found {utf_16}")
    if len(lines) < LEAST_LINES:
        raise InputError(f"{path}: a shortlist needs at least {LEAST_LINES} sentences, found {len(lines)}")
    return lines


def _sentences(lines: Iterator[str]) -> Iterator[str]:
    return (sentence for line in lines if (sentence := line.partition("\t")[0].strip()))


def learn_shortlist(
    sources: Rows, translations: Rows, vocab_sizes: tuple[int, int], *, is_shared: bool
) -> LearnedShortlist:
    """Learns from all sentences but each twentieth, which says what is lost.

    Args:
        sources: source ids, each with the end token last, which is the same in all.
        translations: the model's target ids for them, without an end token.
        vocab_sizes: source and target ids there are.
        is_shared: the ids of both sides mean the same pieces: each may then become itself, as names do.

    Raises:
        InputError: fewer than `LEAST_UNCHANGED` of the held-out sentences would be translated as before.
    """
    end = sources[0][-1]
    targets = [[*row, end] for row in translations]
    learned_from = [index for index in range(len(sources)) if index % HELD_OUT]
    source_ids, target_ids = _best_pairs(
        [sources[i] for i in learned_from], [targets[i] for i in learned_from], vocab_sizes
    )
    frequent = _most_frequent([targets[i] for i in learned_from], vocab_sizes[1])
    lists = [(source_ids, target_ids), (np.full(len(frequent), end), frequent)]
    if is_shared:
        lists.append((np.arange(vocab_sizes[0]), np.arange(vocab_sizes[0])))
    arrays = _arrays(lists, *vocab_sizes)
    shortlist = Shortlist(arrays.offsets, arrays.target_ids, arrays.first)
    own = [(shortlist.candidates(sources[i]), targets[i]) for i in range(0, len(sources), HELD_OUT)]
    unchanged = float(np.mean([np.isin(row, ids).all() for ids, row in own]))
    if unchanged < LEAST_UNCHANGED:
        raise InputError(
            f"the shortlist learned from {len(learned_from)} sentences keeps {unchanged:.0%} of {len(own)} others as "
            f"they are (expected {LEAST_UNCHANGED:.0%}): give more text, or text of the kind that will be translated"
        )
    return LearnedShortlist(arrays, unchanged, float(np.mean([len(ids) for ids, _ in own])))


def _best_pairs(
    sources: Rows, targets: Rows, vocab_sizes: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The `BEST` targets of every source id, by how many of them Model 1 gives to it."""
    pairs, sizes = _token_pairs(sources, targets, vocab_sizes[1])
    known, places = np.unique(pairs, return_inverse=True)
    counts = _expected_counts(places, sizes, known // vocab_sizes[1], vocab_sizes[0])
    source_ids, target_ids = known // vocab_sizes[1], known % vocab_sizes[1]
    order = np.lexsort((-counts, source_ids))
    source_ids, target_ids = source_ids[order], target_ids[order]
    first = np.searchsorted(source_ids, np.arange(vocab_sizes[0]))
    best = np.arange(len(source_ids)) - first[source_ids] < BEST
    return source_ids[best], target_ids[best]


def _token_pairs(sources: Rows, targets: Rows, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``source * width + target`` of each target's sources, target by target; how many sources each target has."""
    pairs, sizes = [], []
    for source, target in zip(sources, targets, strict=True):
        left, right = np.unique(source), np.unique(target)
        pairs.append((left[None] * width + right[:, None]).ravel())
        sizes.append(np.full(len(right), len(left)))
    return np.concatenate(pairs), np.concatenate(sizes)


def _expected_counts(
    places: NDArray[np.int64], sizes: NDArray[np.int64], source_of: NDArray[np.int64], source_size: int
) -> NDArray[np.float64]:
    """How many targets each pair of ids explains, after `ITERATIONS` of expectation and maximisation.

    Args:
        places: of each pair of tokens, which pair of ids it is.
        sizes: how many consecutive ones share a target token.
        source_of: the source id of each pair of ids.
        source_size: source ids there are.
    """
    starts = np.cumsum(sizes) - sizes
    counts: NDArray[np.float64]
    probabilities = np.ones(len(source_of))
    for _ in range(ITERATIONS):
        shares = probabilities[places]
        shares /= np.repeat(np.add.reduceat(shares, starts), sizes)
        counts = np.bincount(places, shares, len(source_of)).astype(np.float64)
        probabilities = counts / np.bincount(source_of, counts, source_size)[source_of]
    return counts


def _most_frequent(targets: Rows, target_size: int) -> NDArray[np.int64]:
    """The `ALWAYS` ids that most sentences have."""
    frequency = np.bincount(np.concatenate([np.unique(row) for row in targets]), minlength=target_size)
    order = np.argsort(-frequency, kind="stable")[:ALWAYS]
    return order[frequency[order] > 0]


def _arrays(
    lists: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], source_size: int, target_size: int
) -> ShortlistArrays:
    """Pairs of ids as offsets and target ids; none below ``first`` = 1 is of interest but id 0."""
    keys = np.unique(np.concatenate([source * target_size + target for source, target in lists]))
    keys = keys[keys % target_size > 0]
    offsets = np.searchsorted(keys, np.arange(source_size + 1) * target_size)
    return ShortlistArrays(offsets.astype(np.uint32), (keys % target_size).astype(np.uint32), 1)
