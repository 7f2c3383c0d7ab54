"""A lock on a directory that ends with its process, however that ends.

In: a directory. Out: a lock, or None when another process holds it. It is an flock on the directory itself, so it
leaves no file behind and the directory can be renamed while it is held. Where the system has no such locks (Windows,
some network file systems) the lock is not enforced, and says so.
"""

import errno
import os
import sys
from pathlib import Path

_HELD_BY_ANOTHER = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


class DirectoryLock:
    """A directory that this process alone may change; `acquire` makes one."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        """Takes an open, locked descriptor of the directory; None where locks are not to be had."""
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> "DirectoryLock | None":
        """Locks a directory without waiting.

        Returns:
            The lock; None if another process (or lock of this one) holds it, or there is no such directory any more.
        """
        if sys.platform == "win32":
            return cls(path, None) if path.is_dir() and not path.is_symlink() else None
        import fcntl

        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            return None if error.errno in _HELD_BY_ANOTHER else cls(path, None)
        try:
            # Its former holder may have removed or renamed it between the two calls above.
            is_same = os.path.samestat(os.fstat(descriptor), os.lstat(path))
        except OSError:
            is_same = False
        if is_same:
            return cls(path, descriptor)
        os.close(descriptor)
        return None

    @property
    def is_enforced(self) -> bool:
        """Whether other processes are kept out."""
        return self._descriptor is not None

    def release(self) -> None:
        """Lets others have the directory, wherever it was renamed to."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
