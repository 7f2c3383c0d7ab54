"""A GGUF tensor's bytes to a weight: blocks that onnxruntime can run stay blocks, everything else becomes float32.

In: a `GgufFile` and a tensor's name. Out: float32 arrays, or `BlockQuantizedTensor` for matrices of Q8_0, Q4_0 and
Q4_1, bit for bit: the same quantised values, and scales and minima widened from float16, which is exact. Refuses values
that are not finite.

Blocks are as in ggml/src/ggml-common.h: 32 values, a float16 scale d (and minimum m) before them. Q8_0: d * q with
signed bytes q. Q4_0: d * (q - 8), Q4_1: d * q + m, where byte j holds value j in its low nibble and value j + 16 in its
high one. The other types are dequantised by the gguf package.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.export.sources.element_types import widen
from edgekit.export.sources.gguf_file import GgufFile, GgufTensor
from edgekit.graph.tensors import BlockQuantizedTensor, Tensor, pack_values

BLOCK = 32
FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": "bfloat16"}
# float16 values before the quantised ones, and bits of those.
BLOCKS = {"Q8_0": (1, 8), "Q4_0": (1, 4), "Q4_1": (2, 4)}


def read_gguf_tensor(file: GgufFile, name: str, axis: int = 1) -> Tensor:
    """Reads one tensor.

    Args:
        file: The file.
        name: One of ``file.tensors``.
        axis: How a quantised matrix is meant, as `BlockQuantizedTensor.axis` says: 0 for one to multiply with,
            ``[in, out]``; 1 for a table. Floats come as they are stored, ``[out, in]`` or ``[entries, width]``.

    Returns:
        A `BlockQuantizedTensor` for a matrix of Q8_0, Q4_0 or Q4_1, else float32 of the stored shape, C-ordered,
        a view of the file for F32.

    Raises:
        SourceError: It holds infinity or NaN.
    """
    tensor = file.tensors[name]
    if tensor.kind in BLOCKS and len(tensor.shape) == 2:
        return _read_blocks(file, tensor, axis)
    if tensor.kind in FLOATS:
        values = widen(np.frombuffer(tensor.data, np.uint8), FLOATS[tensor.kind])
    else:
        from gguf.constants import GGMLQuantizationType  # not at the top: see gguf_file
        from gguf.quants import dequantize

        # Scales of infinity give NaN, which the check below finds.
        with np.errstate(all="ignore"):
            stored = np.frombuffer(tensor.data, np.uint8).reshape(math.prod(tensor.shape[:-1]), -1)
            values = dequantize(stored, GGMLQuantizationType[tensor.kind])
    _check_finite(file, name, values)
    return values.reshape(tensor.shape)


def _check_finite(file: GgufFile, name: str, values: NDArray[np.floating]) -> None:
    if not np.isfinite(values).all():
        raise SourceError(f"{file.path}: expected finite values in {name!r}, found infinity or NaN; it is damaged")


def _read_blocks(file: GgufFile, tensor: GgufTensor, axis: int) -> BlockQuantizedTensor:
    rows, length = tensor.shape
    halves, bits = BLOCKS[tensor.kind]
    stored = np.frombuffer(tensor.data, np.uint8).reshape(rows, length // BLOCK, -1)
    scales, *minima = (stored[..., 2 * i : 2 * i + 2].copy().view("<f2")[..., 0] for i in range(halves))
    for values in (scales, *minima):
        _check_finite(file, tensor.name, values)
    quantised = stored[..., 2 * halves :]
    return BlockQuantizedTensor(
        values=np.bitwise_xor(quantised, np.uint8(0x80)) if bits == 8 else _reorder_nibbles(quantised),
        scales=scales.astype(np.float32),
        length=length,
        bits=bits,
        axis=axis,
        zero_points=np.zeros((rows, -(-length // BLOCK // 2)), np.uint8) if minima else None,
        offsets=minima[0].astype(np.float32) if minima else None,
    )


def _reorder_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """From ggml's order, values 0 to 15 in the low nibbles and 16 to 31 in the high ones, to neighbours."""
    return pack_values(np.concatenate([packed & 15, packed >> 4], axis=-1), 4)
