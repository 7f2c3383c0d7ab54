"""The matrix products of a graph: which weight each multiplies with, and how it takes its input.

In: an ONNX graph, just built or read back. Out: a `Product` for each node that multiplies with a stored matrix. What
multiplies with a matrix made at run time (attention, a shortlist's rows) is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

MATRIX_SUFFIX = ".weight"
FLOAT_ACTIVATIONS, PER_ROW, PER_BLOCK, STATIC = "float", "per-row", "per-block", "static"


@dataclass(frozen=True)
class Product:
    """One product.

    Attributes:
        weight: the matrix's name in the weights file.
        input: what is multiplied with it, ``[rows, in]``: floats, or what they were quantised to.
        activations: "float", "per-row" or "static" (int8 with a scale found or stored), "per-block".
        activation_scale: the stored scale's name where activations are static.
    """

    weight: str
    input: ir.Value
    activations: str
    activation_scale: str | None = None


def find_products(model: ir.Model) -> Iterator[Product]:
    """Yields the products of a graph, in the order of its nodes."""
    for node in model.graph:
        if node.op_type not in ("Gemm", "MatMulNBits", "MatMulIntegerToFloat"):
            continue
        x, matrix = node.inputs[:2]
        weight = _initializer(matrix)
        if x is None or weight is None or not weight.endswith(MATRIX_SUFFIX):
            continue
        if node.op_type == "MatMulIntegerToFloat":
            scale = _initializer(node.inputs[2])
            yield Product(weight, x, PER_ROW if scale is None else STATIC, scale)
        else:
            in_float = node.op_type == "Gemm" or not node.attributes.get_int("accuracy_level", 0)
            yield Product(weight, x, FLOAT_ACTIVATIONS if in_float else PER_BLOCK)


def _initializer(value: ir.Value | None) -> str | None:
    """The name of the stored array that a value is, perhaps transposed or dequantised."""
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type not in ("Transpose", "DequantizeLinear"):
            return None
        value = producer.inputs[0]
    return value.name if value is not None and value.const_value is not None else None
