"""Unpacks gzip files from strangers: within a bound, whole or not at all.

In: a file that was fetched or lies in a user's directory. Out: its content in another file. Refuses files that are
truncated, corrupted or unpack to more than is allowed.
"""

import gzip
import os
import zlib
from pathlib import Path

from edgekit.errors import SourceError

__all__ = ["is_gzip", "unpack_gzip"]

CHUNK_BYTES = 1 << 16


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip files do (RFC 1952, section 2.3.1)."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def unpack_gzip(source: Path, target: Path, max_bytes: int) -> None:
    """Write the content of a gzip file to `target`, whole or not at all.

    Raises:
        SourceError: The file is truncated, corrupted or unpacks to more than `max_bytes`.
        OSError: A file can't be read or written.
    """
    part = target.with_name(f"{target.name}.part")
    written = 0
    try:
        with gzip.open(source) as packed, open(part, "wb") as file:
            while chunk := packed.read(CHUNK_BYTES):
                written += len(chunk)
                if written > max_bytes:
                    raise SourceError(f"{source.name} unpacks to more than {max_bytes:,} bytes; it is no model file")
                file.write(chunk)
        os.replace(part, target)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{source.name} is not a whole gzip file ({error}); fetch it again") from None
    finally:
        part.unlink(missing_ok=True)
