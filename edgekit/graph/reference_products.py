"""Matrix products as a graph makes them, in plain numpy: what of a reference depends on how weights are stored.

In int8 and int4 the graph's integer arithmetic is repeated (activations rounded half to even, sums in integers), so
that graph and reference differ by float rounding alone.

In: weights by name, a precision, activations ``float32 [rows, in]``. Out: ``float32 [rows, out]``.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from edgekit.graph.folded_offsets import join_offsets
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor, Tensor
from edgekit.graph.weights_file import ACTIVATION_SCALE_SUFFIX, Weights

Array = np.ndarray

# Outputs of a product calculated at once: a large vocabulary's layer takes gigabytes as floats.
CHUNK = 8192


class ReferenceProducts:
    """The weights of a model, as matrices to multiply with and tables to look up in."""

    def __init__(self, weights: Weights, precision: str) -> None:
        """Takes what a graph builder took."""
        self._weights, self._precision = weights, precision

    def has(self, name: str) -> bool:
        """Whether the model has a weight of this name."""
        return name in self._weights

    def floats(self, name: str) -> Array:
        """The whole weight in float32."""
        return _floats(self._weights[name])

    def rows(self, name: str, ids: Array) -> Array:
        """Rows ``ids`` of a table in float32."""
        table = self._weights[name]
        if isinstance(table, BlockQuantizedTensor):
            return table.rows(ids).dequantize()
        if isinstance(table, QuantizedTensor):
            scale = table.scale if table.axis is None else table.scale[ids]
            return QuantizedTensor(np.ascontiguousarray(table.values[ids]), scale, table.axis).dequantize()
        return table[ids]

    def linear(
        self, x: Array, layer: str, name: str | None = None, *, transposed: bool = False, in_float: bool = False
    ) -> Array:
        """``x @ W + b`` of ``layer.weight``, or of ``name``; ``transposed``: the weight is stored ``[out, in]``."""
        weight = self._weights[name or f"{layer}.weight"]
        bias = self.floats(f"{layer}.bias") if f"{layer}.bias" in self._weights else np.float32(0)
        weight_only = isinstance(weight, QuantizedTensor) and weight.weight_only
        in_float = in_float or self._precision == "fp32" or weight_only
        outputs = weight.shape[0 if transposed else 1]
        scale = self._activation_scale(x, layer) if isinstance(weight, QuantizedTensor) and not in_float else None
        chunks = []
        for start in range(0, outputs, CHUNK):
            part = _outputs(weight, slice(start, start + CHUNK), transposed)
            if isinstance(part, BlockQuantizedTensor) and not in_float:
                chunks.append(_block_product(x, part))
            elif isinstance(part, QuantizedTensor) and scale is not None:
                chunks.append(_integer_product(x, scale, part, transposed))
            else:
                matrix = _floats(part)
                chunks.append(x @ (matrix.T if transposed else matrix))
        return (np.concatenate(chunks, axis=1) + bias).astype(np.float32)

    def _activation_scale(self, x: Array, layer: str) -> Array:
        """The step of quantised activations: the calibrated one, else ``[rows, 1]``, max|row| / 127."""
        if layer + ACTIVATION_SCALE_SUFFIX in self._weights:
            return self.floats(layer + ACTIVATION_SCALE_SUFFIX)
        return np.abs(x).max(axis=1, keepdims=True) * np.float32(1 / 127)


def _floats(weight: Tensor) -> Array:
    return weight if isinstance(weight, np.ndarray) else weight.dequantize()


def _outputs(weight: Tensor, chosen: slice, transposed: bool) -> Tensor:
    """The part of a matrix that calculates some of the outputs."""
    if isinstance(weight, BlockQuantizedTensor):
        return weight.rows(chosen)
    index = (chosen,) if transposed else (slice(None), chosen)
    if isinstance(weight, QuantizedTensor):
        scale = weight.scale if weight.axis is None else weight.scale[chosen]
        return QuantizedTensor(weight.values[index], scale, weight.axis)
    return weight[index]


def round_activations(x: Array, scale: Array) -> Array:
    """How many steps of ``scale`` each activation is, -128 to 127; a row of zeros, whose step is 0, stays one."""
    return np.clip(np.rint(x / np.where(scale > 0, scale, 1)), -128, 127)


def _integer_product(x: Array, scale: Array, weight: QuantizedTensor, transposed: bool) -> Array:
    matrix = weight.values.T if transposed else weight.values
    # float64 holds these integer sums exactly: at most 2^14 a term and 2^39 terms.
    return (round_activations(x, scale) @ matrix.astype(np.float64)) * scale * weight.scale


def _block_product(x: Array, weight: BlockQuantizedTensor) -> Array:
    """MatMulNBits with accuracy level 4: each block of ``x`` has its own step, max|block| / 127.

    Offsets in blocks are rows of the matrix that the sums of ``x``'s blocks meet, which are rounded like ``x``.
    """
    blocks, size = weight.scales.shape[1], weight.block_size
    padded = np.zeros((len(x), blocks * size), np.float32)
    padded[:, : weight.length] = x
    by_block = padded.reshape(len(x), blocks, size)
    if isinstance(weight.offsets, BlockQuantizedTensor):
        return _block_product(np.concatenate([padded, by_block.sum(axis=2)], axis=1), join_offsets(weight))
    scale = np.abs(by_block).max(axis=2, keepdims=True) * np.float32(1 / 127)
    rounded = np.rint(by_block / np.where(scale > 0, scale, 1)) * scale
    matrix = dataclasses.replace(weight, offsets=None).dequantize()
    product = rounded.reshape(len(x), -1)[:, : weight.length] @ (matrix if weight.axis == 0 else matrix.T)
    return product if weight.offsets is None else product + by_block.sum(axis=2) @ weight.offsets.T
