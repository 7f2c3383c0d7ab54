"""Tells UTF-16 from the UTF-8 that edgekit reads: a NUL is a character of UTF-8, so its decoder takes both.

In: the bytes that a text begins with. Out: what they are instead of UTF-8 and how to convert them, or None. Standard
library only. Other encodings are told by the decoder, which refuses their bytes.
"""

from __future__ import annotations

import codecs

__all__ = ["CONVERT", "SAMPLE_BYTES", "describe_utf_16"]

CONVERT = "iconv -f {} -t UTF-8 converts it"
# Bytes that are looked at, and the least part of them that is zero: without a mark, a Latin letter has one zero byte of
# two, and in other scripts spaces and line ends have, an eighth of the characters. Two, since one is a stray NUL.
SAMPLE_BYTES, LEAST_PART, LEAST_ZEROS = 4096, 1 / 32, 2
# In UTF-16 they are all on one side of each pair, but for the few characters of whole pages such as U+0100.
LEAST_RATIO = 4


def describe_utf_16(beginning: bytes) -> str | None:
    """What to say of a text that is UTF-16, to follow "found"; None of any other.

    Example: of ``b"H\\0i\\0"``, ``UTF-16LE without a byte order mark; iconv -f UTF-16LE -t UTF-8 converts it``.
    """
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return f"UTF-16; {CONVERT.format('UTF-16')}"
    sample = beginning[:SAMPLE_BYTES]
    high, low = sample[::2].count(0), sample[1::2].count(0)
    fewer, more = sorted((high, low))
    if more < LEAST_ZEROS or more < LEAST_PART * len(sample) or more <= LEAST_RATIO * fewer:
        return None
    name = "UTF-16BE" if high > low else "UTF-16LE"
    return f"{name} without a byte order mark; {CONVERT.format(name)}"
