"""A graph that another exporter made, and what edgekit has to know of it to put its nodes into a graph of its own.

In: an ONNX graph of an imported bundle; or what `edgekit.export.foreign_weights` found in somebody's file. Out: a
`ForeignGraph`: which nodes multiply with a stored matrix, which look rows of a table up, which product makes the
logits. Which port means what is the business of `foreign_causal_lm` and `foreign_seq2seq`; `transplant` copies nodes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.graph.weights_file import TABLES

# A key of the manifest's architecture: whether the graphs were imported, and not built from their weights.
IMPORTED = "imported"
# What may stand between the output layer's product and the logits: each works on every number by itself.
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Tanh", "Cast", "Identity")


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix of the weights file as a product takes it.

    Attributes:
        name: in the weights file.
        inputs: numbers of a row that is multiplied.
        outputs: numbers of a row that comes out.
        transposed: whether it is stored ``[outputs, inputs]``.
    """

    name: str
    inputs: int
    outputs: int
    transposed: bool

    @property
    def layer(self) -> str:
        """The prefix that `edgekit.graph.emitter.Emitter.linear` knows the product by."""
        return "output" if self.name in TABLES else self.name.removesuffix(".weight")


@dataclass(frozen=True, eq=False)
class ForeignGraph:
    """A graph to be copied.

    Attributes:
        inputs: by name.
        outputs: by name.
        nodes: in an order in which they can run.
        stored: the name in the weights file of each initialiser that lies there; the others are small.
        products: nodes (MatMul, Gemm) that multiply with a stored matrix.
        lookups: nodes (Gather) that take rows of a stored table, by its name.
        opset: version of the operators that a graph with these nodes has.
    """

    inputs: Mapping[str, ir.Value]
    outputs: Mapping[str, ir.Value]
    nodes: Sequence[ir.Node]
    stored: Mapping[ir.Value, str]
    products: Mapping[ir.Node, StoredMatrix]
    lookups: Mapping[ir.Node, str]
    opset: int

    def needed(self, outputs: Iterable[ir.Value]) -> list[ir.Node]:
        """The nodes that these values are made by, in order; what only makes a stored matrix is not among them."""
        pending = list(outputs)
        found: set[ir.Node] = set()
        while pending:
            node = pending.pop().producer()
            if node is not None and node not in found:
                found.add(node)
                taken = (*node.inputs[:1], *node.inputs[2:]) if node in self.products else node.inputs
                pending += [value for value in taken if value is not None]
        return [node for node in self.nodes if node in found]


def find_head(products: Container[ir.Node], logits: ir.Value) -> ir.Node | None:
    """The product that makes the logits, if after it nothing looks at more than one number at a time."""
    node = logits.producer()
    while node is not None and node not in products:
        varying = [value for value in node.inputs if value is not None and not is_constant(value)]
        if node.op_type not in _ELEMENTWISE or len(varying) != 1:
            return None
        node = varying[0].producer()
    return node


def is_constant(value: ir.Value) -> bool:
    """Whether a value is an initialiser or a constant."""
    producer = value.producer()
    return value.const_value is not None if producer is None else producer.op_type == "Constant"


def is_plain_gemm(node: ir.Node) -> bool:
    """Whether a node is ``x @ W + b``, ``W`` perhaps transposed."""
    attributes = node.attributes
    factors = (attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0))
    return node.op_type == "Gemm" and factors == (1.0, 1.0) and not attributes.get_int("transA", 0)


def read_bundle_graph(graph: ir.Graph) -> ForeignGraph:
    """Reads a graph of an imported fp32 bundle, whose initialisers are named as in the weights file."""
    stored = {
        value: str(value.name)
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    products: dict[ir.Node, StoredMatrix] = {}
    lookups: dict[ir.Node, str] = {}
    for node in graph:
        name = next((stored[value] for value in node.inputs[:2] if value in stored), "")
        if is_plain_gemm(node) and name and node.inputs[1] in stored:
            transposed = bool(node.attributes.get_int("transB", 0))
            sizes = graph.initializers[name].shape.numpy()  # type: ignore[union-attr]
            products[node] = StoredMatrix(name, sizes[transposed], sizes[not transposed], transposed)
        elif node.op_type == "Gather" and name in TABLES and not node.attributes.get_int("axis", 0):
            lookups[node] = name
    inputs = {str(value.name): value for value in graph.inputs}
    outputs = {str(value.name): value for value in graph.outputs}
    return ForeignGraph(inputs, outputs, list(graph), stored, products, lookups, graph.opset_imports[""])
