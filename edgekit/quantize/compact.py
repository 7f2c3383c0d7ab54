"""Blocks in fewer bytes: float16 scales, and offsets in blocks behind the matrix's own.

Of 4-bit blocks of 32 with float32 scales and offsets a third of the bytes are these. ggml's scales are float16 anyway
(block_q4_1 in ggml/src/ggml-common.h), so nothing is lost by keeping them so. Offsets are at most half a step of their
block where zero points have taken the whole steps (`edgekit.quantize.offsets`), so those of a row are much alike:
rounded to 4 bits they are off by a thirtieth of a step, a fifteenth of what rounding the values is off by. They take a
quarter of the bytes, and no product of their own (`edgekit.graph.folded_offsets`).

In and out: a `BlockQuantizedTensor`. `edgekit.graph.weights_file` stores what it finds to be float16 as such. Offsets
that 4 bits would spoil, and those of tables, whose rows are looked up, stay float32.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.tensors import BlockQuantizedTensor, pack_values
from edgekit.quantize.blockwise import BlockFormat, quantize_blockwise

Floats = NDArray[np.float32]

# What a row's offsets may be off by, root mean square, as a share of its scales'. Rounding values to the nearest step
# is off by 0.29 of it; offsets of at most half a step by 0.02 where the steps are alike.
TOLERANCE = 1 / 8


def round_to_half(values: Floats) -> Floats:
    """The nearest float16 numbers, as float32; what is beyond their range stays as it is."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(rounded), rounded, values)


def compact_blocks(tensor: BlockQuantizedTensor) -> BlockQuantizedTensor:
    """The same values, but for the rounding of scales and offsets."""
    if tensor.offsets is not None and tensor.axis == 0:
        tensor = _fold_offsets(tensor) or tensor
    return dataclasses.replace(tensor, scales=round_to_half(tensor.scales))


def _with_steps(tensor: BlockQuantizedTensor) -> BlockQuantizedTensor:
    """The same values with zero points; a block of one value, which has no step, becomes one step of that length.

    Its offset would be the value itself, far beyond the others of its row.
    """
    flat, middle, offsets = tensor.scales == 0, 1 << (tensor.bits - 1), tensor.unpacked_offsets()
    values = np.where(flat[..., None], np.uint8(middle + 1), tensor.unpacked_values())
    zero_points = np.where(flat, np.uint8(middle), tensor.unpacked_zero_points())
    return dataclasses.replace(
        tensor,
        values=pack_values(values, tensor.bits),
        scales=np.where(flat, offsets, tensor.scales),
        zero_points=pack_values(zero_points, tensor.bits),
        offsets=np.where(flat, np.float32(0), offsets),
    )


def _fold_offsets(tensor: BlockQuantizedTensor) -> BlockQuantizedTensor | None:
    """The tensor with its offsets in blocks of the same kind, None if that would be off by too much."""
    stepped = _with_steps(tensor)
    exact = stepped.unpacked_offsets()
    kind = BlockFormat(tensor.bits, tensor.block_size, symmetric=False)
    offsets = quantize_blockwise(exact, kind, axis=1)
    offsets = dataclasses.replace(offsets, scales=round_to_half(offsets.scales))
    off = np.square(offsets.dequantize() - exact, dtype=np.float64).mean(axis=1)
    steps = np.square(tensor.scales, dtype=np.float64).mean(axis=1)
    return dataclasses.replace(stepped, offsets=offsets) if np.all(off <= TOLERANCE**2 * steps) else None
