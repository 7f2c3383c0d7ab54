"""A checkpoint's bytes, memory-mapped: what is never looked at is never read, and nothing is copied.

In: a path. Out: a read-only memoryview; arrays made over it with `numpy.frombuffer` keep the mapping alive. Refuses
whatever is not a regular file, so that a pipe or a device can't make a reader wait for ever.
"""

import mmap
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError


def map_file(path: Path, what: str) -> memoryview:
    """The bytes of a file, read-only.

    Args:
        path: A regular file, or a link to one (the Hugging Face cache is made of links).
        what: What the file should be, for messages: "a Marian model".

    Raises:
        SourceError: The file is missing, unreadable, empty or not a regular file.
    """
    try:
        # Opening a named pipe would block, so what it is is asked first.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise SourceError(f"{path}: expected {what}, found something that is not a regular file")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise SourceError(f"{path}: expected {what}, found an empty file; fetch it again")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{path}: expected {what}, found: {reason}") from None
    if data[:40].tobytes().startswith(b"version https://git-lfs"):
        raise SourceError(f"{path}: expected {what}, found a Git LFS pointer to it; fetch the file with git lfs pull")
    return data


def forget_pages(data: memoryview) -> None:
    """Gives back the memory of what was read of a mapped file; what is read again comes from the system's cache.

    Views stay valid. Does nothing where the system has no such call (Windows).
    """
    if hasattr(mmap, "MADV_DONTNEED") and isinstance(data.obj, mmap.mmap):
        data.obj.madvise(mmap.MADV_DONTNEED)


class Cursor:
    """Reads arrays from the front of mapped bytes, and never beyond their end.

    Attributes:
        position: The offset of the next byte to read.
    """

    def __init__(self, data: memoryview, path: Path, what: str) -> None:
        """Starts at the first byte of ``data``; ``path`` and ``what`` are for messages."""
        self.position = 0
        self._data, self._path, self._what = data, path, what

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self.position

    def skip(self, length: int, part: str) -> int:
        """Moves on by ``length`` bytes and returns where they began; ``part`` names them.

        Raises:
            SourceError: Fewer bytes are left.
        """
        if length > self.remaining:
            raise SourceError(
                f"{self._path}: expected {self._what} with {length} bytes of {part} at offset {self.position}, "
                f"found {self.remaining} bytes; the file is cut short or damaged, fetch it again"
            )
        start = self.position
        self.position += length
        return start

    def array(self, dtype: str, count: int, part: str) -> NDArray[Any]:
        """The next ``count`` elements, a read-only view ``[count]``; ``part`` names them.

        Raises:
            SourceError: Fewer elements are left.
        """
        start = self.skip(count * np.dtype(dtype).itemsize, part)
        return np.frombuffer(self._data, dtype, count, start)
