"""Reads a text file of a user's, or one packaged with edgekit: whole, bounded, as UTF-8.

In: a file, plain or (by its name's ending) gzip. Out: its text and the SHA-256 of its bytes. Refused, in one line that
names the file: more than `MAX_TEXT_BYTES`, a file that cannot be read or unpacked, another encoding than UTF-8.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from importlib.resources.abc import Traversable

from edgekit.encodings import describe_utf_16
from edgekit.errors import InputError

__all__ = ["MAX_TEXT_BYTES", "read_text"]

# A user's file beyond this is no test set; a gzip bomb stops here too.
MAX_TEXT_BYTES = 64 * 2**20


def read_text(file: Traversable, shown: str, purpose: str) -> tuple[str, str]:
    """The text of a file, without a byte order mark, and the SHA-256 of its uncompressed bytes as hex digits.

    Args:
        file: What to read.
        shown: Its path or name, for messages; one that ends in ``.gz`` is unpacked.
        purpose: What the text is for, for messages, such as ``a test set``.

    Raises:
        InputError: The file cannot be read, holds more than 64 MiB of text, or is not UTF-8.
    """
    data = _read_bytes(file, shown, purpose)
    if found := describe_utf_16(data):
        raise InputError(f"{shown}: expected UTF-8, found {found}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{shown}: expected UTF-8, found another encoding in line {line}; convert the file") from None
    return text, hashlib.sha256(data).hexdigest()


def _read_bytes(file: Traversable, shown: str, purpose: str) -> bytes:
    try:
        with file.open("rb") as raw:
            if shown.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    data = unpacked.read(MAX_TEXT_BYTES + 1)
            else:
                data = raw.read(MAX_TEXT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{shown}: cannot be read as {purpose}: {error}; check the file") from None
    if len(data) > MAX_TEXT_BYTES:
        raise InputError(f"{shown}: expected at most {MAX_TEXT_BYTES >> 20} MiB of text, found more; use less of it")
    return data
