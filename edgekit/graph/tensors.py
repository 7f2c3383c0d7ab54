"""What a weight is, everywhere between a checkpoint and a graph: a numpy array or one of two quantised tensors.

In: integers and float32 scales, as a checkpoint ships them or as `edgekit.quantize` calculates them. Out: the same,
checked, and float32 on request. `QuantizedTensor` is int8 with one scale a tensor or a channel and refuses zero points
(edgekit's int8 weights are symmetric); `BlockQuantizedTensor` has 4 or 8 bits and a scale for every 16 to 128 values.
Both refuse other integer types and scales that aren't finite. Chooses no scales and rounds nothing: that is
`edgekit.quantize`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError

BLOCK_SIZES = (16, 32, 64, 128)


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A symmetric int8 tensor: ``value = values * scale``, no zero point.

    This is ONNX DequantizeLinear with a zero point of 0 (https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html),
    so ``scale`` multiplies. Marian's intgemm scales divide; `edgekit.export.sources.marian_binary` inverts them.

    Attributes:
        values: int8, any shape of at least one dimension.
        scale: float32, positive and finite; shape ``[]`` for one scale a tensor, ``[values.shape[axis]]`` for one
            scale an index of ``axis``.
        axis: The axis of ``values`` that ``scale`` runs along, from 0; None where there is one scale.
        weight_only: Products take their inputs in float32: in a graph the tensor is dequantised when it is loaded.

    Raises:
        SourceError: Any of the above does not hold.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    axis: int | None = None
    weight_only: bool = False

    def __post_init__(self) -> None:
        for what, array, dtype in (("values", self.values, np.int8), ("scale", self.scale, np.float32)):
            # A numpy scalar (np.float32(1)) is not an array, and is what indexing an array gives by accident.
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                found = getattr(array, "dtype", type(array).__name__)
                raise SourceError(f"a quantised tensor's {what} must be an array of {np.dtype(dtype)}, found {found}")
        if self.values.ndim == 0:
            raise SourceError("a quantised tensor needs at least one dimension, found a scalar")
        if self.axis is not None and not 0 <= self.axis < self.values.ndim:
            raise SourceError(f"a quantised tensor of shape {list(self.shape)} has no axis {self.axis}")
        expected = () if self.axis is None else (self.values.shape[self.axis],)
        if self.scale.shape != expected:
            raise SourceError(
                f"a quantised tensor of shape {list(self.shape)} with axis {self.axis} needs scales of shape "
                f"{list(expected)}, found {list(self.scale.shape)}"
            )
        if not np.all(np.isfinite(self.scale) & (self.scale > 0)):
            raise SourceError("a quantised tensor's scales must be positive and finite; the weights are damaged")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``values``."""
        return self.values.shape

    def dequantize(self) -> NDArray[np.float32]:
        """The float32 values, a new C-ordered array of the same shape: each one product, rounded once to float32."""
        scale = self.scale
        if self.axis is not None:
            scale = scale.reshape([-1 if axis == self.axis else 1 for axis in range(self.values.ndim)])
        return np.multiply(self.values, scale, dtype=np.float32, order="C")


