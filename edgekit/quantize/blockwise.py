"""Blockwise rounding: a float matrix to 4- or 8-bit values with a scale for every 16 to 128 of them.

In: a finite ``float32 [in, out]`` matrix (or a table ``[entries, width]``), and optionally how much each input matters.
Out: a `BlockQuantizedTensor`, ``value = (q - zero_point) * scale``. Two ways to choose scale and zero point of a block:

- *nearest*: the range of the block is the range of the integers. Symmetric as ggml's Q4_0 does it
  (quantize_row_q4_0_ref in ggml/src/ggml-quants.c): the value that is largest in magnitude becomes the lowest integer,
  -2^(bits - 1), so the scale carries its sign and no level is lost. Asymmetric as ONNX QuantizeLinear:
  ``scale = (max - min) / (2^bits - 1)``, ``zero_point = round(-min / scale)``, the range widened to hold 0.
- *least error*: the same from a few slightly smaller and larger ranges; of each block the one with the least
  ``sum h (w - scale * q)^2`` is kept. For given integers q the best scale is that of least squares,
  ``sum h w q / sum h q^2``, which leaves ``sum h w^2 - (sum h w q)^2 / sum h q^2``; so a candidate costs one rounding
  and two sums (the search of ggml's make_qx_quants). ``h`` is 1, or the mean square of the input that a weight
  multiplies: the error of the product instead of the weight's, inputs taken as uncorrelated (the diagonal of the
  Hessian of GPTQ, https://arxiv.org/abs/2210.17323, equation 1; llama.cpp's importance matrix).

Rounding is half to even. The same input gives the same bytes. Memory: a few megabytes beside the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.tensors import BlockQuantizedTensor, pack_values

Floats = NDArray[np.float32]

# Ranges tried beside a block's own, as shares of it. A smaller one clips a few values and rounds all others finer; at 8
# bits hardly any is gained by that, but among several roundings one is the best by chance.
SHARES = {
    4: (0.72, 0.77, 0.81, 0.85, 0.88, 0.91, 0.94, 0.97, 1.03, 1.07),
    8: (0.965, 0.973, 0.98, 0.985, 0.99, 0.995, 1.005, 1.01),
}
# Blocks are halved down to the first as long as more than the second, as a share of a row, would be padding.
SMALLEST_FITTED, MOST_PADDING = 32, 1 / 8
# Values quantised at a time: the temporaries of a chunk stay in the processor's cache.
CHUNK = 1 << 16


@dataclass(frozen=True)
class BlockFormat:
    """How a matrix is cut and rounded.

    Attributes:
        bits: 4 or 8.
        block_size: values that share a scale: 16, 32, 64 or 128. A model's matrix gets the `fitting_block_size`.
        symmetric: no zero points, that is 8 (4 bits) or 128 (8 bits) everywhere.
        least_error: searched scales instead of those of rounding to nearest.
        calibrated: the search weighs each input's error by the input's mean square. Needs calibration.
        activation_aware: AWQ's scales: inputs that are large on average get finer steps. Needs calibration, and
            something before the product that can take the inverse, see `edgekit.quantize.migration`.
        smoothing: SmoothQuant's alpha: outliers of the input move into the weights; None for none. Needs what
            ``activation_aware`` needs.
        compact: scales and offsets in fewer bytes, see `edgekit.quantize.compact`.
    """

    bits: int
    block_size: int
    symmetric: bool = True
    least_error: bool = True
    calibrated: bool = False
    activation_aware: bool = False
    smoothing: float | None = None
    compact: bool = False

    @property
    def needs_calibration(self) -> bool:
        """Whether it takes statistics of a product's input."""
        return self.calibrated or self.activation_aware or self.smoothing is not None


def fitting_block_size(length: int, block_size: int) -> int:
    """The largest of 128, 64 and 32, at most ``block_size``, that pads rows of ``length`` by no more than an eighth.

    Padding is stored and multiplied with, too; blocks of 16 and 32 always fit.
    """
    while block_size > SMALLEST_FITTED and -length % block_size > length * MOST_PADDING:
        block_size //= 2
    return block_size


