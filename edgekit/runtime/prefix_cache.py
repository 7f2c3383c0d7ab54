"""Keys and values of texts that were calculated before, for the next text with the same beginning.

A conversation's next turn repeats all of it, a service's prompts begin with the same instructions: what was calculated
for the common beginning is copied, which takes about a hundredth of the time.

In: ids and copies of their state. Out: the longest common beginning. Bounded: the least recently used go first.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.runtime.state_buffers import Entries

ID_BYTES = 8


@dataclass(frozen=True)
class _Prefix:
    ids: NDArray[np.int64]
    entries: Entries

    @property
    def size_bytes(self) -> int:
        return self.ids.nbytes + sum(array.nbytes for array in self.entries)


class PrefixCache:
    """Holds at most ``limit_bytes``; any number of threads may use it at once.

    Attributes:
        limit_bytes: 0 for a cache that holds nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Starts empty."""
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._prefixes: list[_Prefix] = []  # the most recently used last

    @property
    def size_bytes(self) -> int:
        """What is held now."""
        with self._lock:
            return sum(prefix.size_bytes for prefix in self._prefixes)

    def most_tokens(self, bytes_per_token: int) -> int:
        """How many tokens of a text fit in when one takes so much."""
        return self.limit_bytes // (bytes_per_token + ID_BYTES)

    def longest(self, ids: Sequence[int]) -> tuple[int, Entries]:
        """How many of the first ``ids`` are known, and the entries that begin with them; ``(0, ())`` for none."""
        wanted = np.asarray(ids, np.int64)
        with self._lock:
            lengths = [common_length(prefix.ids, wanted) for prefix in self._prefixes]
            if not any(lengths):
                return 0, ()
            best = int(np.argmax(lengths))
            found = self._prefixes.pop(best)
            self._prefixes.append(found)
            return lengths[best], found.entries

    def add(self, ids: Sequence[int], entries: Entries) -> None:
        """Remembers the entries of ``ids``, which nobody changes from here on.

        What another text's ids begin with is held already; what these ids begin with is held with them.
        """
        added = _Prefix(np.asarray(ids, np.int64), entries)
        if added.size_bytes > self.limit_bytes:
            return
        with self._lock:
            if any(common_length(prefix.ids, added.ids) == len(added.ids) for prefix in self._prefixes):
                return
            kept = [prefix for prefix in self._prefixes if common_length(prefix.ids, added.ids) < len(prefix.ids)]
            room = self.limit_bytes - added.size_bytes
            while sum(prefix.size_bytes for prefix in kept) > room:
                del kept[0]
            self._prefixes = [*kept, added]

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._prefixes = []


def common_length(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many ids both begin with: ``[1, 2, 3], [1, 2, 4]`` -> 2."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
