"""SentencePiece's character normalisation, exact: the longest rule that matches at each position wins.

A precompiled charsmap holds such rules (nmt_nfkc has 225,000) as a double-array trie. `tokenizers` reads the same
blob, but a grapheme at a time: of "e", U+0301 and U+0323 it loses the last, and in "a", U+0301 and a ZWJ it composes
nothing. So edgekit walks the trie itself. Most characters need no walk: one regular expression finds those that do.

In: the blob and text. Out: text. White space is left to the caller. Refused: a blob whose lengths do not agree with
its size. A blob that lies further inside gives other text, never an error, a loop or a read outside.

Layout (github.com/google/sentencepiece, src/normalizer.cc, EncodePrecompiledCharsMap): u32 size in bytes of the trie;
the trie, u32 units of Darts-clone (github.com/s-yata/darts-clone, include/darts.h, DoubleArrayUnit); the
replacements, UTF-8, each ended by NUL. All little endian.
"""

from __future__ import annotations

import re
import struct
from array import array
from functools import lru_cache, partial
from sys import byteorder

import numpy as np

_UNIT_BYTES = 4
# DoubleArrayUnit: bits 0-7 label, 8 has_leaf, 9 offset is in units of 256, 10-30 offset, 31 set in leaves only.
_LABEL = 0x800000FF
_HAS_LEAF = 0x100
_VALUE = 0x7FFFFFFF
# Characters; the longest of nmt_nfkc has 4. A trie made to go in circles is left here.
_LONGEST_RULE = 32
_CACHED_CHARACTERS = 8192
_ASCII_CODES = np.arange(128)


class Charsmap:
    """The rules of one precompiled charsmap; immutable, so threads may share it.

    Args:
        blob: A SentencePiece model's ``normalizer_spec.precompiled_charsmap``; empty for no rules.
        symbols: Texts that no rule changes (user-defined symbols); the longest that matches comes before any rule.

    Raises:
        ValueError: The lengths in the blob do not agree with its size.
    """

    def __init__(self, blob: bytes, symbols: tuple[str, ...] = ()) -> None:
        self._units, self._replacements = read_charsmap(blob)
        longest_first = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True))
        self._symbol = re.compile(longest_first) if symbols else None
        # Most scripts use few characters: what a rule may begin with is looked up once each.
        self._first = lru_cache(_CACHED_CHARACTERS)(partial(self._child, 0) if self._units else lambda char: None)
        plain = re.escape("".join(char for char in map(chr, _ASCII_CODES) if self._is_plain(char)))
        walked = f"[^{plain}]" if self._units else None
        patterns = [pattern for pattern in (longest_first, walked) if pattern]
        self._affected = re.compile("|".join(patterns), re.DOTALL) if patterns else None

    def apply(self, text: str) -> str:
        """Returns the text with every rule applied once, left to right; nothing is applied to a replacement."""
        if self._affected is None:
            return text
        parts, position = [], 0
        while found := self._affected.search(text, position):
            # A rule may begin with the plain character before: "e" and a combining accent, say.
            start = max(found.start() - 1, position)
            parts.append(text[position:start])
            position = start
            while position < found.end():
                replacement, position = self._longest(text, position)
                parts.append(replacement)
        parts.append(text[position:])
        return "".join(parts)

    def _longest(self, text: str, start: int) -> tuple[str, int]:
        """Returns what stands for the text at `start`, and where the text goes on."""
        if self._symbol and (symbol := self._symbol.match(text, start)):
            return symbol.group(), symbol.end()
        replacement, end = text[start], start + 1
        node, position = self._first(replacement), end
        limit = min(start + _LONGEST_RULE, len(text))
        while node is not None:
            if self._units[node] & _HAS_LEAF:
                replacement, end = self._replacement(node), position
            node = self._child(node, text[position]) if position < limit else None
            position += 1
        return replacement, end

    def _child(self, node: int, char: str) -> int | None:
        """Returns the node that one more character leads to, or None if no rule goes on with it."""
        units = self._units
        for byte in char.encode():
            node ^= _offset(units[node]) ^ byte
            if node >= len(units) or units[node] & _LABEL != byte:
                return None
        return node

    def _replacement(self, node: int) -> str:
        """Returns the replacement that a node with a leaf names."""
        leaf = node ^ _offset(self._units[node])
        start = self._units[leaf] & _VALUE if leaf < len(self._units) else len(self._replacements)
        return self._replacements[start : self._replacements.find(b"\0", start)].decode(errors="replace")

    def _is_plain(self, char: str) -> bool:
        """Returns whether a character maps to itself and no rule begins with it and another ASCII character."""
        node = self._first(char)
        if node is None:
            return True
        # `_child` of every ASCII character at once: one by one they would take half of a tokenizer's loading.
        units = np.frombuffer(self._units, np.uint32)
        places = node ^ _offset(self._units[node]) ^ _ASCII_CODES
        exists = places < len(units)
        if (units[places[exists]] & _LABEL == _ASCII_CODES[exists]).any():
            return False
        return not self._units[node] & _HAS_LEAF or self._replacement(node) == char


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


def read_charsmap(blob: bytes) -> tuple[array[int], bytes]:
    """Returns the trie's units and the replacements, both empty for an empty charsmap.

    Raises:
        ValueError: The lengths in the blob do not agree with its size.
    """
    if not blob:
        return array("I"), b""
    if len(blob) < 2 * _UNIT_BYTES:
        raise ValueError(f"a charsmap of {len(blob)} bytes")
    (trie_bytes,) = struct.unpack_from("<I", blob)
    if trie_bytes % _UNIT_BYTES or not 0 < trie_bytes < len(blob) - _UNIT_BYTES:
        raise ValueError(f"a charsmap of {len(blob)} bytes whose trie is said to take {trie_bytes}")
    units = array("I", blob[_UNIT_BYTES : _UNIT_BYTES + trie_bytes])
    if byteorder == "big":
        units.byteswap()
    replacements = blob[_UNIT_BYTES + trie_bytes :]
    if not replacements.endswith(b"\0"):
        raise ValueError("a charsmap whose last replacement has no end")
    return units, replacements
