"""``pytorch_model.bin`` without torch, and without executing anything in it.

In: a state dict that torch.save wrote, as a zip archive (torch 1.6 and later) or as the stream of older versions.
Out: arrays by name, float16 and bfloat16 widened to float32; tensors that share a storage share memory. Refuses
pickles that want more than tensors (see `pickled_tensors`), compressed or repeated archive entries, views that reach
beyond their storage, and big-endian files. An archive's arrays are views of the memory-mapped file; the old stream
does not align them, so they are copied unless they lie well by chance.

Layouts: pytorch/pytorch, torch/serialization.py (_save, _legacy_save), caffe2/serialize/inline_container.h.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.element_types import stored_dtype, widen, widened_dtype
from edgekit.export.sources.mapped_file import Cursor, map_file
from edgekit.export.sources.pickled_tensors import StorageRef, TensorRef, read_pickle

WHAT = "a torch checkpoint"
# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION of the stream format
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# The pickle of a model of 500 tensors has 40 KB, its archive's directory 50 KB.
MAX_PICKLE_BYTES = 16 << 20
MAX_DIRECTORY_BYTES = 4 << 20

Storage = Callable[[StorageRef], NDArray[np.uint8]]


def read_torch_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the tensors of a state dict.

    Returns:
        Arrays by name, C-ordered, not to be written to; float16 and bfloat16 as float32.

    Raises:
        SourceError: The file is missing, cut short, damaged or hostile, or holds something else than a state dict.
        UnsupportedError: The file was written on a big-endian machine.
    """
    data = map_file(path, WHAT)
    if data[:2].tobytes() == b"PK":
        tensors, storage = _read_archive(path, data)
    elif data[:1].tobytes() == b"\x80":
        tensors, storage = _read_stream(path, data)
    else:
        raise SourceError(f"{path}: expected {WHAT}, found neither a zip archive nor a pickle; fetch it again")
    _check_state_dict(path, tensors)
    _check_views(path, tensors, len(data))
    # Tied weights are one view under several names, and stay one array.
    arrays = {ref: _read_tensor(storage(ref.storage), ref) for ref in dict.fromkeys(tensors.values())}
    return {name: arrays[ref] for name, ref in tensors.items()}


def _read_archive(path: Path, data: memoryview) -> tuple[Any, Storage]:
    entries = _read_directory(path, data)
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise SourceError(f"{path}: expected one data.pkl in {WHAT}, found {len(pickles)}; is it another archive?")
    root = pickles[0].removesuffix("data.pkl")
    if entries.get(f"{root}byteorder", b"little") != b"little":
        raise UnsupportedError(
            f"{path}: expected little-endian tensors, found others; save it again on a usual machine"
        )
    pickle = entries[pickles[0]]
    if len(pickle) > MAX_PICKLE_BYTES:
        raise SourceError(f"{path}: expected a pickle of at most {MAX_PICKLE_BYTES} bytes, found {len(pickle)}")

    def storage(ref: StorageRef) -> NDArray[np.uint8]:
        stored = entries.get(f"{root}data/{ref.key}", memoryview(b""))
        _check_length(path, ref, len(stored))
        return np.frombuffer(stored, np.uint8)

    return read_pickle(BytesIO(pickle), f"{path}: {pickles[0]}"), storage


def _read_directory(path: Path, data: memoryview) -> dict[str, memoryview]:
    """The bytes of each entry of a zip archive by name, where they lie in the file."""
    try:
        with zipfile.ZipFile(_BoundedFile(data)) as archive:
            infos = archive.infolist()
    # NotImplementedError: a newer zip version; the others: fields that make no sense
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, OSError, struct.error) as error:
        reason = f"{error}"[:100] or type(error).__name__
        raise SourceError(f"{path}: expected {WHAT}, found a damaged zip archive ({reason}); fetch it again") from None
    entries = {}
    for info in infos:
        if info.filename in entries:
            raise SourceError(f"{path}: expected each entry once, found {info.filename[:100]!r} twice; don't use it")
        # torch never compresses, so a small file can't describe a large tensor.
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise SourceError(
                f"{path}: expected plain entries, found a compressed {info.filename[:100]!r}; don't use it"
            )
        entries[info.filename] = _entry_bytes(path, data, info)
    return entries


