"""Marian's binary models (``model.*.bin``, version 1), as Bergamot and Firefox Translations ship them.

In: a file of named items, float32 or intgemm8 (int8 with one scale a tensor), and the training configuration as YAML.
Out: `MarianBinary`, its matrices in mathematical orientation ``[in, out]`` with the shipped int8 values untouched.
Refuses other element types by name, lengths and shapes that the file's size doesn't bear out, and values that no
export of Marian's produces. Arrays are views of the memory-mapped file: reading costs almost no memory.

Layout: browsermt/marian-dev 2781d735, src/common/binary.cpp (container), src/common/types.h (type codes),
src/tensors/cpu/integer_common.h (the scale behind the values, matrices stored transposed unless named ``Wemb``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.config_file import parse_yaml
from edgekit.export.sources.mapped_file import Cursor, map_file
from edgekit.graph.tensors import QuantizedTensor, Tensor

WHAT = "a Marian binary model"
VERSION = 1
CONFIG_ITEM = "special:model.yml"
ALPHA_SUFFIX = "_QuantMultA"

FLOAT32, INT8, INTGEMM8 = 0x0404, 0x0101, 0x4101
TYPE_NAMES = {
    INT8: "int8",
    0x0102: "int16",
    0x0104: "int32",
    0x0108: "int64",
    0x0201: "uint8",
    0x0202: "uint16",
    0x0204: "uint32",
    0x0208: "uint64",
    0x0402: "float16",
    0x0408: "float64",
    0x4102: "intgemm16",
}

# Real models have 195 to 400 items, of two dimensions, with names of up to 40 bytes.
MAX_ITEMS = 20_000
MAX_NAME_BYTES = 256
MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class MarianBinary:
    """What a Marian binary holds.

    Attributes:
        config: The training configuration (``special:model.yml``), options by name.
        tensors: Everything else by name. An intgemm8 matrix is a `QuantizedTensor` with one scale: ``[in, out]``, a
            transposed view, or ``[vocab_size, d_model]`` for names that contain ``Wemb``. A float32 item is an
            array of its own shape (biases ``[1, out]``). An activation scale (``..._QuantMultA``) is a float32
            array ``[]``, whichever of the two types it is stored as.
    """

    config: dict[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Item:
    name: str
    type_code: int
    shape: tuple[int, ...]
    data: memoryview

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_marian_binary(path: Path) -> MarianBinary:
    """Reads a Marian binary model.

    Raises:
        SourceError: The file is missing, not a Marian binary, cut short, damaged or inconsistent.
        UnsupportedError: Items of element types that Bergamot's students don't use; all are named.
    """
    items = _read_items(path)
    _check_types(path, items)
    config, tensors = None, {}
    for item in items:
        if item.name == CONFIG_ITEM:
            text = bytes(item.data[: item.elements]).split(b"\0")[0]
            config = parse_yaml(text, f"{path}: {CONFIG_ITEM}")
        else:
            tensors[item.name] = _read_tensor(path, item)
    if config is None:
        raise SourceError(f"{path}: expected the item {CONFIG_ITEM}, found none; use a model exported for Bergamot")
    return MarianBinary(config, tensors)


def _read_items(path: Path) -> list[_Item]:
    data = map_file(path, WHAT)
    cursor = Cursor(data, path, WHAT)
    version, count = cursor.array("<u8", 2, "version and item count").tolist()
    if version != VERSION:
        raise SourceError(
            f"{path}: expected {WHAT} of version {VERSION}, found version {version}; is it another format?"
        )
    if count > MAX_ITEMS:
        raise SourceError(f"{path}: expected at most {MAX_ITEMS} items, found {count}; the file is damaged")
    headers = cursor.array("<u8", 4 * count, "item headers").reshape(-1, 4).tolist()
    names = [_read_name(path, data, cursor, length) for length, _, _, _ in headers]
    if len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise SourceError(f"{path}: expected each item once, found {twice!r} twice; the file is damaged")
    shapes = [_read_shape(path, cursor, name, header[2]) for name, header in zip(names, headers, strict=True)]
    cursor.skip(cursor.array("<u8", 1, "alignment").tolist()[0], "alignment")
    items = []
    for name, (_, type_code, _, length), shape in zip(names, headers, shapes, strict=True):
        start = cursor.skip(length, f"item {name!r}")
        items.append(_Item(name, type_code, shape, data[start : start + length]))
    if cursor.remaining:
        raise SourceError(f"{path}: expected the last item to end the file, found {cursor.remaining} bytes after it")
    return items


def _read_name(path: Path, data: memoryview, cursor: Cursor, length: int) -> str:
    if not 2 <= length <= MAX_NAME_BYTES:
        raise SourceError(f"{path}: expected item names of 2 to {MAX_NAME_BYTES} bytes, found one of {length}")
    start = cursor.skip(length, "item names")
    raw = bytes(data[start : start + length])
    name, nul = raw[:-1].decode("latin-1"), raw[-1]
    if nul != 0 or not name.isascii() or not name.isprintable():
        raise SourceError(f"{path}: expected printable item names that end in NUL, found {raw[:40]!r}")
    return name


def _read_shape(path: Path, cursor: Cursor, name: str, dimensions: int) -> tuple[int, ...]:
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise SourceError(f"{path}: expected 1 to {MAX_DIMENSIONS} dimensions of {name!r}, found {dimensions}")
    shape = tuple(cursor.array("<i4", dimensions, "shapes").tolist())
    if min(shape) < 1:
        raise SourceError(f"{path}: expected positive dimensions of {name!r}, found {list(shape)}")
    return shape


def _check_types(path: Path, items: list[_Item]) -> None:
    found: dict[str, str] = {}
    for item in items:
        code = item.type_code
        if code not in (FLOAT32, INTGEMM8) and (code, item.name) != (INT8, CONFIG_ITEM):
            found.setdefault(TYPE_NAMES.get(code, f"type 0x{code:04x}"), item.name)
    if found:
        listed = ", ".join(f"{kind} ({name!r})" for kind, name in list(found.items())[:6])
        raise UnsupportedError(
            f"{path}: expected items of float32 and intgemm8, found {listed}; use the intgemm8 model"
        )
    for item in items:
        # An intgemm8 item keeps its scale, a float32, right behind its values.
        need = {FLOAT32: 4 * item.elements, INT8: item.elements, INTGEMM8: item.elements + 4}[item.type_code]
        if need > len(item.data):
            raise SourceError(
                f"{path}: expected {need} bytes for {item.name!r} of shape {list(item.shape)}, "
                f"found {len(item.data)}; the file is damaged, fetch it again"
            )


def _read_tensor(path: Path, item: _Item) -> Tensor:
    if item.name.endswith(ALPHA_SUFFIX):
        return _read_alpha(path, item)
    if item.type_code == FLOAT32:
        return _read_floats(path, item).reshape(item.shape)
    if len(item.shape) != 2:
        raise SourceError(f"{path}: expected a matrix {item.name!r}, found shape {list(item.shape)}")
    rows, columns = item.shape
    values = np.frombuffer(item.data, np.int8, item.elements)
    # Marian clips to -127..127, and edgekit's int8 products rely on it (u8 x s8 sums, sign symmetry).
    if values.min() == -128:
        raise SourceError(f"{path}: expected int8 values of -127 to 127 in {item.name!r}, found -128; it is damaged")
    # The header has the mathematical shape, the bytes are in intgemm's order for its right-hand side: transposed.
    matrix = values.reshape(rows, columns) if "Wemb" in item.name else values.reshape(columns, rows).T
    return QuantizedTensor(matrix, np.array(_reciprocal(path, item, _read_scale(item)), np.float32))


def _read_floats(path: Path, item: _Item) -> NDArray[np.float32]:
    values = np.frombuffer(item.data, "<f4", item.elements)
    if not np.isfinite(values).all():
        raise SourceError(f"{path}: expected finite values in {item.name!r}, found infinity or NaN; it is damaged")
    # A copy only where an item doesn't start on a multiple of 4, or the machine is big-endian.
    return np.require(values, np.float32, ["C_CONTIGUOUS", "ALIGNED"])


def _read_alpha(path: Path, item: _Item) -> NDArray[np.float32]:
    """The activation scale, float32 ``[]``: stored as it is, or as int8 times 1/scale (``Wemb_QuantMultA``)."""
    if item.elements != 1:
        raise SourceError(f"{path}: expected one value in {item.name!r}, found shape {list(item.shape)}")
    if item.type_code == FLOAT32:
        alpha = _read_floats(path, item)[0]
    else:
        with np.errstate(all="ignore"):
            alpha = np.float32(np.frombuffer(item.data, np.int8, 1)[0]) / _read_scale(item)
    _reciprocal(path, item, alpha)
    return np.array(alpha, np.float32)


def _read_scale(item: _Item) -> np.float32:
    # Behind the last value, so unaligned where their number is no multiple of 4.
    return np.float32(np.frombuffer(item.data, "<f4", 1, item.elements)[0])


def _reciprocal(path: Path, item: _Item, scale: np.float32) -> np.float32:
    """``1 / scale``, one division rounded to nearest float32: Marian divides by its scales, edgekit multiplies.

    ``values * float32(1 / scale)`` differs from ``values / scale`` by at most one unit in the last place and a half.
    """
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / scale
    if not (scale > 0 and np.isfinite(scale) and np.isfinite(inverse)):
        raise SourceError(f"{path}: expected a positive, finite scale of {item.name!r}, found {scale}; it is damaged")
    return inverse