def quantize_blockwise(
    matrix: Floats, block_format: BlockFormat, *, axis: int = 0, importance: Floats | None = None
) -> BlockQuantizedTensor:
    """Quantises a matrix block by block along one axis.

    Args:
        matrix: ``float32 [in, out]``, or ``[entries, width]`` with axis 1; finite.
        block_format: bits, block size and how scales are chosen.
        axis: the axis that blocks run along (0: the inputs of a product; 1: the width of a table).
        importance: ``float32 [matrix.shape[axis]]``, not negative: the weight of each input's squared error; None for
            equal ones. Ignored where scales are not searched.

    Returns:
        A tensor of the same shape. A block of zeros has scale 0. A block that the length doesn't fill is quantised as
        if zeros followed.

    Raises:
        SourceError: values so large (some 1e36) that sums of them are not float32.
    """
    rows = matrix.T if axis == 0 else matrix
    count, length = rows.shape
    size = block_format.block_size
    blocks = -(-length // size)
    values = np.empty((count, blocks, size * block_format.bits // 8), np.uint8)
    scales = np.empty((count, blocks), np.float32)
    zero_points = np.empty((count, blocks), np.uint8)
    weights = _importance_blocks(importance, length, size)
    for start, chunk in _chunks(rows, blocks, size):
        part = slice(start, start + len(chunk))
        with np.errstate(over="ignore", invalid="ignore"):  # BlockQuantizedTensor refuses what comes of it
            found = _quantize_chunk(chunk, weights, block_format)
            scales[part], zero_points[part] = found.scale[..., 0], found.zero_point[..., 0]
            values[part] = pack_values(found.values(chunk), block_format.bits)
    packed = None if block_format.symmetric else pack_values(zero_points, block_format.bits)
    return BlockQuantizedTensor(values, scales, length, block_format.bits, axis, packed)


def _chunks(rows: Floats, blocks: int, size: int) -> Iterator[tuple[int, Floats]]:
    """``float32 [some rows, blocks, size]``, filled up with zeros, and the first row's index."""
    count, length = rows.shape
    step = max(1, CHUNK // (blocks * size))
    for start in range(0, count, step):
        part = rows[start : start + step]
        chunk = np.zeros((len(part), blocks * size), np.float32)
        chunk[:, :length] = part
        yield start, chunk.reshape(len(part), blocks, size)


def _importance_blocks(importance: Floats | None, length: int, size: int) -> Floats | None:
    """``[blocks, size]``; each block's mean is 1, so that tiny activations don't underflow."""
    if importance is None:
        return None
    padded = np.zeros(-(-length // size) * size, np.float64)
    padded[:length] = importance
    blocks = padded.reshape(-1, size)
    mean = blocks.mean(axis=1, keepdims=True)
    return np.where(mean > 0, blocks / np.where(mean > 0, mean, 1), 1).astype(np.float32)


@dataclass
class _Grid:
    """The levels of each block of a chunk: scale and zero point ``float32 [rows, blocks, 1]``."""

    scale: Floats
    zero_point: Floats
    bits: int

    def steps(self, chunk: Floats) -> Floats:
        """The nearest levels in steps from zero, ``q - zero_point``, clipped to what the integers hold."""
        steps = chunk * _reciprocal(self.scale)
        np.rint(steps, out=steps)
        np.maximum(steps, -self.zero_point, out=steps)
        return np.minimum(steps, (1 << self.bits) - 1 - self.zero_point, out=steps)

    def values(self, chunk: Floats) -> NDArray[np.uint8]:
        """The integers q."""
        return (self.steps(chunk) + self.zero_point).astype(np.uint8)


def _reciprocal(scale: Floats) -> Floats:
    """1 / scale; 0 where the scale is 0 or so small that the reciprocal would overflow."""
    usable = np.abs(scale) >= np.finfo(np.float32).tiny
    return np.where(usable, 1 / np.where(usable, scale, 1), 0).astype(np.float32)


def _quantize_chunk(chunk: Floats, weights: Floats | None, block_format: BlockFormat) -> _Grid:
    whole = (_symmetric_grid if block_format.symmetric else _asymmetric_grid)(chunk, block_format.bits)
    if not block_format.least_error:
        return whole
    best, most = _refit(chunk, weights, whole)
    for share in SHARES[block_format.bits]:
        scale, explained = _refit(chunk, weights, dataclasses.replace(whole, scale=whole.scale * np.float32(share)))
        better = explained > most
        np.copyto(best, scale, where=better)
        np.copyto(most, explained, where=better)
    return dataclasses.replace(whole, scale=best)


def _refit(chunk: Floats, weights: Floats | None, grid: _Grid) -> tuple[Floats, Floats]:
    """The least-squares scale for the integers of ``grid``, and what it explains, ``(sum h w q)^2 / sum h q^2``."""
    steps = grid.steps(chunk)
    weighted = steps if weights is None else steps * weights
    products = np.einsum("rbi,rbi->rb", weighted, chunk)[..., None]
    squares = np.einsum("rbi,rbi->rb", weighted, steps)[..., None]
    scale = products / np.where(squares > 0, squares, 1)
    return scale, products * scale


def _symmetric_grid(chunk: Floats, bits: int) -> _Grid:
    middle = 1 << (bits - 1)
    at = np.abs(chunk).argmax(axis=-1, keepdims=True)
    scale = np.take_along_axis(chunk, at, axis=-1) * np.float32(-1 / middle)
    return _Grid(scale, np.full_like(scale, middle), bits)


def _asymmetric_grid(chunk: Floats, bits: int) -> _Grid:
    levels = (1 << bits) - 1
    low = np.minimum(chunk.min(axis=-1, keepdims=True), 0)
    high = np.maximum(chunk.max(axis=-1, keepdims=True), 0)
    scale = (high - low) * np.float32(1 / levels)
    return _Grid(scale, np.clip(np.rint(-low * _reciprocal(scale)), 0, levels), bits)
