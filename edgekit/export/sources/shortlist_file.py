"""Bergamot's lexical shortlists (``lex.*.s2t.bin``): which target ids a source id can plausibly need.

In: a file of offsets and target ids behind a header with a checksum. Out: `Shortlist`, two arrays. Refuses a wrong
checksum, sizes that don't fit the vocabularies, and ids out of range. Gzip is undone by whoever fetched the file.

Layout and checksum: browsermt/marian-dev 2781d735, src/data/shortlist.h (BinaryShortlistGenerator, hashMem).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.export.sources.mapped_file import Cursor, map_file

WHAT = "a lexical shortlist"
MAGIC = 0xF11A48D5013417F5
# The published ones have up to 13 MB; the checksum takes a second for 50 MB.
MAX_BYTES = 256 << 20

_HASHED_FROM = 16  # behind the magic and the checksum
_HASH_INCREMENT = 0x9E3779B9
_64_BITS = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Shortlist:
    """Target ids by source id.

    Attributes:
        first: So many of the most frequent target ids are always candidates: 0 to ``first - 1``.
        best: At most so many target ids were kept for a source id.
        offsets: uint32 ``[source_vocab_size + 1]``; source id ``i`` has ``target_ids[offsets[i]:offsets[i + 1]]``.
        target_ids: uint32 ``[offsets[-1]]``, each below ``target_vocab_size``.
    """

    first: int
    best: int
    offsets: NDArray[np.uint32]
    target_ids: NDArray[np.uint32]


def read_shortlist(path: Path, source_vocab_size: int, target_vocab_size: int) -> Shortlist:
    """Reads a binary shortlist.

    Args:
        path: The file, not compressed, of at most 256 MiB.
        source_vocab_size: How many source ids the model has.
        target_vocab_size: How many target ids the model has.

    Raises:
        SourceError: The file is missing, of another format, damaged, or made for other vocabularies.
    """
    data = map_file(path, WHAT)
    if len(data) > MAX_BYTES:
        raise SourceError(f"{path}: expected {WHAT} of at most {MAX_BYTES} bytes, found {len(data)}")
    cursor = Cursor(data, path, WHAT)
    magic, checksum, first, best, offset_count, id_count = cursor.array("<u8", 6, "header").tolist()
    if magic != MAGIC:
        raise SourceError(f"{path}: expected {WHAT} (magic 0x{MAGIC:x}), found 0x{magic:x}; is it compressed or text?")
    if offset_count != source_vocab_size + 1:
        raise SourceError(
            f"{path}: expected {WHAT} for {source_vocab_size} source ids, found {offset_count - 1}; "
            "the model and its shortlist don't belong together"
        )
    offsets = cursor.array("<u8", offset_count, "offsets")
    target_ids = cursor.array("<u4", id_count, "target ids")
    if cursor.remaining:
        raise SourceError(f"{path}: expected the target ids to end the file, found {cursor.remaining} bytes after them")
    if hash_words(data[_HASHED_FROM:]) != checksum:
        raise SourceError(f"{path}: the checksum is wrong, so the file is damaged; fetch it again")
    if offsets[0] != 0 or offsets[-1] != id_count or (offsets[1:] < offsets[:-1]).any():
        raise SourceError(f"{path}: expected offsets that rise from 0 to {id_count}; the file is damaged")
    if not 0 <= first <= target_vocab_size or (id_count and target_ids.max() >= target_vocab_size):
        raise SourceError(
            f"{path}: expected target ids below {target_vocab_size}, found others; "
            "the model and its shortlist don't belong together"
        )
    return Shortlist(first, best, offsets.astype(np.uint32), target_ids.astype(np.uint32))


def hash_words(data: bytes | memoryview) -> int:
    """The 64-bit checksum over whole 64-bit words, a trailing half word ignored: Boost's hash_combine, repeated.

    Each step needs the one before, so this is a loop over Python integers: about 0.2 s a million words.
    """
    seed = 0
    words = np.frombuffer(data, "<u8", len(data) // 8)
    # In pieces, since a list of Python integers takes 40 bytes a word.
    for start in range(0, len(words), 1 << 16):
        for word in words[start : start + (1 << 16)].tolist():
            seed ^= (word + _HASH_INCREMENT + (seed << 6) + (seed >> 2)) & _64_BITS
    return seed
