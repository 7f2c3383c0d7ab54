"""What graphs and weights just written are, in the manifest's terms: its ``graphs`` and ``quantization`` sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgekit.bundle.manifest import Graph, Port, Quantization, StateTensor, TensorQuantization
from edgekit.graph.products import PER_BLOCK, PER_ROW, STATIC, find_products
from edgekit.graph.tensors import BlockQuantizedTensor
from edgekit.graph.weights_file import OFFSET_SUFFIX, SCALE_SUFFIX, ZERO_POINT_SUFFIX, Weights

ACTIVATIONS = {STATIC: "static", PER_ROW: "dynamic per row", PER_BLOCK: "dynamic per block"}


@dataclass(frozen=True)
class GraphFiles:
    """What was written into a bundle's directory, in the manifest's terms."""

    graphs: dict[str, Graph]
    state: tuple[StateTensor, ...]
    quantization: Quantization


def describe_graph(model: ir.Model, file: str) -> Graph:
    """The inputs and outputs of a graph, in its order."""
    return Graph(file, tuple(map(_port, model.graph.inputs)), tuple(map(_port, model.graph.outputs)))


def describe_quantization(weights: Weights, precision: str, models: Iterable[ir.Model]) -> Quantization:
    """The manifest's ``quantization``: the scheme, how activations are quantised, every quantised tensor.

    Args:
        weights: by name.
        precision: the bundle's.
        models: the graphs, which know how each product takes its input.
    """
    products = {product.weight: product for model in models for product in find_products(model)}
    tensors = {}
    for name, tensor in weights.items():
        if isinstance(tensor, np.ndarray):
            continue
        described = (
            _describe_blocks(name, tensor)
            if isinstance(tensor, BlockQuantizedTensor)
            else TensorQuantization("int8", name + SCALE_SUFFIX, "per-tensor" if tensor.axis is None else "per-channel")
        )
        product = products.get(name)
        if precision != "fp32" and product is not None:
            described = replace(described, activations=product.activations, activation_scale=product.activation_scale)
        tensors[name] = described
    return Quantization(precision, _describe_activations(tensors), tensors)


def _describe_blocks(name: str, tensor: BlockQuantizedTensor) -> TensorQuantization:
    offset = None
    if tensor.offsets is not None:
        # Its own name: they lie behind the values, in the same arrays.
        offset = name if isinstance(tensor.offsets, BlockQuantizedTensor) else name + OFFSET_SUFFIX
    return TensorQuantization(
        dtype=f"uint{tensor.bits}",
        scale=name + SCALE_SUFFIX,
        granularity="per-block",
        block_size=tensor.block_size,
        zero_point=None if tensor.zero_points is None else name + ZERO_POINT_SUFFIX,
        offset=offset,
    )


def _describe_activations(tensors: Mapping[str, TensorQuantization]) -> str | None:
    """How the products of all tensors take their inputs; None where all take floats."""
    found = {tensor.activations for tensor in tensors.values()}
    return " and ".join(words for activations, words in ACTIVATIONS.items() if activations in found) or None


def _port(value: ir.Value) -> Port:
    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    shape = tuple(size if isinstance(size, int) else str(size.value) for size in value.shape)
    return Port(value.name, str(value.dtype.numpy()), shape)
