"""What a GGUF file holds: its metadata and where each of its tensors lies, checked before anything is used.

In: a ``.gguf`` file, version 2 or 3, little-endian. Out: `GgufFile`; a tensor's bytes are a view of the memory-mapped
file and cost nothing until they are read. Refuses, in one line: files cut short, counts and lengths that the file's
size doesn't bear out, names used twice, tensors that overlap or lie outside the file, and by name what edgekit doesn't
read: version 1, big-endian files, models in several files, nested arrays, other element types.

The element types, their block sizes and (`edgekit.export.sources.gguf_tensors`) their arithmetic are the gguf
package's. Its GGUFReader takes every length on trust, so all of them must be walked here first, which leaves it nothing
to find out; and it makes a numpy object of each array element: 2.4 s for SmolLM2's vocabulary against 0.1 s here.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.mapped_file import Cursor, map_file

WHAT = "a GGUF model"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

# What edgekit reads; `gguf_tensors` says what becomes of each.
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")

# Value types of metadata (gguf.md, gguf_metadata_value_type).
BOOL, STRING, ARRAY = 7, 8, 9
NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}

# The longest real headers are those of 262,144 tokens (gemma3, 6 MB) and of 280,000 merges (llama 3, 8 MB). What is
# beyond these limits is no model but an attempt to fill the memory.
MAX_HEADER_BYTES = 64 << 20
MAX_TEXTS = 1 << 21
MAX_KEYS = 4096
MAX_TENSORS = 1 << 16
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS

Value = int | float | bool | str | list[str] | NDArray[np.generic]


@dataclass(frozen=True)
class GgufTensor:
    """One tensor as it is stored.

    Attributes:
        name: As in the file, ``blk.0.attn_q.weight``.
        kind: One of `TYPES`.
        shape: As numpy has it: the last axis is contiguous, so a matrix is ``[out, in]`` and a table
            ``[entries, width]``. (The file lists dimensions the other way round.)
        data: The bytes, rows one after another, each of whole blocks.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    data: memoryview


@dataclass(frozen=True)
class GgufFile:
    """A checked GGUF file.

    Attributes:
        path: The file, for messages.
        metadata: Values by key. Numbers and truth values are Python's; arrays of texts are lists, of numbers (and
            truth values, as uint8) read-only numpy arrays ``[count]``.
        tensors: By name, in the file's order.
    """

    path: Path
    metadata: dict[str, Value]
    tensors: dict[str, GgufTensor]


def parse_gguf(path: Path) -> GgufFile:
    """Reads a file's metadata and finds its tensors.

    Raises:
        SourceError: The file is missing, no GGUF, cut short, damaged or hostile.
        UnsupportedError: A version, byte order, split model, value or tensor type that edgekit doesn't read.
    """
    data = map_file(path, WHAT)
    reader = _HeaderReader(data, path)
    tensor_count, key_count = reader.preamble()
    metadata: dict[str, Value] = {}
    for _ in range(key_count):
        key = reader.text("a metadata key")
        if key in metadata:
            raise SourceError(f"{path}: expected each metadata key once, found {key[:80]!r} twice; it is damaged")
        metadata[key] = reader.value(key)
    parts = metadata.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise UnsupportedError(f"{path}: expected a model in one file, found one of {parts}; merge them first")
    entries = [reader.tensor_entry() for _ in range(tensor_count)]
    start = _align(reader.position, _alignment(path, metadata))
    return GgufFile(path, metadata, _place(path, data, entries, start, _alignment(path, metadata)))


@dataclass(frozen=True)
class _Entry:
    name: str
    code: int
    shape: tuple[int, ...]
    offset: int


