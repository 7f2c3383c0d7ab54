"""Weights in a safetensors file.

In: ``model.safetensors``. Out: arrays by name, float16 and bfloat16 widened to float32, all else as stored. The
safetensors library checks a file before anything of it is used; arrays are then views of the memory-mapped file.
Refuses types that numpy lacks (float8), by name.

Layout: https://github.com/huggingface/safetensors#format (length of the header, header as JSON, data).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.element_types import widen
from edgekit.export.sources.mapped_file import Cursor, map_file

WHAT = "a safetensors file"
# The header of a model of 500 tensors has 50 KB.
MAX_HEADER_BYTES = 16 << 20

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "bool",
}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Reads all tensors of a file.

    Args:
        path: A ``.safetensors`` file.

    Returns:
        Arrays by name, read-only, C-ordered; float16 and bfloat16 as float32.

    Raises:
        SourceError: The file is missing, damaged or hostile.
        UnsupportedError: Tensors of types that numpy lacks; all types are named.
    """
    data = map_file(path, WHAT)
    cursor = Cursor(data, path, WHAT)
    (length,) = cursor.array("<u8", 1, "header length").tolist()
    if length > MAX_HEADER_BYTES:
        raise SourceError(f"{path}: expected {WHAT} with a header of at most {MAX_HEADER_BYTES} bytes, found {length}")
    start = cursor.skip(length, "header")
    try:
        # Checks that names, types, shapes and offsets fit each other and fill the file exactly.
        with safe_open(path, framework="np"):
            header = json.loads(bytes(data[start : start + length]))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{path}: expected {WHAT}, found: {reason}; fetch it again") from None
    header.pop("__metadata__", None)
    if unknown := sorted({entry["dtype"] for entry in header.values()} - set(DTYPES)):
        raise UnsupportedError(f"{path}: expected tensors of {', '.join(DTYPES)}, found {', '.join(unknown)}")
    try:
        return {name: _read_tensor(data[cursor.position :], entry) for name, entry in header.items()}
    except ValueError as error:  # more dimensions than numpy has, or empty ones beyond its limits
        raise SourceError(f"{path}: expected tensors that numpy can hold, found: {error}") from None


def _read_tensor(data: memoryview, entry: dict[str, Any]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    stored = np.frombuffer(data[begin:end], np.uint8)
    return widen(stored, DTYPES[entry["dtype"]]).reshape(entry["shape"])
