"""Remembers which bundles have been hashed and found whole, so that only the first load pays for it.

In: the fingerprint of a bundle as it lies on the disk. Out: whether that very fingerprint was verified before. The
answer is kept in edgekit's cache, one small file for each bundle path and kind of check, never in the bundle, which may
be read-only. A
cache that is absent, unwritable or damaged only means that the bundle is hashed again.

It is a guard against damage and against bundles from strangers, not against someone who can write to the user's cache.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import EdgekitError

# A file changed again within the same tick of the file system's clock keeps its time stamps, so nothing is remembered
# about files younger than the coarsest clock in use (FAT: 2 s). git calls this "racily clean".
SETTLED_NS = 2_000_000_000
# The checks that are remembered, by the ending of the marker's name.
HASHES, SELF_CHECK = "", ".self-check"


def fingerprint(manifest_sha256: str, statuses: Mapping[str, os.stat_result]) -> str:
    """Returns 64 hexadecimal digits that change when any file of a bundle is written, replaced or moved.

    Args:
        manifest_sha256: The SHA-256 of ``bundle.json``.
        statuses: The status of each file, by name. Of each, the size, inode, device and the times of the last change
            of contents and of status enter: the last cannot be set back by a program that restores the first.
    """
    parts = [manifest_sha256]
    for name in sorted(statuses):
        status = statuses[name]
        times = (status.st_mtime_ns, status.st_ctime_ns)
        parts.append(f"{name} {status.st_size} {status.st_dev} {status.st_ino} {times}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_verified(directory: Path, expected: str, check: str = HASHES) -> bool:
    """Returns whether the bundle at a resolved path passed a check when it had this fingerprint."""
    marker = _marker(directory, check)
    if marker is None:
        return False
    try:
        with open(marker, "rb") as file:
            return file.read(100) == expected.encode() + b"\n"
    except OSError:
        return False


def remember_verified(directory: Path, found: str, statuses: Mapping[str, os.stat_result]) -> None:
    """Notes that a bundle with this fingerprint was verified, unless it is too young or the cache is not writable."""
    newest = max((max(status.st_mtime_ns, status.st_ctime_ns) for status in statuses.values()), default=0)
    if newest + SETTLED_NS <= time.time_ns():
        remember(directory, found)


def remember(directory: Path, found: str, check: str = HASHES) -> None:
    """Notes that a bundle with this fingerprint passed a check, unless the cache is not writable."""
    marker = _marker(directory, check)
    if marker is None:
        return
    partial = marker.with_name(f"{marker.name}.{os.urandom(8).hex()}")
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(found.encode() + b"\n")
        os.replace(partial, marker)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()


def _marker(directory: Path, check: str) -> Path | None:
    from edgekit.cache import cache_dir  # only here: a bundle can be opened where there is no cache

    try:
        return cache_dir() / "verified" / (hashlib.sha256(os.fsencode(directory)).hexdigest() + check)
    except (EdgekitError, RuntimeError):  # no home directory; a "~name" without one
        return None
