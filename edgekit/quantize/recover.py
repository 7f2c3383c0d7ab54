"""Finds the 4-bit blocks that a float matrix was dequantised from.

So an fp32 bundle of a quantised source loses nothing when it is quantised again: rounding SmolLM2-135M's Q4_1 matrices
to 4 bits anew, with zero points instead of minima, cost 27 % of perplexity.

In: ``float32 [in, out]`` (or a table). Out: a `BlockQuantizedTensor` that dequantises to the same matrix, or None where
the matrix is no such thing. Looks for two of ggml's formats, whose blocks of 32 hold values at both ends or at one end
of their range (ggml/src/ggml-quants.c):

- Q4_1, ``value = d * q + m`` with q from 0 to 15: the least value of a block is m, the greatest m + 15 d;
- Q4_0, ``value = d * (q - 8)``: the value largest in magnitude is -8 d.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.tensors import BlockQuantizedTensor, pack_values
from edgekit.quantize.blockwise import BlockFormat, quantize_blockwise
from edgekit.quantize.compact import round_to_half
from edgekit.quantize.offsets import settle_offsets

Floats = NDArray[np.float32]

BLOCK_SIZE = 32
Q4_0 = BlockFormat(4, BLOCK_SIZE, least_error=False)
LEVELS = 15
# Of a block's step. What float32 sums leave is below 1e-5; a float matrix is off by a quarter on average.
TOLERANCE = 1e-3
PROBED_ROWS = 8


def recover_blocks(matrix: Floats, axis: int = 0) -> BlockQuantizedTensor | None:
    """The 4-bit blocks along ``axis`` (0 for ``[in, out]``, 1 for a table) that ``matrix`` was dequantised from.

    Returns:
        Blocks whose `dequantize` is the matrix but for float32's rounding; None if there are none, which a few rows
        decide in most cases.
    """
    rows = matrix.T if axis == 0 else matrix
    if rows.shape[1] % BLOCK_SIZE or not rows.size:
        return None
    for find in (_find_q4_1, _find_q4_0):
        if _matches(find(rows[:PROBED_ROWS], 1), rows[:PROBED_ROWS]) and _matches(found := find(rows, axis), rows):
            return found
    return None


def _find_q4_1(rows: Floats, axis: int) -> BlockQuantizedTensor:
    blocks = np.ascontiguousarray(rows).reshape(len(rows), -1, BLOCK_SIZE)
    low = blocks.min(axis=2)
    # ggml keeps scales as float16.
    scales = round_to_half((blocks.max(axis=2) - low) * np.float32(1 / LEVELS))
    steps = np.where(scales > 0, scales, 1)[..., None]
    values = pack_values(np.clip(np.rint((blocks - low[..., None]) / steps), 0, LEVELS).astype(np.uint8), 4)
    # Without zero points q counts from 8.
    return settle_offsets(BlockQuantizedTensor(values, scales, rows.shape[1], 4, axis, offsets=low + 8 * scales))


def _find_q4_0(rows: Floats, axis: int) -> BlockQuantizedTensor:
    return quantize_blockwise(rows.T if axis == 0 else rows, Q4_0, axis=axis)


def _matches(found: BlockQuantizedTensor, rows: Floats) -> bool:
    matrix = found.dequantize()
    off = np.abs((matrix.T if found.axis == 0 else matrix) - rows)
    largest = off.reshape(len(rows), -1, BLOCK_SIZE).max(axis=2)
    return bool(np.all(largest <= TOLERANCE * np.abs(found.scales)))
