"""What graphs and weights just written are, in the manifest's terms: its ``graphs`` and ``quantization`` sections."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgekit.bundle.manifest import Graph, Port, Quantization, StateTensor, TensorQuantization
from edgekit.graph.tensors import BlockQuantizedTensor, QuantizedTensor
from edgekit.graph.weights_file import OFFSET_SUFFIX, SCALE_SUFFIX, ZERO_POINT_SUFFIX, Weights


@dataclass(frozen=True)
class GraphFiles:
    """What was written into a bundle's directory, in the manifest's terms."""

    graphs: dict[str, Graph]
    state: tuple[StateTensor, ...]
    quantization: Quantization


def describe_graph(model: ir.Model, file: str) -> Graph:
    """The inputs and outputs of a graph, in its order."""
    return Graph(file, tuple(map(_port, model.graph.inputs)), tuple(map(_port, model.graph.outputs)))


def describe_quantization(weights: Weights, precision: str) -> Quantization:
    """The manifest's ``quantization``: the scheme, how activations are quantised, every quantised tensor."""
    tensors = {}
    for name, tensor in weights.items():
        if isinstance(tensor, QuantizedTensor):
            granularity = "per-tensor" if tensor.axis is None else "per-channel"
            tensors[name] = TensorQuantization("int8", name + SCALE_SUFFIX, granularity)
        elif isinstance(tensor, BlockQuantizedTensor):
            tensors[name] = _describe_blocks(name, tensor)
    return Quantization(precision, _describe_activations(weights, precision), tensors)


def _describe_blocks(name: str, tensor: BlockQuantizedTensor) -> TensorQuantization:
    return TensorQuantization(
        dtype=f"uint{tensor.bits}",
        scale=name + SCALE_SUFFIX,
        granularity="per-block",
        block_size=tensor.block_size,
        zero_point=None if tensor.zero_points is None else name + ZERO_POINT_SUFFIX,
        offset=None if tensor.offsets is None else name + OFFSET_SUFFIX,
    )


def _describe_activations(weights: Weights, precision: str) -> str | None:
    if precision == "fp32":
        return None
    if any(name.endswith(".activation_scale") for name in weights):
        return "static"
    in_blocks = any(isinstance(tensor, BlockQuantizedTensor) for tensor in weights.values())
    per_row = any(isinstance(tensor, QuantizedTensor) for tensor in weights.values())
    return " and ".join(["dynamic per row"] * per_row + ["dynamic per block"] * in_blocks) or None


def _port(value: ir.Value) -> Port:
    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    shape = tuple(size if isinstance(size, int) else str(size.value) for size in value.shape)
    return Port(value.name, str(value.dtype.numpy()), shape)