class _HeaderReader:
    """Reads what stands before the tensors' bytes, and nothing beyond `MAX_HEADER_BYTES`."""

    def __init__(self, data: memoryview, path: Path) -> None:
        self._data, self._path = data[:MAX_HEADER_BYTES], path
        self._cursor = Cursor(self._data, path, WHAT)
        self._texts_left = MAX_TEXTS

    @property
    def position(self) -> int:
        return self._cursor.position

    def preamble(self) -> tuple[int, int]:
        """How many tensors and metadata keys follow."""
        start = self._cursor.skip(4, "the magic number")
        if (magic := bytes(self._data[start : start + 4])) != MAGIC:
            raise SourceError(f"{self._path}: expected {WHAT}, found a file that begins with {magic!r}")
        version = self._number("<u4", "the version")
        if version & 0xFFFF == 0:
            raise UnsupportedError(f"{self._path}: expected a little-endian GGUF model, found a big-endian one")
        if version not in VERSIONS:
            raise UnsupportedError(
                f"{self._path}: expected {WHAT} of version 2 or 3, found version {version}; convert the model again"
            )
        counts = self._cursor.array("<u8", 2, "counts").tolist()
        for count, limit, what in zip(counts, (MAX_TENSORS, MAX_KEYS), ("tensors", "metadata keys"), strict=True):
            if count > limit:
                raise SourceError(f"{self._path}: expected at most {limit} {what}, found {count}; it is damaged")
        return counts[0], counts[1]

    def text(self, part: str) -> str:
        """A length and as many bytes of UTF-8."""
        length = self._number("<u8", f"the length of {part}")
        start = self._cursor.skip(length, part)
        return self._decode(start, length, part)

    def value(self, key: str) -> Value:
        """The value of a metadata key: its type, then itself."""
        part = f"{key[:80]!r}"
        kind = self._number("<u4", f"the type of {part}")
        if kind == STRING:
            return self.text(part)
        if kind == BOOL:
            return bool(self._number("u1", part))
        if kind in NUMBERS:
            value: int | float = self._cursor.array(NUMBERS[kind], 1, part).tolist()[0]
            return value
        if kind != ARRAY:
            raise SourceError(
                f"{self._path}: expected a value type from 0 to 12 for {part}, found {kind}; is it damaged?"
            )
        return self._array(part)

    def tensor_entry(self) -> _Entry:
        """A tensor's name, shape, type and offset from the first tensor's bytes."""
        name = self.text("a tensor's name")
        part = f"{name[:80]!r}"
        count = self._number("<u4", f"the number of dimensions of {part}")
        if not 1 <= count <= MAX_DIMENSIONS:
            raise SourceError(f"{self._path}: expected 1 to {MAX_DIMENSIONS} dimensions of {part}, found {count}")
        shape = tuple(reversed(self._cursor.array("<u8", count, f"the dimensions of {part}").tolist()))
        if min(shape) < 1:
            raise SourceError(f"{self._path}: expected positive dimensions of {part}, found {list(shape)}")
        return _Entry(name, self._number("<u4", f"the type of {part}"), shape, self._number("<u8", f"offset of {part}"))

    def _array(self, part: str) -> Value:
        kind, count = self._number("<u4", f"the type of {part}"), self._number("<u8", f"the length of {part}")
        if kind == STRING:
            return self._texts(count, part)
        if kind == BOOL or kind in NUMBERS:
            return self._cursor.array(NUMBERS.get(kind, "u1"), count, part)
        if kind == ARRAY:
            raise UnsupportedError(f"{self._path}: expected plain arrays, found an array of arrays in {part}")
        raise SourceError(f"{self._path}: expected a value type from 0 to 12 in {part}, found {kind}; is it damaged?")

    def _texts(self, count: int, part: str) -> list[str]:
        # Every text has a length of 8 bytes, so no list can be longer than the file is.
        if count > min(self._texts_left, self._cursor.remaining // 8):
            raise SourceError(f"{self._path}: expected a list that fits the file, found {part} of {count} texts")
        self._texts_left -= count
        texts, data, end = [], self._data, len(self._data)
        position, read_length = self._cursor.position, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if position + 8 > end:
                break
            start = position + 8
            position = start + read_length(data, position)[0]
            if position > end:
                break
            texts.append(self._decode(start, position - start, part))
        if len(texts) != count:
            raise SourceError(
                f"{self._path}: expected {count} texts in {part}, found {len(texts)} and the file's end; "
                "it is cut short or damaged, fetch it again"
            )
        self._cursor.skip(position - self._cursor.position, part)
        return texts

    def _decode(self, start: int, length: int, part: str) -> str:
        try:
            return str(self._data[start : start + length], "utf-8")
        except UnicodeDecodeError:
            found = bytes(self._data[start : start + min(length, 40)])
            raise SourceError(f"{self._path}: expected UTF-8 in {part}, found {found!r}; it is damaged") from None

    def _number(self, dtype: str, part: str) -> int:
        number: int = self._cursor.array(dtype, 1, part).tolist()[0]
        return number


def _alignment(path: Path, metadata: dict[str, Value]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(value) is not int or not 8 <= value <= 1 << 20 or value & (value - 1):
        raise SourceError(f"{path}: expected general.alignment to be a power of two from 8, found {str(value)[:40]}")
    return value


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _place(path: Path, data: memoryview, entries: list[_Entry], start: int, alignment: int) -> dict[str, GgufTensor]:
    """The tensors by name, each of them inside the file and apart from the others."""
    # Not at the top: importing gguf takes longer than everything else that an export of another model needs.
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    _check_types(path, entries, {kind.value: kind.name for kind in GGMLQuantizationType})
    tensors: dict[str, GgufTensor] = {}
    spans = []
    for entry in entries:
        part = f"{entry.name[:80]!r}"
        if entry.name in tensors:
            raise SourceError(f"{path}: expected each tensor once, found {part} twice; it is damaged")
        kind = GGMLQuantizationType(entry.code)
        per_block, block_bytes = GGML_QUANT_SIZES[kind]
        if entry.shape[-1] % per_block:
            raise SourceError(
                f"{path}: expected rows of whole {kind.name} blocks of {per_block} in {part}, "
                f"found rows of {entry.shape[-1]}; it is damaged"
            )
        begin, size = start + entry.offset, math.prod(entry.shape) // per_block * block_bytes
        if begin + size > len(data):
            raise SourceError(
                f"{path}: expected {size} bytes of {part} at offset {begin}, found a file of {len(data)} bytes; "
                "it is cut short or damaged, fetch it again"
            )
        if entry.offset % alignment:
            raise SourceError(f"{path}: expected {part} at a multiple of {alignment}, found offset {entry.offset}")
        spans.append((begin, begin + size, part))
        tensors[entry.name] = GgufTensor(entry.name, kind.name, entry.shape, data[begin : begin + size])
    for (_, end, before), (begin, _, after) in pairwise(sorted(spans)):
        if begin < end:
            raise SourceError(f"{path}: expected tensors that don't overlap, found {before} and {after}; it is damaged")
    return tensors


def _check_types(path: Path, entries: list[_Entry], names: dict[int, str]) -> None:
    found: dict[str, str] = {}
    for entry in entries:
        if names.get(entry.code) not in TYPES:
            found.setdefault(names.get(entry.code, f"type {entry.code}"), entry.name[:60])
    if found:
        listed = ", ".join(f"{kind} ({name!r})" for kind, name in list(found.items())[:4])
        raise UnsupportedError(f"{path}: expected tensors of {', '.join(TYPES)}, found {listed}; use another file")
