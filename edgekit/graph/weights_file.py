"""Each weight once, in one safetensors file that both graphs point into.

An ONNX initialiser may name a file, an offset and a length instead of holding bytes ("external data"). A safetensors
file is a JSON header and then plain little-endian tensors, so the graphs point straight into it: the weights are stored
once, whatever number of graphs use them, any safetensors reader opens them, and ``edgekit quantize`` gets them back by
name. Layout: https://github.com/huggingface/safetensors#format (8-byte header length, header, data).

In: `Weights`. Out: ``weights.safetensors``; a `QuantizedTensor` becomes ``name`` (int8) and ``name_scale`` (float32).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.graph.tensors import QuantizedTensor, Tensor

WEIGHTS_FILE = "weights.safetensors"
SCALE_SUFFIX = "_scale"

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class StoredTensor:
    """Where one array lies: ``length`` bytes from byte ``offset`` of the weights file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def save_weights(directory: Path, weights: Weights) -> dict[str, StoredTensor]:
    """Writes ``weights.safetensors`` into ``directory``; returns where each array lies, by name.

    The same weights give the same bytes: safetensors orders tensors by element size, then name.
    """
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    for name, tensor in weights.items():
        if isinstance(tensor, QuantizedTensor):
            arrays[name] = np.asarray(tensor.values, order="C")
            arrays[name + SCALE_SUFFIX] = np.asarray(tensor.scale, np.float32, order="C")
        else:
            arrays[name] = np.asarray(tensor, np.float32, order="C")
    save_file(arrays, directory / WEIGHTS_FILE)
    return stored_tensors(directory)


def load_weights(path: Path, quantized: Mapping[str, int | None]) -> dict[str, Tensor]:
    """Reads a weights file back, memory-mapped by safetensors.

    Args:
        path: the file that `save_weights` wrote.
        quantized: axis of the scale (None: one scale a tensor) for each name that is a `QuantizedTensor`.
    """
    from safetensors.numpy import load_file

    arrays = load_file(path)
    weights: dict[str, Tensor] = {}
    for name, array in arrays.items():
        if name in quantized:
            weights[name] = QuantizedTensor(array, arrays[name + SCALE_SUFFIX], quantized[name])
        elif not (name.endswith(SCALE_SUFFIX) and name.removesuffix(SCALE_SUFFIX) in quantized):
            weights[name] = array
    return weights


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Where each array of ``directory``'s weights file lies, by name."""
    with (directory / WEIGHTS_FILE).open("rb") as file:
        header_length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_length))
    data_start = 8 + header_length
    return {
        name: StoredTensor(
            dtype={"F32": "float32", "I8": "int8"}[entry["dtype"]],
            shape=tuple(entry["shape"]),
            offset=data_start + entry["data_offsets"][0],
            length=entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }
