"""Symmetric int8 arithmetic: a float tensor to values in -127..127 and scales, without a zero point.

``scale = max|w| / 127`` over what one scale covers, ``q = round_half_even(w / scale)``; see "per-channel" in
https://arxiv.org/abs/1806.08342, section 3. -128 is not used, so that a tensor and its negative have the same error.

With least error, the same from a few smaller limits than ``max|w|``; the one with the least
``sum (w - scale q)^2`` is kept, where for given q the best scale is ``sum w q / sum q^2`` (least squares; the search of
`edgekit.quantize.blockwise`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.tensors import QuantizedTensor

LARGEST = 127
# Limits tried, as shares of the largest magnitude.
SHARES = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.92, 0.9, 0.87, 0.84, 0.8)


def quantize_per_channel(
    weight: np.ndarray, axis: int, *, least_error: bool = False, weight_only: bool = False
) -> QuantizedTensor:
    """Quantises a matrix with one scale for each index of ``axis`` (its output channels).

    Args:
        weight: ``float32 [rows, columns]``, finite.
        axis: 0 or 1.
        least_error: searched scales.
        weight_only: see `QuantizedTensor`.

    Returns:
        int8 values of the same shape; scales ``float32 [weight.shape[axis]]``. A channel of zeros gets scale 1, and so
        does one whose scale would be below the smallest normal number: its values become zero.
    """
    scale = _usable(np.abs(weight).max(axis=1 - axis) / np.float32(LARGEST))
    if least_error:
        scale = _search(weight, scale, axis)
    return QuantizedTensor(_round(weight, scale, axis).astype(np.int8), scale, axis, weight_only)


def _usable(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(scale < np.finfo(np.float32).tiny, 1, scale).astype(np.float32)


def _round(weight: np.ndarray, scale: NDArray[np.float32], axis: int) -> np.ndarray:
    return np.clip(np.rint(weight / np.expand_dims(scale, 1 - axis)), -LARGEST, LARGEST)


def _search(weight: np.ndarray, whole: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Of each channel the scale that explains most, ``(sum w q)^2 / sum q^2``; the first of equals."""
    best, most = whole, np.full(whole.shape, -1, np.float32)
    for share in SHARES:
        values = _round(weight, _usable(whole * np.float32(share)), axis)
        products, squares = (np.einsum("ij,ij->" + "ij"[axis], values, other) for other in (weight, values))
        scale = products / np.where(squares > 0, squares, 1)
        better = products * scale > most
        best, most = np.where(better, scale, best), np.where(better, products * scale, most)
    return _usable(best)
