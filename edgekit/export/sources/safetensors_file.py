"""Weights in a safetensors file, or in several with an index.

In: ``model.safetensors``, or the shards of a ``model.safetensors.index.json``. Out: arrays by name, float16 and
bfloat16 widened to float32, all else as stored. The safetensors library checks a file before anything of it is used;
arrays are then views of the memory-mapped file, and half-precision ones are widened when they are asked for, each time
anew. Pages that were read for one tensor are given back when the next is asked for: so a model never lies in memory as
a whole, neither widened nor mapped. Refuses types that numpy lacks (float8), by name.

Layout: https://github.com/huggingface/safetensors#format (length of the header, header as JSON, data).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from edgekit.errors import SourceError, UnsupportedError
from edgekit.export.sources.config_file import read_json
from edgekit.export.sources.element_types import stored_dtype, widen
from edgekit.export.sources.mapped_file import Cursor, forget_pages, map_file

WHAT = "a safetensors file"
# The header of a model of 500 tensors has 50 KB.
MAX_HEADER_BYTES = 16 << 20
# A plain name: nothing that leads out of the directory, on any system.
_SHARD_NAME = re.compile(r"[A-Za-z0-9_][\w.+=-]*\.safetensors", re.ASCII)

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


class StoredTensors(Mapping[str, NDArray[Any]]):
    """Tensors by name, each widened at the moment it is asked for."""

    def __init__(self, stored: Mapping[str, tuple[NDArray[Any], str]], files: Sequence[memoryview] = ()) -> None:
        """Takes views of the mapped ``files`` with the kinds that `widen` knows."""
        self._stored, self._files = dict(stored), files

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The tensor, read-only or new, C-ordered."""
        for file in self._files:
            forget_pages(file)
        return widen(*self._stored[name])

    def __contains__(self, name: object) -> bool:
        """Whether there is such a tensor, without widening it."""
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        """The names, in the files' order."""
        return iter(self._stored)

    def __len__(self) -> int:
        """How many tensors there are."""
        return len(self._stored)


def read_safetensors(path: Path) -> StoredTensors:
    """Reads all tensors of a file.

    Args:
        path: A ``.safetensors`` file.

    Returns:
        Arrays by name, C-ordered; float16 and bfloat16 as float32.

    Raises:
        SourceError: The file is missing, damaged or hostile.
        UnsupportedError: Tensors of types that numpy lacks; all types are named.
    """
    tensors, file = _view_tensors(path)
    return StoredTensors(tensors, [file])


def read_shards(index: Path, shards: Iterable[Path]) -> StoredTensors:
    """Reads the tensors of several files, which an index says belong together.

    Args:
        index: A ``model.safetensors.index.json`` (its ``weight_map`` names each tensor's file).
        shards: The files that it names.

    Raises:
        SourceError: As `read_safetensors`; a tensor is in two files, or not in the one that the index says.
        UnsupportedError: As `read_safetensors`.
    """
    weight_map = read_weight_map(index)
    stored: dict[str, tuple[NDArray[Any], str]] = {}
    wrong, files = [], []
    for shard in shards:
        tensors, file = _view_tensors(shard)
        files.append(file)
        for name, tensor in tensors.items():
            if name in stored:
                raise SourceError(f"{index}: {name} is in two of its files, {shard.name} and {weight_map.get(name)}")
            stored[name] = tensor
            if weight_map.get(name) != shard.name:
                wrong.append(f"{name} (in {shard.name})")
    wrong += [f"{name} (not in {expected})" for name, expected in weight_map.items() if name not in stored]
    if wrong:
        listed = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise SourceError(f"{index}: its files hold other tensors than it says: {listed}; fetch them again")
    return StoredTensors(stored, files)


def read_weight_map(index: Path) -> dict[str, str]:
    """File by tensor, from an index of shards; every file lies beside the index.

    https://huggingface.co/docs/transformers/big_models: ``{"metadata": {...}, "weight_map": {tensor: file}}``.

    Raises:
        SourceError: The index is damaged, or names a file that is not a plain ``*.safetensors`` of its directory.
    """
    weight_map = read_json(index, "an index of safetensors files").get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(f"{index}: expected a weight_map that names the file of each tensor, found none")
    for file in weight_map.values():
        if not isinstance(file, str) or not _SHARD_NAME.fullmatch(file):
            raise SourceError(f"{index}: expected names of .safetensors files beside it, found {file!r:.120}")
    return weight_map


def _view_tensors(path: Path) -> tuple[dict[str, tuple[NDArray[Any], str]], memoryview]:
    """Views of a file's tensors as they are stored, with their kinds, and the mapped file."""
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
        return {name: _view_tensor(data[cursor.position :], entry) for name, entry in header.items()}, data
    except ValueError as error:  # more dimensions than numpy has, or empty ones beyond its limits
        raise SourceError(f"{path}: expected tensors that numpy can hold, found: {error}") from None


def _view_tensor(data: memoryview, entry: dict[str, Any]) -> tuple[NDArray[Any], str]:
    begin, end = entry["data_offsets"]
    kind = DTYPES[entry["dtype"]]
    return np.frombuffer(data[begin:end], stored_dtype(kind)).reshape(entry["shape"]), kind
