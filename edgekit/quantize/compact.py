"""Blocks whose scales and offsets take fewer bytes: float16 scales, offsets in sixteenths of a step.

Of 4-bit blocks of 32 with float32 scales and offsets a third of the bytes are these. ggml's scales are float16 anyway
(block_q4_1 in ggml/src/ggml-common.h), so nothing is lost by keeping them so; an offset in sixteenths of the block's
step is off by at most a thirty-second of a step, a sixteenth of what rounding to 4 bits is off by.

In and out: a `BlockQuantizedTensor`; `edgekit.graph.weights_file` stores what it finds to be float16 or sixteenths as
such, and the graph calculates with the same float32 numbers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.tensors import BlockQuantizedTensor, pack_values
from edgekit.graph.weights_file import OFFSET_STEPS

Floats = NDArray[np.float32]

MOST = np.iinfo(np.int8).max


def round_to_half(values: Floats) -> Floats:
    """The nearest float16 numbers, as float32; what is beyond their range stays as it is."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(rounded), rounded, values)


def compact_blocks(tensor: BlockQuantizedTensor) -> BlockQuantizedTensor:
    """The same values, but for the rounding of scales and offsets.

    Where all offsets from the middle of the integers fit in a byte, zero points go into them: they would take more.
    Offsets that fit in none, which are many times a block's range, stay float32.
    """
    scales = round_to_half(tensor.scales)
    if tensor.offsets is None:
        return dataclasses.replace(tensor, scales=scales)
    middle, zero_points = 1 << (tensor.bits - 1), tensor.unpacked_zero_points()
    centred = tensor.offsets + (middle - zero_points.astype(np.float32)) * tensor.scales
    # A block of one value has no step; it becomes one step behind the middle.
    flat = scales == 0
    scales = np.where(flat, round_to_half(centred), scales)
    values = np.where(flat[..., None], np.uint8(middle), tensor.unpacked_values())
    kept = np.where(flat, np.uint8(middle), zero_points)
    rounded = dataclasses.replace(tensor, values=pack_values(values, tensor.bits), scales=scales)
    for offsets, zeros in (
        (centred, None),
        (np.where(flat, centred, tensor.offsets), pack_values(kept, tensor.bits)),
    ):
        steps = _in_steps(offsets, scales)
        if np.abs(steps).max() <= MOST:
            return dataclasses.replace(rounded, offsets=scales * (steps / OFFSET_STEPS), zero_points=zeros)
    return dataclasses.replace(tensor, scales=round_to_half(tensor.scales))


def _in_steps(offsets: Floats, scales: Floats) -> Floats:
    """Offsets in sixteenths of their blocks' scales, rounded; 0 where the scale is 0."""
    return np.rint(np.divide(offsets, scales, out=np.zeros_like(offsets), where=scales != 0) * OFFSET_STEPS)