def _entry_bytes(path: Path, data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    # The local header (30 bytes, name, padding to a multiple of 64) is not the directory's: its lengths differ.
    header = data[max(info.header_offset, 0) :][:30].tobytes()
    if info.header_offset >= 0 and len(header) == 30 and header.startswith(b"PK\x03\x04"):
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        start = info.header_offset + 30 + name_length + extra_length
        if start + info.file_size <= len(data):
            return data[start : start + info.file_size]
    raise SourceError(
        f"{path}: expected the entry {info.filename[:100]!r} inside the file, found it cut short or moved"
    )


class _BoundedFile(io.RawIOBase):
    """Mapped bytes as a file for zipfile, which would read a directory of any size into memory and parse it."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._position = data, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        if position < 0:
            raise OSError("a negative offset")
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        chunk = self._data[self._position :][: size if size >= 0 else None]
        if len(chunk) > MAX_DIRECTORY_BYTES:
            raise OSError(f"a directory of more than {MAX_DIRECTORY_BYTES} bytes")
        self._position += len(chunk)
        return chunk.tobytes()


def _read_stream(path: Path, data: memoryview) -> tuple[Any, Storage]:
    """The format before torch 1.6: five pickles (magic, version, system, state dict, keys), then the storages."""
    stream = BytesIO(data[:MAX_PICKLE_BYTES])
    magic, version, system = (read_pickle(stream, f"{path}: {part}") for part in ("magic", "version", "system"))
    if (magic, version) != (LEGACY_MAGIC, LEGACY_PROTOCOL):
        raise SourceError(f"{path}: expected {WHAT}, found a pickle of something else; fetch it again")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UnsupportedError(
            f"{path}: expected little-endian tensors, found others; save it again on a usual machine"
        )
    tensors, keys = (read_pickle(stream, f"{path}: {part}") for part in ("state dict", "keys"))
    _check_state_dict(path, tensors)
    refs = {ref.storage.key: ref.storage for ref in tensors.values()}
    if not isinstance(keys, list) or set(map(str, keys)) != set(refs) or len(keys) != len(refs):
        raise SourceError(f"{path}: expected one storage for each that the tensors use, found others; fetch it again")
    cursor = Cursor(data, path, WHAT)
    cursor.skip(stream.tell(), "pickles")
    stored = {}
    for ref in (refs[str(key)] for key in keys):
        (elements,) = cursor.array("<u8", 1, "storage length").tolist()
        stored[ref.key] = cursor.array("u1", elements * stored_dtype(ref.kind).itemsize, "storage")
    if cursor.remaining:
        raise SourceError(f"{path}: expected the last storage to end the file, found {cursor.remaining} bytes after it")

    def storage(ref: StorageRef) -> NDArray[np.uint8]:
        _check_length(path, ref, len(stored[ref.key]))
        return stored[ref.key]

    return tensors, storage


def _check_length(path: Path, ref: StorageRef, found: int) -> None:
    expected = ref.elements * stored_dtype(ref.kind).itemsize
    if found != expected:
        raise SourceError(
            f"{path}: expected {expected} bytes in the storage {ref.key[:100]!r}, found {found}; fetch it again"
        )


def _check_state_dict(path: Path, tensors: Any) -> None:
    if not isinstance(tensors, dict) or not tensors:
        raise SourceError(f"{path}: expected a state dict of tensors by name, found {_kind(tensors)}; fetch it again")
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, TensorRef):
            raise SourceError(
                f"{path}: expected a state dict of tensors by name, found {_kind(value)} under {str(name)[:100]!r}; "
                "save the model's state_dict() alone"
            )


def _kind(value: object) -> str:
    return "an empty dict" if value == {} else type(value).__name__


def _check_views(path: Path, tensors: dict[str, TensorRef], file_bytes: int) -> None:
    """Each tensor within its storage, and all together no larger than a file of this size can hold."""
    total_bytes = 0
    for name, ref in {ref: (name, ref) for name, ref in tensors.items()}.values():
        elements = math.prod(ref.size)
        last = ref.offset + sum((n - 1) * step for n, step in zip(ref.size, ref.stride, strict=True))
        if (
            elements > ref.storage.elements
            or (elements and last >= ref.storage.elements)
            or max(ref.size, default=0) >> 40
        ):
            raise SourceError(
                f"{path}: expected {name[:100]!r} of size {list(ref.size)} within its storage of "
                f"{ref.storage.elements} elements, found it reaching beyond; the file is damaged"
            )
        total_bytes += elements * widened_dtype(ref.storage.kind).itemsize
    # Half precision doubles; overlapping views of one storage could multiply.
    if total_bytes > 2 * file_bytes:
        raise SourceError(
            f"{path}: expected tensors of at most twice the file's size, found {total_bytes} bytes; don't use it"
        )


def _read_tensor(stored: NDArray[np.uint8], ref: TensorRef) -> NDArray[Any]:
    elements = stored.view(stored_dtype(ref.storage.kind))
    # The stride of an axis of one element is never used, and may be anything.
    strides = [elements.itemsize * (step if n > 1 else 0) for n, step in zip(ref.size, ref.stride, strict=True)]
    view = (
        as_strided(elements[ref.offset :], ref.size, strides, writeable=False) if math.prod(ref.size) else elements[:0]
    )
    return widen(view, ref.storage.kind).reshape(ref.size)
