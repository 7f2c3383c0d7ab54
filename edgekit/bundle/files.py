"""Names, sizes and hashes of a bundle's files.

A bundle is flat: each file is named by one plain component, valid on Linux, macOS and Windows. In: names and paths.
Out: problems in words, resolved paths, sizes in bytes and SHA-256 as hexadecimal digits. It refuses names and links
that lead out of the directory, and whatever is not a regular file.
"""

import hashlib
import os
import re
import stat
from pathlib import Path

from edgekit.bundle.single_file import PackedFile
from edgekit.cache import MANIFEST_NAME as MANIFEST_NAME
from edgekit.errors import BundleError

# What file managers put into any directory that they show: in a bundle's, neither a finding nor worth keeping.
FILE_MANAGER_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}", re.ASCII)
# Device names that Windows resolves in every directory, with any extension:
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
_DEVICE_NAME = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.ASCII | re.IGNORECASE)
_CHUNK_BYTES = 1 << 20


def file_name_problem(name: str) -> str | None:
    """Returns why a text cannot name a file of a bundle, or None if it can.

    Args:
        name: One component of at most 128 ASCII letters, digits and ``._+-`` that begins with a letter, a digit or
            ``_``; so no path separator, drive, ``..``, NUL or hidden file. ``bundle.json`` does not list itself.
    """
    if not _PLAIN_NAME.fullmatch(name) or name.endswith("."):
        return "not a plain file name"
    if _DEVICE_NAME.fullmatch(name):
        return "a device name on Windows"
    if name.casefold() == MANIFEST_NAME:
        return "the manifest's own name"
    return None


def resolve_file(directory: Path, name: str) -> tuple[Path, os.stat_result]:
    """Returns where a file of a bundle really lies, and its status.

    Args:
        directory: The bundle's directory, resolved already.
        name: A plain name, as `file_name_problem` wants it, or ``bundle.json``.

    Raises:
        BundleError: The file is missing, not a regular file, or a link to something outside the directory.
    """
    path = directory / name
    try:
        resolved = path.resolve(strict=True)
        status = resolved.stat()
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise BundleError(f"{path}: expected a file of the bundle, found {reason}; export the model again") from None
    if not resolved.is_relative_to(directory):
        raise BundleError(f"{path}: expected a file inside the bundle, found a link out of it; do not use this bundle")
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: expected a regular file, found another kind; do not use this bundle")
    return resolved, status


def hash_file(path: Path | PackedFile) -> tuple[int, str]:
    """Returns a file's size in bytes and its SHA-256 in lower-case hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return size_bytes, digest.hexdigest()


def sync_file(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk.

    Raises:
        OSError: The file cannot be opened or written through.
    """
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a directory for this, and its rename does not need it
    # Windows flushes only what is open for writing; elsewhere a read-only file can be flushed too.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
