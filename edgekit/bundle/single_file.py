"""A bundle in one file: where its files lie in it, and reading them in place.

Such a file is a zip archive (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT) of one narrow form, so that
any unzip program unpacks it, and the weights can be mapped into memory from where they are: nothing is compressed or
encrypted, ``bundle.json`` comes first, every file begins at a multiple of `ALIGNMENT`, and there are no comments, no
ZIP64 records and nothing else than plain files.

In: the path of a file that may come from a stranger. Out: its entries by name, each checked to lie within the file,
none over another. Whether they are what the manifest says is `edgekit.bundle.read`'s question. Refused, in one line:
everything else that a zip archive may be.
"""

import io
import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from edgekit.errors import BundleError

# Pages are mapped: of 4 KiB on most machines.
ALIGNMENT = 4096
# Beyond 2 GiB programs differ on whether ZIP64 records are needed, which this form has not.
MAX_SIZE_BYTES = 2_000_000_000
MAX_ENTRIES = 256

# APPNOTE 4.3.7, 4.3.12 and 4.3.16, without their variable parts.
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
LOCAL_HEADER_BYTES = _LOCAL.size
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# Where a central header's tuple has flags and method, the size, the lengths of what follows it, the entry's offset.
_METHOD, _SIZE, _LENGTHS, _OFFSET = slice(3, 5), 9, slice(10, 13), 16


@dataclass(frozen=True)
class PackedFile:
    """A file within a packed bundle; it opens as a `pathlib.Path` does.

    Attributes:
        pack: The file that it is part of.
        name: Its own name.
        offset: Where it begins there, in bytes.
        size_bytes: How long it is.
    """

    pack: Path
    name: str
    offset: int
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.pack}/{self.name}"

    def open(self, mode: Literal["rb"]) -> io.BufferedReader:
        """A stream of its bytes.

        Raises:
            OSError: The file can't be read.
        """
        return io.BufferedReader(_Slice(self))


def read_bytes(file: Path | PackedFile, most: int) -> bytes:
    """A file's bytes, of which no more are asked for than it has.

    Raises:
        ValueError: There are more than ``most``.
        OSError: It can't be read.
    """
    with file.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) > most:
            raise ValueError(f"more than {most} bytes")
        stream.seek(0)
        return stream.read()


class _Slice(io.RawIOBase):
    """The bytes of one entry as a file."""

    def __init__(self, entry: PackedFile) -> None:
        self._file = open(entry.pack, "rb", buffering=0)  # noqa: SIM115
        self._start, self._size, self._position = entry.offset, entry.size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), max(0, self._size - self._position))
        self._file.seek(self._start + self._position)
        read = self._file.readinto(memoryview(buffer)[:count])
        self._position += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


def read_entries(path: Path) -> dict[str, PackedFile]:
    """The files within a packed bundle, by name, in the order in which they lie there.

    Raises:
        BundleError: It can't be read, or is no archive of the form above.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            listed, end = _read_directory(file, size)
            entries = [_read_entry(path, file, *one) for one in listed]
    except OSError as error:
        raise BundleError(f"{path}: expected a readable file, found {error.strerror}; check its permissions") from None
    except ValueError as error:
        raise BundleError(f"{path}: expected a packed bundle, found {error}; pack or copy it again") from None
    places = [(entry.offset, entry.offset + entry.size_bytes, entry.name) for entry in entries]
    for (_, stop, name), (start, _, _) in pairwise([*places, (end, end, "")]):
        if stop > start:
            raise BundleError(f"{path}: expected files one behind the other, found {name[:60]!a} reaching too far")
    return {entry.name: entry for entry in entries}


def _read_directory(file: io.BufferedReader, size: int) -> tuple[list[tuple[str, int, int]], int]:
    """Name, size and header's offset of each entry, and where the directory that lists them begins."""
    if not _END.size <= size <= MAX_SIZE_BYTES:
        raise ValueError(f"{size} bytes")
    file.seek(size - _END.size)
    mark, disk, first_disk, here, count, length, start, comment = _END.unpack(file.read(_END.size))
    if mark != _END_MARK or disk or first_disk or here != count or comment or start + length + _END.size != size:
        raise ValueError("another end than a packed bundle's, as if it were cut short")
    if not 0 < count <= MAX_ENTRIES:
        raise ValueError(f"{count} files in it")
    file.seek(start)
    directory = file.read(length)
    listed: list[tuple[str, int, int]] = []
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > length:
            raise ValueError("a directory that ends too early")
        fields = _CENTRAL.unpack_from(directory, position)
        name_length, extra_length, comment_length = fields[_LENGTHS]
        position += _CENTRAL.size
        name = directory[position : position + name_length].decode("ascii", "replace")
        if fields[0] != _CENTRAL_MARK or fields[_METHOD] != (0, 0) or extra_length or comment_length:
            raise ValueError(f"{name[:60]!a} in another form than stored as it is")
        position += name_length
        listed.append((name, fields[_SIZE], fields[_OFFSET]))
    if position != length or len({name for name, _, _ in listed}) < count:
        raise ValueError("a directory with something twice, or more than it should have")
    return listed, start


def _read_entry(path: Path, file: io.BufferedReader, name: str, size_bytes: int, header: int) -> PackedFile:
    """An entry, whose own header must say what the directory says: other programs may believe the one or the other."""
    file.seek(header)
    data = file.read(_LOCAL.size)
    if len(data) < _LOCAL.size:
        raise ValueError(f"no header of {name[:60]!a}")
    mark, _, flags, method, _, _, _, stored, size, name_length, extra_length = _LOCAL.unpack(data)
    found = file.read(name_length).decode("ascii", "replace")
    if (mark, flags, method, stored, size, found) != (_LOCAL_MARK, 0, 0, size_bytes, size_bytes, name):
        raise ValueError(f"another header of {name[:60]!a} than its directory says")
    offset = header + _LOCAL.size + name_length + extra_length
    if offset % ALIGNMENT:
        raise ValueError(f"{name[:60]!a} at byte {offset}, no multiple of {ALIGNMENT}")
    return PackedFile(path, name, offset, size_bytes)
