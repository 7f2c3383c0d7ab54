"""Symmetric int8 arithmetic: a float tensor to values in -127..127 and scales, without a zero point.

``scale = max|w| / 127`` over what one scale covers, ``q = round_half_even(w / scale)``; see "per-channel" in
https://arxiv.org/abs/1806.08342, section 3. -128 is not used, so that a tensor and its negative have the same error.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph.tensors import QuantizedTensor

LARGEST = 127


def quantize_per_channel(weight: np.ndarray, axis: int) -> QuantizedTensor:
    """Quantises a matrix with one scale for each index of ``axis`` (its output channels).

    Args:
        weight: ``float32 [rows, columns]``, finite.
        axis: 0 or 1.

    Returns:
        int8 values of the same shape; scales ``float32 [weight.shape[axis]]``. A channel of zeros gets scale 1, and so
        does one whose scale would be below the smallest normal number: its values become zero.
    """
    scale = (np.abs(weight).max(axis=1 - axis) / np.float32(LARGEST)).astype(np.float32)
    scale[scale < np.finfo(np.float32).tiny] = 1
    values = np.rint(weight / np.expand_dims(scale, 1 - axis))
    return QuantizedTensor(np.clip(values, -LARGEST, LARGEST).astype(np.int8), scale, axis)
