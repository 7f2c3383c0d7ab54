"""What a weight is, everywhere between a checkpoint and a graph: a numpy array or a `QuantizedTensor`.

In: int8 values and float32 scales, as a checkpoint ships them or as `edgekit.quantize` calculates them. Out: the same,
checked, and float32 on request. Refuses zero points (edgekit's int8 weights are symmetric), other integer types, and
scales that are not positive and finite. Chooses no scales and rounds nothing: that is `edgekit.quantize`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError


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

    Raises:
        SourceError: Any of the above does not hold.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    axis: int | None = None

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


Tensor = np.ndarray | QuantizedTensor
"""A weight: an array of floats or integers, or an int8 tensor with its scales."""
