"""optimum's graph of a decoder-only model behind the ports of `edgekit.graph.causal_lm`.

optimum's graph takes ids, a mask over past and new tokens and perhaps positions, and gives its keys and values back one
entry longer (https://huggingface.co/docs/optimum-onnx, "text-generation-with-past"). Around it come nodes that fetch a
batch's past out of buffers, each row's last tokens side by side at the right, as transformers pads a batch of prompts,
and that write the new entries into the buffers in place. So every architecture that takes padding on the left gives a
row of a batch what the row alone gets, wherever it takes a token's position from.

In: a `ForeignGraph`. Out: the model of ``model.onnx`` and its state. Refused: other inputs, and state of another layout
than float ``[batch, heads, tokens, width]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.bundle.manifest import StateTensor
from edgekit.errors import UnsupportedError
from edgekit.graph.emitter import Emitter, Shape
from edgekit.graph.foreign import ForeignGraph, find_head
from edgekit.graph.transplant import transplant
from edgekit.graph.weights_file import StoredTensor, Weights

PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")
PLAIN_INPUTS = ("input_ids", "attention_mask", "position_ids")
Outputs = dict[str, tuple[ir.Value, str, Shape]]


@dataclass(frozen=True)
class Cache:
    """One of the keys and values of a layer.

    Attributes:
        name: ``key_0`` and so on.
        past: optimum's input.
        present: optimum's output.
        heads: size of the second axis.
        width: size of the last one.
    """

    name: str
    past: str
    present: str
    heads: int
    width: int

    @classmethod
    def of(cls, value: ir.Value, name: str, present: str) -> Cache:
        """Reads the sizes of an input.

        Raises:
            UnsupportedError: it is no float ``[batch, heads, tokens, width]``.
        """
        sizes = [] if value.shape is None else [s if isinstance(s, int) else None for s in value.shape]
        if value.dtype != ir.DataType.FLOAT or len(sizes) != 4 or sizes[1] is None or sizes[3] is None:
            raise UnsupportedError(
                f"the ONNX graph's input {value.name!r:.80} is {value.dtype} {value.shape}; expected keys or values "
                "float32 [batch, heads, tokens, width]"
            )
        return cls(name, str(value.name), present, sizes[1], sizes[3])

    @property
    def shape(self) -> Shape:
        """Of the buffer."""
        return ["batch", self.heads, "capacity", self.width]

    def state(self, capacity: int) -> StateTensor:
        """What the manifest says of it."""
        past, present = f"past_{self.name}", f"present_{self.name}"
        return StateTensor(self.name, past, present, "float32", tuple(self.shape), "appended", 0, 2, capacity, "empty")


def read_caches(graph: ForeignGraph) -> tuple[Cache, ...]:
    """The keys and values that a graph carries.

    Raises:
        UnsupportedError: there are none, or inputs that are nothing of the kind.
    """
    found = graph.inputs
    pasts = {name: match for name in found if (match := PAST.fullmatch(name))}
    unknown = [name for name in found if name not in pasts and name not in PLAIN_INPUTS]
    if unknown or not pasts or "input_ids" not in found:
        raise UnsupportedError(
            "expected an ONNX graph that optimum exported for text-generation-with-past, with the inputs input_ids, "
            f"attention_mask, position_ids and past_key_values.*; found {', '.join(list(found)[:6])}"
        )
    return tuple(
        Cache.of(found[name], f"{match[2]}_{match[1]}", f"present.{match[1]}.{match[2]}")
        for name, match in pasts.items()
    )


def build_foreign_causal_lm(
    body: ForeignGraph,
    weights: Weights,
    stored: Mapping[str, StoredTensor],
    *,
    vocab_size: int,
    context_length: int,
) -> ir.Model:
    """Builds the fp32 model; inputs and outputs are those of `edgekit.graph.causal_lm.build_causal_lm`.

    Args:
        body: optimum's graph.
        weights: by name.
        stored: where each array lies in the weights file.
        vocab_size: the logits' width.
        context_length: most tokens of prompt and text.
    """
    emit = Emitter(weights, stored, precision="fp32", epsilon=0.0, opset=body.opset)
    caches = read_caches(body)
    step = _Step.declare(emit)
    buffers = {cache.name: emit.input(f"past_{cache.name}", "float32", cache.shape) for cache in caches}
    inputs = step.plain_inputs(emit, context_length)
    inputs |= {cache.past: step.past(emit, buffers[cache.name], cache) for cache in caches}
    logits = body.outputs.get("logits")
    head, rows = None if logits is None else find_head(body.products, logits), step.rows(emit)
    found = transplant(emit, body, inputs, ["logits", *(cache.present for cache in caches)], head=head, rows=rows)
    scores = found["logits"]
    if head is None:
        scores = emit.op("Gather", emit.op("Reshape", scores, emit.ints(-1, vocab_size)), rows, axis=0)
    outputs: Outputs = {
        "next_ids": (emit.op("ArgMax", scores, axis=-1, keepdims=0), "int64", ["outputs"]),
        "logits": (emit.op("Identity", scores), "float32", ["outputs", vocab_size]),
    }
    presents: Outputs = {
        f"present_{cache.name}": (
            step.write(emit, buffers[cache.name], found[cache.present], cache),
            "float32",
            cache.shape,
        )
        for cache in caches
    }
    return emit.build("model", outputs | presents)


@dataclass(frozen=True, eq=False)
class _Step:
    """The graph's inputs, and where a batch's tokens are.

    Attributes:
        input_ids: int64 ``[batch, width]``: what was given, and the added queries.
        given: int64 ``[1]``, how many of the width were given.
        pasts: int64 ``[batch, 1]``, each row's tokens in the buffers.
        counts: int64 ``[batch, 1]``, each row's queries.
        longest: int64 ``[]``, the most tokens that a row has in the buffers.
        output_rows: int64 ``[outputs]``.
        places: by heads: where entries lie in a buffer, see `past`.
    """

    input_ids: ir.Value
    given: ir.Value
    pasts: ir.Value
    counts: ir.Value
    longest: ir.Value
    output_rows: ir.Value
    places: dict[int, ir.Value]

    @classmethod
    def declare(cls, emit: Emitter) -> _Step:
        input_ids = emit.input("input_ids", "int64", ["batch", "sequence_length"])
        past_lengths = emit.input("past_lengths", "int32", ["batch"])
        sequence_lengths = emit.input("sequence_lengths", "int32", ["batch"])
        added = emit.input("added_queries", "int64", [1])
        output_rows = emit.input("output_rows", "int64", ["outputs"])
        shape = emit.op("Shape", input_ids)
        batch, given = emit.ops("Split", shape, outputs=2, axis=0, num_outputs=2)
        zeros = emit.op("ConstantOfShape", emit.op("Concat", batch, added, axis=0), value=ir.tensor([0]))
        pasts, counts = (
            emit.op("Unsqueeze", emit.op("Cast", lengths, to=ir.DataType.INT64), emit.ints(1))
            for lengths in (past_lengths, sequence_lengths)
        )
        longest = emit.op("ReduceMax", pasts, keepdims=0)
        ids = emit.op("Concat", input_ids, zeros, axis=1)
        return cls(ids, given, pasts, emit.op("Add", counts, added), longest, output_rows, {})

    def plain_inputs(self, emit: Emitter, context_length: int) -> dict[str, ir.Value]:
        """``input_ids``; ``attention_mask`` ``[batch, longest + width]``; ``position_ids`` ``[batch, width]``."""
        columns = index_range(emit, self._width(emit))
        is_past = emit.op("GreaterOrEqual", self._from_right(emit), emit.ints(0))
        is_new = emit.op("Less", columns, self.counts)
        mask = emit.op("Cast", emit.op("Concat", is_past, is_new, axis=1), to=ir.DataType.INT64)
        # Padding may stand beyond the context's end.
        positions = emit.op("Min", emit.op("Add", columns, self.pasts), emit.ints(context_length - 1))
        return {"input_ids": self.input_ids, "attention_mask": mask, "position_ids": positions}

    def past(self, emit: Emitter, buffer: ir.Value, cache: Cache) -> ir.Value:
        """The past as optimum's graph takes it: ``[batch, heads, longest, width]``, each row's end at the right."""
        if cache.heads not in self.places:
            self.places[cache.heads] = self._places(emit, buffer, cache.heads)
        entries = emit.op("Reshape", buffer, emit.ints(-1, cache.width))
        return emit.op("Gather", entries, self.places[cache.heads], axis=0)

    def write(self, emit: Emitter, buffer: ir.Value, present: ir.Value, cache: Cache) -> ir.Value:
        """The buffer with the new entries of ``present`` ``[batch, heads, longest + width, width]`` in their places."""
        start = emit.op("Reshape", self.longest, emit.ints(1))
        entries = emit.op("Slice", present, start, emit.ints(np.iinfo(np.int64).max), emit.ints(2))
        at = emit.op("Add", index_range(emit, self._width(emit)), self.pasts)  # [batch, width]
        size = emit.op("Slice", emit.op("Shape", entries), emit.ints(0), emit.ints(3))
        batch = index_range(emit, emit.op("Squeeze", emit.op("Gather", size, emit.ints(0), axis=0)))
        places = [
            emit.op("Unsqueeze", batch, emit.ints(1, 2)),
            emit.constant(np.arange(cache.heads).reshape(1, -1, 1)),
            emit.op("Unsqueeze", at, emit.ints(1)),
        ]
        expanded = [emit.op("Unsqueeze", emit.op("Expand", place, size), emit.ints(3)) for place in places]
        return emit.op("ScatterND", buffer, emit.op("Concat", *expanded, axis=3), entries)

    def rows(self, emit: Emitter) -> ir.Value:
        """`output_rows` as indices into the flattened width, with what was added."""
        row, column = emit.op("Div", self.output_rows, self.given), emit.op("Mod", self.output_rows, self.given)
        return emit.op("Add", emit.op("Mul", row, self._width(emit)), column)

    def _width(self, emit: Emitter) -> ir.Value:
        return emit.op("Squeeze", emit.op("Shape", self.input_ids, start=1, end=2))

    def _from_right(self, emit: Emitter) -> ir.Value:
        """Of each row, the token that stands in each column of the past; below 0 where none does."""
        gaps = emit.op("Sub", self.longest, self.pasts)
        return emit.op("Sub", index_range(emit, self.longest), gaps)

    def _places(self, emit: Emitter, buffer: ir.Value, heads: int) -> ir.Value:
        """int64 ``[batch, heads, longest]``: which entry of a flattened buffer stands in each column.

        Where a row has none, what stands there is masked, and must be a number: a masked NaN would be one all the same.
        So it is the first entry of the row with the most.
        """
        tokens = emit.op("Unsqueeze", self._from_right(emit), emit.ints(1))
        capacity = emit.op("Shape", buffer, start=2, end=3)
        fullest = emit.op("ArgMax", self.pasts, axis=0, keepdims=0)  # [1]
        batch = index_range(emit, emit.op("Squeeze", emit.op("Shape", buffer, start=0, end=1)))
        head = emit.constant(np.arange(heads).reshape(1, -1, 1))
        first = emit.op("Add", emit.op("Mul", emit.op("Unsqueeze", batch, emit.ints(1, 2)), emit.ints(heads)), head)
        instead = emit.op("Add", emit.op("Mul", fullest, emit.ints(heads)), head)
        own = emit.op("Add", emit.op("Mul", first, capacity), tokens)
        is_own = emit.op("GreaterOrEqual", tokens, emit.ints(0))
        return emit.op("Where", is_own, own, emit.op("Mul", instead, capacity))


def index_range(emit: Emitter, end: ir.Value) -> ir.Value:
    """0 to ``end`` (int64 ``[]``), which it excludes."""
    zero, one = (emit.constant(np.array(number, np.int64)) for number in (0, 1))
    return emit.op("Range", zero, end, one)
