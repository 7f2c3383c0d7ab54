"""One method per building block of a graph, each emitting the fused onnxruntime operator that measured fastest.

All activations are 2-D, ``float32 [rows, width]`` with one row a token: onnxruntime's integer product then takes one
activation scale a row, so a row's result cannot depend on the other rows, that is on the sentence's neighbours in a
batch or on padding. Only attention sees ``[batch, length, width]``.

In: names of weights in a `weights_file`. Out: nodes on a tape, which `build` closes into an ONNX model.
Operators of the domain ``com.microsoft`` are documented in onnxruntime's ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from edgekit.graph.blockwise import MICROSOFT as MICROSOFT
from edgekit.graph.blockwise import block_product, block_rows
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor
from edgekit.graph.weights_file import ACTIVATION_SCALE_SUFFIX, SCALE_SUFFIX, WEIGHTS_FILE, StoredTensor, Weights

OPSET = 21
IR_VERSION = 10
# Activations are unsigned, the middle as zero point: onnxruntime's fast integer kernels on x86 are u8 x s8.
ACTIVATION_ZERO_POINT = 128
ACTIVATION_STEPS = 127
# MatMulNBits with x quantised to int8, block by block: its only fast kernels on x86.
BLOCK_ACCURACY_LEVEL = 4

Shape = Sequence[int | str]
Attribute = int | float | str | Sequence[int] | ir.TensorProtocol | ir.Attr


class Emitter:
    """Collects the nodes, inputs and initialisers of one graph."""

    def __init__(
        self,
        weights: Weights,
        stored: Mapping[str, StoredTensor],
        *,
        precision: str,
        epsilon: float,
        opset: int = OPSET,
    ) -> None:
        """Starts an empty graph.

        Args:
            weights: the model's weights by name; decides how each product is emitted.
            stored: where each array lies in the weights file.
            precision: "fp32" (float products; weights per tensor or channel are dequantised once, at load; those in
                blocks at each product), or "int8" or "int4" (activations are quantised, too).
            epsilon: of every layer normalisation.
            opset: version of the operators; a graph of another exporter may need a later one than edgekit's own.
        """
        self._weights, self._stored, self._precision, self._epsilon = weights, stored, precision, epsilon
        self._opset = opset
        self._tape = Tape()
        self._inputs: list[ir.Value] = []
        self._initializers: dict[str, ir.Value] = {}
        self._quantized_rows: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
        self._zero_points: ir.Value | None = None

    def op(self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: Attribute) -> ir.Value:
        """Emits one node with one output."""
        return self._tape.op(op_type, inputs, attributes, domain=domain)

    def ops(
        self, op_type: str, *inputs: ir.Value | None, outputs: int, domain: str = "", **attributes: Attribute
    ) -> list[ir.Value]:
        """Emits one node with several outputs."""
        return list(self._tape.op_multi_out(op_type, inputs, attributes, domain=domain, num_outputs=outputs))

    def input(self, name: str, dtype: str, shape: Shape) -> ir.Value:
        """Declares a graph input."""
        value = ir.Value(name=name, type=ir.TensorType(_ir_dtype(dtype)), shape=ir.Shape(shape))
        self._inputs.append(value)
        return value

    def constant(self, array: np.ndarray) -> ir.Value:
        """A small constant inside the graph; equal constants are stored once."""
        key = f"constant_{array.dtype}_{'x'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        if key not in self._initializers:
            self._initialize(key, ir.tensor(array, name=f"constant_{len(self._initializers)}"))
        return self._initializers[key]

    def ints(self, *values: int) -> ir.Value:
        """An ``int64 [len(values)]`` constant: shapes, axes, split sizes."""
        return self.constant(np.array(values, np.int64))

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> ir.Value:
        """The stored array ``name`` as an initialiser that points into the weights file; ``shape`` reshapes it."""
        key = name if shape is None else f"{name}_{'x'.join(map(str, shape))}"
        if key not in self._initializers:
            at = self._stored[name]
            of_shape = ir.Shape(at.shape if shape is None else shape)
            dtype = _ir_dtype(at.dtype)
            self._initialize(
                key, ir.ExternalTensor(WEIGHTS_FILE, at.offset, at.length, dtype, shape=of_shape, name=key)
            )
        return self._initializers[key]

    def has(self, name: str) -> bool:
        """Whether the model has a weight of this name."""
        return name in self._weights

    def linear(
        self,
        x: ir.Value,
        layer: str,
        *,
        weight: str | None = None,
        transposed: bool = False,
        bias: ir.Value | None = None,
    ) -> ir.Value:
        """``x @ W + b``: ``[rows, in]`` to ``[rows, out]``.

        Args:
            x: ``float32 [rows, in]``.
            layer: prefix of ``.weight``, ``.bias`` and, for calibrated int8, ``.activation_scale``.
            weight: name of the weight where it is not ``layer.weight``.
            transposed: the weight is stored ``[out, in]``.
            bias: ``float32 [out]`` in the place of ``layer.bias``.
        """
        product, bias = self.product(x, layer, weight or f"{layer}.weight", transposed, bias)
        return product if bias is None else self.op("Add", product, bias)

    def product(
        self, x: ir.Value, layer: str, name: str, transposed: bool = False, bias: ir.Value | None = None
    ) -> tuple[ir.Value, ir.Value | None]:
        """``x @ W``, and the bias that is still to be added, if the operator could not."""
        if bias is None and self.has(f"{layer}.bias"):
            bias = self.weight(f"{layer}.bias")
        tensor = self._weights[name]
        if isinstance(tensor, BlockQuantizedTensor):
            accuracy_level = 0 if self._precision == "fp32" else BLOCK_ACCURACY_LEVEL
            return block_product(self, x, name, tensor, bias, accuracy_level), None
        if self._precision != "fp32" and isinstance(tensor, QuantizedTensor) and not tensor.weight_only:
            return self._integer_product(x, layer, name, bias, transposed)
        return self.op("Gemm", x, self.float_weight(name), bias, transB=int(transposed)), None

    def _integer_product(
        self, x: ir.Value, layer: str, name: str, bias: ir.Value | None, transposed: bool
    ) -> tuple[ir.Value, ir.Value | None]:
        """u8 activations x s8 weights in int32, scaled back: y = (xq - 128) @ wq * x_scale * w_scale (+ b)."""
        zero_point = self.constant(np.array(ACTIVATION_ZERO_POINT, np.uint8))
        matrix = self.weight(name)
        if transposed:
            matrix = self.op("Transpose", matrix, perm=[1, 0])
        scale = self.weight(name + SCALE_SUFFIX)
        if self.has(layer + ACTIVATION_SCALE_SUFFIX):
            x_scale = self.weight(layer + ACTIVATION_SCALE_SUFFIX)
            xq = self.op("QuantizeLinear", x, x_scale, zero_point)
            inputs = (xq, matrix, x_scale, scale, zero_point, None, bias)
            return self.op("MatMulIntegerToFloat", *inputs, domain=MICROSOFT), None
        # With a scale a row, onnxruntime 1.32 adds the bias before it multiplies by the row's scale: add it afterwards.
        xq, x_scale = self._quantize_rows(x, self._weights[name].shape[transposed])
        return self.op("MatMulIntegerToFloat", xq, matrix, x_scale, scale, zero_point, domain=MICROSOFT), bias

    def _quantize_rows(self, x: ir.Value, width: int) -> tuple[ir.Value, ir.Value]:
        """Symmetric activations with one scale a row, max|row| / 127: ``uint8 [rows, width]``, ``float32 [rows, 1]``.

        A row of zeros has scale 0 and quantises to anything: the product is then scaled by 0, which is right.
        """
        if x not in self._quantized_rows:
            producer = x.producer()
            is_positive = producer is not None and producer.op_type == "Relu"
            largest = self.op("ReduceMax", x if is_positive else self.op("Abs", x), self.ints(-1))
            scale = self.op("Mul", largest, self.constant(np.array(1 / ACTIVATION_STEPS, np.float32)))
            # One block a row: a scale for each of axis 0 would need another shape than the product's.
            quantized = self.op("QuantizeLinear", x, scale, self._row_zero_points(scale), axis=1, block_size=int(width))
            self._quantized_rows[x] = quantized, scale
        return self._quantized_rows[x]

    def _row_zero_points(self, scale: ir.Value) -> ir.Value:
        """``uint8 [rows, 1]``, made once for all activations with the same number of rows."""
        if self._zero_points is None:
            middle = self.constant(np.array([[ACTIVATION_ZERO_POINT]], np.uint8))
            self._zero_points = self.op("Expand", middle, self.op("Shape", scale))
        return self._zero_points

    def new_rows(self) -> None:
        """Says that activations may have another number of rows from here on."""
        self._zero_points = None

    def choose_rows(self, rows: ir.Value, *values: ir.Value) -> list[ir.Value]:
        """Rows ``rows`` (int64 ``[outputs]``) of each value; only these may be used from here on."""
        self.new_rows()
        return [self.op("Gather", value, rows, axis=0) for value in values]

    def float_weight(self, name: str) -> ir.Value:
        """The weight in float32; onnxruntime folds the dequantisation of a stored int8 weight at load."""
        tensor = self._weights[name]
        if not isinstance(tensor, QuantizedTensor):
            return self.weight(name)
        scale = self.weight(name + SCALE_SUFFIX)
        if tensor.axis is None:
            return self.op("DequantizeLinear", self.weight(name), scale)
        return self.op("DequantizeLinear", self.weight(name), scale, axis=tensor.axis)

    def rows(self, name: str, ids: ir.Value) -> ir.Value:
        """Rows ``ids`` (int64 ``[rows]``) of the table ``name`` as ``float32 [rows, width]``, dequantised."""
        tensor = self._weights[name]
        if isinstance(tensor, BlockQuantizedTensor):
            return block_rows(self, name, tensor, ids)
        table = self.op("Gather", self.weight(name), ids, axis=0)
        if not isinstance(tensor, QuantizedTensor):
            return table
        scale = self.weight(name + SCALE_SUFFIX)
        if tensor.axis is None:
            return self.op("DequantizeLinear", table, scale)
        return self.op("DequantizeLinear", table, self.op("Gather", scale, ids, axis=0), axis=0)

    def embed(self, name: str, ids: ir.Value, embed_scale: float) -> ir.Value:
        """``embed_scale * table[ids]``: ``float32 [rows, d_model]`` of int64 ids ``[rows]``."""
        looked_up = self.rows(name, ids)
        if embed_scale == 1.0:
            return looked_up
        return self.op("Mul", looked_up, self.constant(np.array(embed_scale, np.float32)))

    def add_norm(self, x: ir.Value, residual: ir.Value, norm: str, bias: ir.Value | None = None) -> ir.Value:
        """``layer_norm(x + bias + residual)`` with ``norm.weight`` and ``norm.bias``: ``[rows, d_model]``."""
        # SkipLayerNormalization would be one node, but takes 8 to 20 times as long for 32 rows of 256 (1.32, x86).
        total = self.op("Add", x if bias is None else self.op("Add", x, bias), residual)
        scale, shift = self.weight(f"{norm}.weight"), self.weight(f"{norm}.bias")
        return self.op("LayerNormalization", total, scale, shift, axis=-1, epsilon=self._epsilon)

    def linear_add_norm(self, x: ir.Value, layer: str, residual: ir.Value, norm: str) -> ir.Value:
        """``layer_norm(linear(x) + residual)``, which ends every block: ``[rows, in]`` to ``[rows, d_model]``."""
        product, bias = self.product(x, layer, f"{layer}.weight")
        return self.add_norm(product, residual, norm, bias)

    def feed_forward(self, x: ir.Value, block: str, activation_function: str) -> ir.Value:
        """``layer_norm(down(activation(up(x))) + x)``: ``[rows, d_model]`` to ``[rows, d_model]``."""
        hidden = self.activation(self.linear(x, f"{block}.up"), activation_function)
        return self.linear_add_norm(hidden, f"{block}.down", x, f"{block}.norm")

    def activation(self, x: ir.Value, name: str) -> ir.Value:
        """The activation function ``name`` of each element."""
        if name == "relu":
            return self.op("Relu", x)
        if name == "gelu_tanh":
            return self.op("FastGelu", x, domain=MICROSOFT)
        if name == "gelu":
            return self.op("Gelu", x)
        # swish(x) = x * sigmoid(x), https://arxiv.org/abs/1710.05941; QuickGelu is x * sigmoid(alpha * x).
        return self.op("QuickGelu", x, domain=MICROSOFT, alpha=1.0)

    def build(self, name: str, outputs: Mapping[str, tuple[ir.Value, str, Shape]]) -> ir.Model:
        """Closes the graph.

        Args:
            name: the graph's name.
            outputs: name -> (value, dtype, shape) in order.
        """
        values = []
        for output_name, (value, dtype, shape) in outputs.items():
            value.name, value.type, value.shape = output_name, ir.TensorType(_ir_dtype(dtype)), ir.Shape(shape)
            values.append(value)
        graph = ir.Graph(
            self._inputs,
            values,
            nodes=self._tape.nodes,
            initializers=tuple(self._initializers.values()),
            opset_imports={"": self._opset, MICROSOFT: 1},
            name=name,
        )
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="edgekit")

    def _initialize(self, key: str, tensor: ir.TensorProtocol) -> None:
        shape, dtype = ir.Shape(tensor.shape.numpy()), ir.TensorType(tensor.dtype)
        self._initializers[key] = ir.Value(name=tensor.name, type=dtype, shape=shape, const_value=tensor)


def _ir_dtype(name: str) -> ir.DataType:
    return {
        "float32": ir.DataType.FLOAT,
        "float16": ir.DataType.FLOAT16,
        "int64": ir.DataType.INT64,
        "int32": ir.DataType.INT32,
        "int8": ir.DataType.INT8,
        "uint8": ir.DataType.UINT8,
        "bool": ir.DataType.BOOL,
    }[name]
