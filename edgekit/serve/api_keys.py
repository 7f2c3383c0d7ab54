"""API keys: read from the environment or a file, compared in constant time.

Keys are kept as SHA-256 digests of one length, and each is compared with all of them, so the time that a comparison
takes tells nothing about a key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from edgekit.encodings import describe_utf_16
from edgekit.errors import InputError

VARIABLE = "EDGEKIT_API_KEYS"
MAX_FILE_BYTES = 2**20


class ApiKeys:
    """The keys of a server; with none, every request is allowed."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """Takes keys, none empty."""
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None) -> ApiKeys:
        """Reads the keys of a file, one a line, and those of ``EDGEKIT_API_KEYS``, between commas or white space.

        Args:
            path: The file; lines that begin with ``#`` are comments. None for the environment alone.

        Raises:
            InputError: The file can't be read, is too large, is UTF-16 or has no key; or the variable is set and has
                none.
        """
        keys: list[str] = []
        if path is not None:
            try:
                with Path(path).open("rb") as file:
                    data = file.read(MAX_FILE_BYTES + 1)
            except OSError as error:
                raise InputError(f"{path}: the API keys cannot be read: {error.strerror}") from None
            if len(data) > MAX_FILE_BYTES:
                raise InputError(f"{path}: expected API keys, one a line, found more than {MAX_FILE_BYTES >> 20} MiB")
            if found := describe_utf_16(data):
                raise InputError(f"{path}: expected API keys in UTF-8, found {found}")
            lines = [line.strip() for line in data.decode("utf-8", errors="replace").splitlines()]
            keys = [line for line in lines if line and not line.startswith("#")]
            if not keys:
                raise InputError(f"{path}: expected API keys, one a line, found none; leave the option out for no keys")
        if (variable := os.environ.get(VARIABLE)) is not None:
            named = variable.replace(",", " ").split()
            if not named:
                raise InputError(f"{VARIABLE} is set but has no key; unset it for no keys")
            keys += named
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def allows(self, key: str | None) -> bool:
        """Whether a request with this key, or with none, may be answered."""
        if not self._digests:
            return True
        given, allowed = _digest(key or ""), False
        for digest in self._digests:
            allowed |= hmac.compare_digest(digest, given)
        return allowed and bool(key)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="replace")).digest()
