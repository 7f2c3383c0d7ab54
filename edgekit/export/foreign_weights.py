"""The weights of somebody's ONNX graphs, each once, under names that edgekit knows how to quantise.

In: graphs as `edgekit.export.onnx_folder` loads them. Out: float arrays by name, and a `ForeignGraph` of each graph.
Arrays that are equal, number by number, are one array, also where one of two products has its matrix transposed: the
decoder that optimum writes twice or three times, and an output layer tied to the embedding, are stored once. Matrices
are stored ``[in, out]``; the table of the input ids and the output layer ``[vocabulary, width]``, under the names that
`edgekit.graph.weights_file.TABLES` has. Refused: graphs that are quantised already, or in half precision.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgekit.errors import SourceError, UnsupportedError
from edgekit.graph.foreign import ForeignGraph, StoredMatrix, find_head, is_plain_gemm

# Smaller arrays stay in the graph: shapes, scalars.
SMALLEST_STORED = 32
_QUANTIZED = re.compile(r"Q(uantize)?Linear|DequantizeLinear|DynamicQuantize.*|.*Integer(ToFloat)?|MatMulNBits|QGemm")
_UNUSUAL = re.compile(r"[^A-Za-z0-9._/-]+")
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
# Through these a graph looks up the very ids that it was given.
_RESHAPES = ("Reshape", "Cast", "Identity", "Unsqueeze", "Squeeze")


@dataclass(frozen=True, eq=False)
class LoadedGraph:
    """A graph as it was found: its inputs and outputs by name, its nodes in order, and the opset for a copy of them."""

    inputs: Mapping[str, ir.Value]
    outputs: Mapping[str, ir.Value]
    nodes: tuple[ir.Node, ...]
    opset: int


@dataclass
class ForeignWeights:
    """What has been found so far.

    Attributes:
        arrays: float32 by name; views of the files that they came from, as far as possible.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    _names: dict[tuple[tuple[int, ...], bytes], str] = field(default_factory=dict)

    def add(self, graph: LoadedGraph, table: str = "embedding.weight") -> ForeignGraph:
        """Takes a graph's weights.

        Args:
            graph: as loaded.
            table: the name for the table of its input ids, if nothing equal to it is known yet.

        Raises:
            UnsupportedError: the graph is quantised, or not in float32.
            SourceError: an array is damaged.
        """
        _check(graph.nodes)
        lookups = {node: table_of for node in graph.nodes if (table_of := _looked_up(node, graph)) is not None}
        named = {node: self._keep(_read(value), table) for node, value in lookups.items()}
        matrices = {node: found for node in graph.nodes if (found := _multiplied(node)) is not None}
        head = find_head(matrices, graph.outputs["logits"]) if "logits" in graph.outputs else None
        products = {node: self._product(*found, is_head=node is head) for node, found in matrices.items()}
        stored = {
            value: self._keep(_read(value), _plain_name(value)) for value in _plain_inputs(graph.nodes, products, named)
        }
        return ForeignGraph(graph.inputs, graph.outputs, graph.nodes, stored, products, named, graph.opset)

    def _product(self, value: ir.Value, transposed: bool, *, is_head: bool) -> StoredMatrix:
        array = _read(value)
        matrix = array.T if transposed else array  # [in, out]
        known = self._names.get(_key(matrix.T))
        if is_head or known == "embedding.weight":
            name, is_table = self._keep(matrix.T, "output.weight"), True
        else:
            name, is_table = self._keep(matrix, f"{_plain_name(value).removesuffix('.weight')}.weight"), False
        return StoredMatrix(name, matrix.shape[0], matrix.shape[1], is_table)

    def _keep(self, array: np.ndarray, name: str) -> str:
        """The name of an array that is equal, else this one from now on."""
        key = _key(array)
        if key not in self._names:
            number, stem = 2, name.removesuffix(".weight")
            while name in self.arrays:
                name, number = f"{stem}_{number}.weight", number + 1
            self.arrays[name], self._names[key] = array, name
        return self._names[key]


