"""Each weight once, in one safetensors file that both graphs point into.

An ONNX initialiser may name a file, an offset and a length instead of holding bytes ("external data"). A safetensors
file is a JSON header and then plain little-endian tensors, so the graphs point straight into it: the weights are stored
once, whatever number of graphs use them, any safetensors reader opens them, and ``edgekit quantize`` gets them back by
name. Layout: https://github.com/huggingface/safetensors#format (8-byte header length, header, data).

In: `Weights`. Out: ``weights.safetensors``; a `QuantizedTensor` becomes ``name`` (int8) and ``name_scale`` (float32), a
`BlockQuantizedTensor` ``name`` (uint8 blocks), ``name_scale`` and, where it has them, ``name_zero_point`` (uint8) and
``name_offset``. Offsets in blocks lie behind the values' blocks in the same arrays (`edgekit.graph.folded_offsets`).
Scales are stored as float16 if all are such numbers. Earlier files have int8 offsets: sixteenths of the block's scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.bundle.manifest import TensorQuantization
from edgekit.errors import BundleError
from edgekit.graph.folded_offsets import join_offsets, split_offsets
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor, Tensor

WEIGHTS_FILE = "weights.safetensors"
SCALE_SUFFIX, ZERO_POINT_SUFFIX, OFFSET_SUFFIX = "_scale", "_zero_point", "_offset"
# Of an earlier file: stored as int8, an offset is so many of this part of its block's scale.
_OFFSET_STEPS = np.float32(16)
# Behind a product's layer: the one scale, ``float32 []``, that its input is quantised with.
ACTIVATION_SCALE_SUFFIX = ".activation_scale"
# Tables are [vocabulary, d_model], one scale a row; all other matrices are [in, out], one scale a column.
TABLES = ("source_embedding.weight", "target_embedding.weight", "embedding.weight", "output.weight")

# safetensors' names of the types that are stored.
_DTYPES = {"float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8"}
_NAMES = {name: dtype for dtype, name in _DTYPES.items()}

Weights = Mapping[str, Tensor]


def activation_scale_name(weight: str) -> str:
    """The name of the static activation scale of the product with a matrix: a table's is the output layer's."""
    return ("output" if weight in TABLES else weight.removesuffix(".weight")) + ACTIVATION_SCALE_SUFFIX


def channel_axis(name: str) -> int:
    """The axis that a per-channel scale of the weight ``name`` runs along: its output channels."""
    return 0 if name in TABLES else 1


@dataclass(frozen=True)
class StoredTensor:
    """Where one array lies: ``length`` bytes from byte ``offset`` of the weights file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def save_weights(directory: Path, weights: Weights) -> dict[str, StoredTensor]:
    """Writes ``weights.safetensors`` into ``directory``; returns where each array lies, by name.

    Weights that are calculated on access are so twice, once for their shapes and once to be written, one at a time: no
    more than one is in memory. The same weights give the same bytes, those of safetensors itself: ordered by element
    size, the largest first, then name.
    """
    stored: dict[str, tuple[str, np.dtype, tuple[int, ...]]] = {}
    for name in weights:
        arrays = arrays_of({name: weights[name]})
        stored |= {part: (name, array.dtype, array.shape) for part, array in arrays.items()}
    order = sorted(stored, key=lambda part: (-stored[part][1].itemsize, part))
    header, end = {}, 0
    for part in order:
        _, dtype, shape = stored[part]
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        header[part] = {"dtype": _DTYPES[dtype.name], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with (directory / WEIGHTS_FILE).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for part in order:
            name = stored[part][0]
            file.write(arrays_of({name: weights[name]})[part].data)
    return stored_tensors(directory)


def arrays_of(weights: Weights) -> dict[str, np.ndarray]:
    """What is stored of weights, C-ordered, by the names that it has in the file."""
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in weights.items():
        if isinstance(tensor, QuantizedTensor):
            arrays[name] = np.asarray(tensor.values, order="C")
            arrays[name + SCALE_SUFFIX] = np.asarray(tensor.scale, np.float32, order="C")
        elif isinstance(tensor, BlockQuantizedTensor):
            arrays |= {name + suffix: np.asarray(array, order="C") for suffix, array in _block_arrays(tensor).items()}
        else:
            arrays[name] = np.asarray(tensor, np.float32, order="C")
    return arrays


def load_weights(
    path: Path, quantized: Mapping[str, TensorQuantization], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, Tensor]:
    """Reads a weights file back, memory-mapped by safetensors.

    Args:
        path: the file that `save_weights` wrote.
        quantized: the manifest's entry for each tensor that is not an array of floats.
        shapes: shapes by name, for tensors in blocks whose rows end within a block; others end with one.

    Raises:
        BundleError: the file lacks an array that a quantised tensor needs.
        SourceError: the arrays of a quantised tensor do not fit each other.
    """
    from safetensors.numpy import load_file

    arrays = load_file(path)
    parts = {
        name: {name, entry.scale, entry.zero_point or name, entry.offset or name} for name, entry in quantized.items()
    }
    missing = sorted(set().union(*parts.values()) - set(arrays))
    if missing:
        raise BundleError(f"{path}: the manifest names tensors that it lacks: {', '.join(missing[:4])}; export again")
    weights: dict[str, Tensor] = {
        name: _quantized_tensor(name, entry, arrays, (shapes or {}).get(name)) for name, entry in quantized.items()
    }
    taken: set[str] = set().union(*parts.values())
    return weights | {name: array for name, array in arrays.items() if name not in taken}


def _quantized_tensor(
    name: str, entry: TensorQuantization, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...] | None
) -> Tensor:
    axis = channel_axis(name)
    if entry.block_size is None:
        scale_axis = None if entry.granularity == "per-tensor" else axis
        return QuantizedTensor(arrays[name], arrays[entry.scale], scale_axis, entry.activations == "float")
    rows_along, is_folded = 1 - axis, entry.offset == name
    length = shape[rows_along] if shape else None
    scales = arrays[entry.scale].astype(np.float32, copy=False)
    stored = BlockQuantizedTensor(
        values=arrays[name],
        scales=scales,
        length=math.prod(scales.shape[1:]) * entry.block_size if is_folded or length is None else length,
        bits=4 if entry.dtype == "uint4" else 8,
        axis=rows_along,
        zero_points=None if entry.zero_point is None else arrays[entry.zero_point],
        offsets=None if entry.offset is None or is_folded else _offsets(arrays[entry.offset], scales),
    )
    return split_offsets(stored, length) if is_folded else stored


def _offsets(stored: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return scales * (stored.astype(np.float32) / _OFFSET_STEPS) if stored.dtype == np.int8 else stored


def _block_arrays(tensor: BlockQuantizedTensor) -> dict[str, np.ndarray]:
    """The arrays of a tensor by the suffix of their names."""
    stored = join_offsets(tensor) if isinstance(tensor.offsets, BlockQuantizedTensor) else tensor
    arrays: dict[str, np.ndarray | None] = {
        "": stored.values,
        SCALE_SUFFIX: _smallest_scales(stored.scales),
        ZERO_POINT_SUFFIX: stored.zero_points,
        OFFSET_SUFFIX: None if stored.offsets is None else stored.unpacked_offsets(),
    }
    return {suffix: array for suffix, array in arrays.items() if array is not None}


def _smallest_scales(scales: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    return half if np.array_equal(half, scales) else scales


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Where each array of ``directory``'s weights file lies, by name."""
    with (directory / WEIGHTS_FILE).open("rb") as file:
        header_length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_length))
    data_start = 8 + header_length
    return {
        name: StoredTensor(
            dtype=_NAMES[entry["dtype"]],
            shape=tuple(entry["shape"]),
            offset=data_start + entry["data_offsets"][0],
            length=entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }
