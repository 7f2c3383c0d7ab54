"""Copies the nodes of a foreign graph into one of edgekit's, in any precision.

In: a `ForeignGraph` and the values that take its inputs' places. Out: the values of its outputs. Products with stored
matrices, and rows of tables, are emitted as `edgekit.graph.emitter.Emitter` does it for edgekit's own models, so they
follow a weight into int8 or blocks; every other node is copied as it is. Refused: a node that needs an input which
nobody gives, or what has been quantised in blocks in a place that knows floats only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from edgekit.errors import SourceError
from edgekit.graph.emitter import Emitter
from edgekit.graph.foreign import ForeignGraph, read_bundle_graph
from edgekit.graph.weights_file import StoredTensor, Weights


def transplant(
    emit: Emitter,
    foreign: ForeignGraph,
    inputs: Mapping[str, ir.Value],
    outputs: Iterable[str],
    *,
    head: ir.Node | None = None,
    rows: ir.Value | None = None,
) -> dict[str, ir.Value]:
    """Emits what the outputs need.

    Args:
        emit: the graph that takes the nodes.
        foreign: where they come from.
        inputs: what stands for each of its inputs, by name; those that the outputs don't need may be missing.
        outputs: names of its outputs.
        head: a product of which only some rows are wanted (`edgekit.graph.foreign.find_head`).
        rows: int64 ``[outputs]``, those rows; what the head makes then is ``[outputs, width]``.

    Raises:
        SourceError: an output or an input is missing.
    """
    wanted: dict[str, ir.Value] = {}
    for name in outputs:
        value = foreign.outputs.get(name)
        if value is None:
            raise SourceError(f"expected an output {name!r:.80} of the ONNX graph, found none")
        wanted[name] = value
    copy = _Copy(emit, foreign, inputs)
    for node in foreign.needed(wanted.values()):
        copy.node(node, rows if node is head else None)
    return {name: copy.given(value) for name, value in wanted.items()}


def rebuild(model: ir.Model, weights: Weights, stored: Mapping[str, StoredTensor], precision: str) -> ir.Model:
    """The same graph, of an imported fp32 bundle, over other weights: those that are quantised now count as such.

    Args:
        model: the fp32 graph.
        weights: by name, quantised.
        stored: where each array lies in the new weights file.
        precision: as `Emitter`'s.
    """
    graph = model.graph
    emit = Emitter(weights, stored, precision=precision, epsilon=0.0, opset=graph.opset_imports[""])
    inputs = {str(value.name): emit.input(str(value.name), *_type(value)) for value in graph.inputs}
    names = [str(value.name) for value in graph.outputs]
    found = transplant(emit, read_bundle_graph(graph), inputs, names)
    return emit.build(
        str(graph.name), {name: (found[name], *_type(value)) for name, value in zip(names, graph.outputs, strict=True)}
    )


def _type(value: ir.Value) -> tuple[str, list[int | str]]:
    """What `Emitter` calls a port's dtype and shape."""
    assert value.dtype is not None
    assert value.shape is not None
    return str(value.dtype.numpy()), [size if isinstance(size, int) else str(size.value) for size in value.shape]


class _Copy:
    """One graph on its way into another."""

    def __init__(self, emit: Emitter, foreign: ForeignGraph, inputs: Mapping[str, ir.Value]) -> None:
        self._emit, self._foreign = emit, foreign
        self._values = {foreign.inputs[name]: inputs[name] for name in foreign.inputs if name in inputs}
        # By the value they are made of: products of one input share its quantised rows.
        self._flat: dict[ir.Value, ir.Value] = {}

    def node(self, node: ir.Node, rows: ir.Value | None) -> None:
        if node in self._foreign.products:
            self._values[node.outputs[0]] = self._product(node, rows)
        elif node in self._foreign.lookups:
            self._values[node.outputs[0]] = self._lookup(node)
        else:
            inputs = [None if value is None else self.given(value) for value in node.inputs]
            copied = self._emit.ops(
                node.op_type, *inputs, outputs=len(node.outputs), domain=node.domain, **node.attributes
            )
            self._values.update(zip(node.outputs, copied, strict=True))

    def given(self, value: ir.Value) -> ir.Value:
        """What stands for a value of the foreign graph."""
        if value not in self._values:
            if value in self._foreign.stored:
                self._values[value] = self._emit.float_weight(self._foreign.stored[value])
            elif value.const_value is not None:
                self._values[value] = self._emit.constant(value.const_value.numpy())
            else:
                raise SourceError(f"the ONNX graph has an input {value.name!r:.80} that edgekit doesn't know")
        return self._values[value]

    def _product(self, node: ir.Node, rows: ir.Value | None) -> ir.Value:
        emit, matrix = self._emit, self._foreign.products[node]
        assert node.inputs[0] is not None
        x = self.given(node.inputs[0])
        flat = self._flatten(x, None if node.op_type == "Gemm" else matrix.inputs)
        if rows is not None:
            (flat,) = emit.choose_rows(rows, flat)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        product = emit.linear(
            flat,
            matrix.layer,
            weight=matrix.name,
            transposed=matrix.transposed,
            bias=None if bias is None else self.given(bias),
        )
        if node.op_type == "Gemm" or rows is not None:
            return product
        return self._unflatten(product, x, matrix.outputs)

    def _lookup(self, node: ir.Node) -> ir.Value:
        emit, name = self._emit, self._foreign.lookups[node]
        assert node.inputs[1] is not None
        ids = self.given(node.inputs[1])
        found = emit.rows(name, emit.op("Reshape", ids, emit.ints(-1)))
        return emit.op("Reshape", found, emit.op("Concat", emit.op("Shape", ids), emit.ints(-1), axis=0))

    def _flatten(self, x: ir.Value, width: int | None) -> ir.Value:
        """``[rows, width]`` of any number of axes before the last; ``x`` itself without a width."""
        if x not in self._flat:
            self._emit.new_rows()
            self._flat[x] = x if width is None else self._emit.op("Reshape", x, self._emit.ints(-1, width))
        return self._flat[x]

    def _unflatten(self, rows: ir.Value, like: ir.Value, width: int) -> ir.Value:
        """``rows`` with the axes of ``like`` before the last."""
        emit = self._emit
        shape = emit.op("Concat", emit.op("Shape", like, end=-1), emit.ints(width), axis=0)
        return emit.op("Reshape", rows, shape)