def _key(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).data).digest()


def _check(nodes: Iterable[ir.Node]) -> None:
    for node in nodes:
        if _QUANTIZED.fullmatch(node.op_type):
            raise UnsupportedError(
                f"the ONNX graph is quantised already (it has a {node.op_type}); import the fp32 graph and quantise it "
                "with edgekit"
            )
        if any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attribute in node.attributes.values()
        ):
            raise UnsupportedError(
                f"the ONNX graph has a {node.op_type} with a graph inside, which edgekit doesn't read"
            )


def _initializer(value: ir.Value | None) -> ir.Value | None:
    """The value, if it is an array of the graph."""
    return value if value is not None and value.producer() is None and value.const_value is not None else None


def _multiplied(node: ir.Node) -> tuple[ir.Value, bool] | None:
    """The array whose matrix a node multiplies with, and whether it is stored ``[out, in]``."""
    if node.op_type != "MatMul" and not is_plain_gemm(node):
        return None
    value, transposed = node.inputs[1], node.attributes.get_int("transB", 0) == 1
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "Transpose":
            transposed = not transposed
        elif producer.op_type != "Identity":
            return None
        value = producer.inputs[0]
    found = _initializer(value)
    if found is None or _rank(found) != 2 or not _is_stored(found):
        return None
    return found, transposed


def _looked_up(node: ir.Node, graph: LoadedGraph) -> ir.Value | None:
    """The table that a node looks the input ids up in."""
    if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 0:
        return None
    table, ids = _initializer(node.inputs[0]), node.inputs[1]
    if table is None or _rank(table) != 2 or not _is_stored(table):
        return None
    while ids is not None and (producer := ids.producer()) is not None and producer.op_type in _RESHAPES:
        ids = producer.inputs[0]
    return table if ids is not None and ids is graph.inputs.get("input_ids") else None


def _plain_inputs(
    nodes: Iterable[ir.Node], products: Mapping[ir.Node, StoredMatrix], lookups: Mapping[ir.Node, str]
) -> Iterable[ir.Value]:
    """Stored arrays that are used as they are."""
    found: dict[ir.Value, None] = {}
    for node in nodes:
        taken: tuple[ir.Value | None, ...] = tuple(node.inputs)
        if node in products:
            taken = (*taken[:1], *taken[2:])
        elif node in lookups:
            taken = taken[1:]
        found |= {value: None for value in map(_initializer, taken) if value is not None and _is_stored(value)}
    return found


def _is_stored(value: ir.Value) -> bool:
    """Whether an array goes into the weights file: floats, and not only a few."""
    tensor = value.const_value
    assert tensor is not None
    if tensor.size < SMALLEST_STORED or not tensor.dtype.is_floating_point():
        return False
    if tensor.dtype != ir.DataType.FLOAT:
        raise UnsupportedError(
            f"the ONNX graph's {value.name!r:.80} is {tensor.dtype}, expected FLOAT; export the model in fp32"
        )
    return True


def _rank(value: ir.Value) -> int:
    assert value.const_value is not None
    return len(value.const_value.shape)


def _read(value: ir.Value) -> np.ndarray:
    assert value.const_value is not None
    try:
        return value.const_value.numpy()
    except Exception as error:  # whatever a damaged tensor makes onnx_ir, onnx or numpy raise
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"the ONNX graph's {value.name!r:.80} can't be read ({reason}); export it again") from None


def _plain_name(value: ir.Value) -> str:
    """A name for the weights file. A product adds what is called its bias by itself, so nothing is called so."""
    name = re.sub(r"_merged_\d+$", "", str(value.name)).rpartition("::")[2]
    return re.sub(r"\.bias$", "_bias", _UNUSUAL.sub("_", name)[:200]) or "array"
