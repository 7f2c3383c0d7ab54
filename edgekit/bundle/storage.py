"""Where the files of a bundle are: in a directory, or within one packed file.

In: a resolved path. Out: each file by name, its size, and the status by which a change would show. Both refuse what
leads out of the bundle; neither looks into the files.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from edgekit.bundle.files import FILE_MANAGER_NAMES, MANIFEST_NAME, resolve_file
from edgekit.bundle.single_file import PackedFile, read_entries
from edgekit.cache import is_packed
from edgekit.errors import BundleError


class Storage(Protocol):
    """What reading a bundle asks of either form; ``path`` is the directory's or the packed file's."""

    path: Path

    def file(self, name: str) -> Path | PackedFile:
        """Returns a file; raises `BundleError` if there is none, or it is not a plain one within the bundle."""
        ...

    def status(self, name: str) -> tuple[int, os.stat_result]:
        """Returns a file's size in bytes, and the status of what holds it; raises as `file`."""
        ...

    def unlisted(self, names: Collection[str]) -> list[tuple[str, int]]:
        """Returns name and size of everything else than ``names`` and the manifest, in order of name."""
        ...


class DirectoryStorage:
    """A bundle's directory."""

    def __init__(self, path: Path) -> None:
        """Takes a resolved path."""
        self.path = path

    def file(self, name: str) -> Path:
        """See `Storage`."""
        return resolve_file(self.path, name)[0]

    def status(self, name: str) -> tuple[int, os.stat_result]:
        """See `Storage`."""
        status = resolve_file(self.path, name)[1]
        return status.st_size, status

    def unlisted(self, names: Collection[str]) -> list[tuple[str, int]]:
        """See `Storage`; what file managers leave is passed over."""
        try:
            extra = sorted(set(os.listdir(self.path)) - set(names) - {MANIFEST_NAME} - FILE_MANAGER_NAMES)
            return [(name, (self.path / name).lstat().st_size) for name in extra]
        except OSError as error:
            raise BundleError(f"{self.path}: expected a readable directory, found {error.strerror}") from None


class PackedStorage:
    """A packed bundle; its directory is read once."""

    def __init__(self, path: Path) -> None:
        """Reads the directory of a file.

        Raises:
            BundleError: It is no packed bundle, or a damaged one.
        """
        self.path = path
        self._entries = read_entries(path)

    def file(self, name: str) -> PackedFile:
        """See `Storage`."""
        if name not in self._entries:
            raise BundleError(f"{self.path}/{name}: expected a file of the bundle, found none; pack it again")
        return self._entries[name]

    def status(self, name: str) -> tuple[int, os.stat_result]:
        """See `Storage`."""
        try:
            return self.file(name).size_bytes, self.path.stat()
        except OSError as error:
            raise BundleError(f"{self.path}: expected a packed bundle, found {error.strerror}") from None

    def unlisted(self, names: Collection[str]) -> list[tuple[str, int]]:
        """See `Storage`."""
        extra = sorted(set(self._entries) - set(names) - {MANIFEST_NAME})
        return [(name, self._entries[name].size_bytes) for name in extra]


def open_storage(path: Path) -> Storage:
    """Returns what holds the bundle at a resolved path.

    Raises:
        BundleError: It is neither a directory with a manifest nor a packed bundle.
    """
    if os.path.lexists(path / MANIFEST_NAME):
        return DirectoryStorage(path)
    if is_packed(path):
        return PackedStorage(path)
    if path.is_dir():
        raise BundleError(
            f"{path}: expected a bundle, a directory with {MANIFEST_NAME}, found none; make one with `edgekit export`"
        )
    raise BundleError(f"{path}: expected a packed bundle, found another kind of file; `edgekit pack` makes one")