@dataclass(frozen=True, eq=False)
class BlockQuantizedTensor:
    """A matrix whose rows are cut into blocks of 4- or 8-bit values: ``value = (q - zero_point) * scale + offset``.

    The bytes are those of onnxruntime's operator MatMulNBits, domain com.microsoft, documented in its
    ContribOperators.md, so a graph's initialisers point at them as they are. A *row* belongs to one output of a product
    (MatMulNBits' N) and runs along its inputs (K); it is cut into ``ceil(length / block_size)`` blocks, the last one
    padded with values that nobody reads. Of two 4-bit values in a byte, the first (even index) is the **low** nibble.
    Zero points are packed in the same way, each row by itself: with 4 bits, blocks 2j and 2j + 1 of a row are the low
    and the high nibble of byte j, and the last high nibble of an odd number of blocks is padding.

    Attributes:
        values: ``uint8 [rows, blocks, block_size * bits / 8]``.
        scales: ``float32 [rows, blocks]``, finite; negative and zero are valid (ggml's Q4_0 has both).
        length: How many values a row has, padding not counted.
        bits: 4 or 8.
        axis: The axis of `shape` that blocks run along: 0 for a matrix ``[in, out]`` (its rows are outputs), 1 for a
            table ``[entries, width]`` (its rows are entries), which as a tied head is the same bytes.
        zero_points: ``uint8 [rows, ceil(blocks * bits / 8)]``, packed; None where all are 8 (4 bits) or 128 (8 bits).
        offsets: ``float32 [rows, blocks]``, finite: what is added to each value of a block (the minima of ggml's
            Q4_1). MatMulNBits has no such term; in a product it is the sum of each block's inputs times its offset.
            Or a table ``[rows, blocks]`` in blocks of the same bits and size, with zero points where the values have
            them: it is stored behind the values of a matrix, see `edgekit.graph.folded_offsets`.

    Raises:
        SourceError: Any of the above does not hold.
    """

    values: NDArray[np.uint8]
    scales: NDArray[np.float32]
    length: int
    bits: int
    axis: int = 0
    zero_points: NDArray[np.uint8] | None = None
    offsets: "NDArray[np.float32] | BlockQuantizedTensor | None" = None

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise SourceError(f"a block-quantised tensor has 4 or 8 bits, found {self.bits}")
        if self.axis not in (0, 1):
            raise SourceError(f"a block-quantised tensor's axis is 0 or 1, found {self.axis}")
        _check_array("values", self.values, np.uint8, 3)
        if self.block_size not in BLOCK_SIZES:
            sizes = ", ".join(map(str, BLOCK_SIZES))
            raise SourceError(f"a block-quantised tensor's blocks hold {sizes} values, found {self.block_size}")
        rows, blocks = self.values.shape[:2]
        if self.length < 1 or blocks != -(-self.length // self.block_size):
            raise SourceError(
                f"{blocks} blocks of {self.block_size} values can't hold rows of {self.length} values exactly"
            )
        _check_array("scales", self.scales, np.float32, 2, (rows, blocks))
        if isinstance(self.offsets, BlockQuantizedTensor):
            self._check_offsets(self.offsets)
        elif self.offsets is not None:
            _check_array("offsets", self.offsets, np.float32, 2, (rows, blocks))
        if self.zero_points is not None:
            _check_array("zero points", self.zero_points, np.uint8, 2, (rows, -(-blocks * self.bits // 8)))
        for what, array in (("scales", self.scales), ("offsets", self.offsets)):
            if isinstance(array, np.ndarray) and not np.all(np.isfinite(array)):
                raise SourceError(f"a block-quantised tensor's {what} must be finite; the weights are damaged")

    def _check_offsets(self, offsets: "BlockQuantizedTensor") -> None:
        expected, found = (
            f"{kind.bits} bits in blocks of {kind.block_size}, zero points: {kind.zero_points is not None}"
            for kind in (self, offsets)
        )
        if self.axis != 0 or offsets.axis != 1 or offsets.offsets is not None:
            raise SourceError("offsets in blocks need a matrix (axis 0), and to be a table (axis 1) without offsets")
        if offsets.shape != self.scales.shape or found != expected:
            raise SourceError(
                f"a block-quantised tensor's offsets must be a table {list(self.scales.shape)} of {expected}, "
                f"found {list(offsets.shape)} of {found}"
            )

    @property
    def block_size(self) -> int:
        """How many values share a scale."""
        return self.values.shape[2] * 8 // self.bits

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix that the blocks stand for: ``(in, out)`` with axis 0, ``(entries, width)`` with axis 1."""
        rows = self.values.shape[0]
        return (self.length, rows) if self.axis == 0 else (rows, self.length)

    @property
    def ndim(self) -> int:
        """2, as of an array of this shape."""
        return 2

    def unpacked_values(self) -> NDArray[np.uint8]:
        """The values one a byte, padding included: ``uint8 [rows, blocks, block_size]``."""
        return self.values if self.bits == 8 else _unpack_nibbles(self.values)

    def unpacked_zero_points(self) -> NDArray[np.uint8]:
        """The zero points one a byte, also where all are the middle: ``uint8 [rows, blocks]``."""
        blocks = self.scales.shape
        if self.zero_points is None:
            return np.full(blocks, 1 << (self.bits - 1), np.uint8)
        return self.zero_points if self.bits == 8 else _unpack_nibbles(self.zero_points)[:, : blocks[1]]

    def unpacked_offsets(self) -> NDArray[np.float32]:
        """The offsets as numbers, however they are kept: ``float32 [rows, blocks]``, zeros where there are none."""
        if self.offsets is None:
            return np.zeros_like(self.scales)
        return self.offsets.dequantize() if isinstance(self.offsets, BlockQuantizedTensor) else self.offsets

    def dequantize(self) -> NDArray[np.float32]:
        """The float32 values, a new C-ordered array of `shape`: a product rounded once, then the offset's sum once."""
        rows = np.subtract(self.unpacked_values(), self.unpacked_zero_points()[:, :, None], dtype=np.float32)
        rows *= self.scales[:, :, None]
        if self.offsets is not None:
            rows += self.unpacked_offsets()[:, :, None]
        matrix = rows.reshape(rows.shape[0], -1)[:, : self.length]
        return np.ascontiguousarray(matrix.T if self.axis == 0 else matrix)

    def rows(self, index: NDArray[np.integer] | slice) -> "BlockQuantizedTensor":
        """The rows that ``index`` chooses, in its order (outputs of a product, entries of a table), same blocks."""
        offsets = self.offsets
        if offsets is not None:
            offsets = offsets.rows(index) if isinstance(offsets, BlockQuantizedTensor) else offsets[index]
        return replace(
            self,
            values=self.values[index],
            scales=self.scales[index],
            zero_points=None if self.zero_points is None else self.zero_points[index],
            offsets=offsets,
        )


Tensor = np.ndarray | QuantizedTensor | BlockQuantizedTensor
"""A weight: an array of floats or integers, or a quantised tensor with its scales."""


def pack_values(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Integers one a byte to the bytes of `BlockQuantizedTensor`, along the last axis; an odd end is padded with 0."""
    if bits == 8:
        return values
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], 1), np.uint8)], axis=-1)
    return values[..., ::2] | np.left_shift(values[..., 1::2], np.uint8(4))


def concatenate_outputs(tensors: Sequence[Tensor]) -> Tensor:
    """Matrices ``[in, out]`` side by side along ``out``, as fused projections want them (QKV, gate and up).

    Blocks stay as they are where all tensors have blocks of one size and width along ``in``, their offsets as floats;
    else everything is dequantised and the result is float32.
    """
    blocks = [tensor for tensor in tensors if isinstance(tensor, BlockQuantizedTensor)]
    kinds = {(tensor.bits, tensor.block_size, tensor.length, tensor.axis) for tensor in blocks}
    if len(blocks) != len(tensors) or len(kinds) != 1 or blocks[0].axis != 0:
        return np.concatenate([t if isinstance(t, np.ndarray) else t.dequantize() for t in tensors], axis=1)
    zero_points = offsets = None
    if any(tensor.zero_points is not None for tensor in blocks):
        zero_points = np.concatenate([pack_values(t.unpacked_zero_points(), t.bits) for t in blocks])
    if any(tensor.offsets is not None for tensor in blocks):
        offsets = np.concatenate([tensor.unpacked_offsets() for tensor in blocks])
    return replace(
        blocks[0],
        values=np.concatenate([tensor.values for tensor in blocks]),
        scales=np.concatenate([tensor.scales for tensor in blocks]),
        zero_points=zero_points,
        offsets=offsets,
    )


def _unpack_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def _check_array(what: str, array: object, dtype: type, ndim: int, shape: tuple[int, ...] | None = None) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
        found = f"{array.dtype} of {array.ndim}" if isinstance(array, np.ndarray) else type(array).__name__
        raise SourceError(
            f"a block-quantised tensor's {what} must be an array of {np.dtype(dtype)} with {ndim} dimensions, "
            f"found {found}"
        )
    if shape is not None and array.shape != shape:
        raise SourceError(
            f"a block-quantised tensor's {what} must have the shape {list(shape)}, found {list(array.shape)}"
        )
