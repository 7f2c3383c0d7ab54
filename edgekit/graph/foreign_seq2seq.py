"""optimum's graphs of an encoder-decoder behind the ports of `edgekit.graph.encoder`, `decoder` and `beam_decoder`.

optimum writes an encoder, a decoder for the first token, which makes the keys and values of the source too, and one for
every later token (https://huggingface.co/docs/optimum-onnx, "text2text-generation-with-past"). Here the encoder makes
the source's keys and values, and the later tokens' decoder, over no past at first, makes every token: the first
token's decoder gives up what the encoder needs of it, and is gone.

In: a `ForeignGraph` of each. Out: the models of ``encoder.onnx``, ``decoder.onnx`` and ``beam_decoder.onnx``. The rows
of a batch are at one position, as in every search of `edgekit.runtime`. Refused: inputs that are not optimum's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.bundle.manifest import StateTensor
from edgekit.errors import UnsupportedError
from edgekit.graph.choice import emit_top
from edgekit.graph.emitter import Emitter, Shape
from edgekit.graph.foreign import ForeignGraph
from edgekit.graph.foreign_causal_lm import Cache, Outputs, index_range
from edgekit.graph.transplant import transplant
from edgekit.graph.weights_file import StoredTensor, Weights

PAST = re.compile(r"past_key_values\.(\d+)\.(decoder|encoder)\.(key|value)")
PLAIN_INPUTS = ("input_ids", "encoder_attention_mask")
HIDDEN_STATES = "encoder_hidden_states"


@dataclass(frozen=True)
class ForeignSeq2Seq:
    """The graphs of one model, and its sizes.

    Attributes:
        encoder: optimum's.
        first_decoder: that of the first token.
        decoder: that of every later token.
        caches: of the target, in order.
        crosses: keys and values of the source, in order; their buffers' third axis is the source's length.
        hidden_width: of the encoder's output.
        vocab_size: the logits' width.
        max_length: most target tokens, the start token included.
    """

    encoder: ForeignGraph
    first_decoder: ForeignGraph
    decoder: ForeignGraph
    caches: tuple[Cache, ...]
    crosses: tuple[Cache, ...]
    hidden_width: int
    vocab_size: int
    max_length: int

    @property
    def constants(self) -> dict[str, tuple[str, Shape]]:
        """What the encoder gives the decoder: name, and the decoder's input and its shape."""
        found: dict[str, tuple[str, Shape]] = {
            f"cross_{cross.name}": (cross.past, ["batch", cross.heads, "source_length", cross.width])
            for cross in self.crosses
        }
        if HIDDEN_STATES in self.decoder.inputs:
            found["hidden_states"] = (HIDDEN_STATES, ["batch", "source_length", self.hidden_width])
        return found

    @property
    def state(self) -> tuple[StateTensor, ...]:
        """The manifest's ``state``."""
        constants = (
            StateTensor(name, name, None, "float32", tuple(shape), "constant", 0, None, None, "encoder")
            for name, (_, shape) in self.constants.items()
        )
        return (*constants, *(cache.state(self.max_length) for cache in self.caches))


def read_caches(decoder: ForeignGraph) -> tuple[tuple[Cache, ...], tuple[Cache, ...]]:
    """Keys and values that a decoder carries: of the target, and of the source.

    Raises:
        UnsupportedError: there are none, or inputs that are nothing of the kind.
    """
    pasts = {name: match for name in decoder.inputs if (match := PAST.fullmatch(name))}
    unknown = [name for name in decoder.inputs if name not in (*pasts, *PLAIN_INPUTS, HIDDEN_STATES)]
    if unknown or not pasts or "input_ids" not in decoder.inputs:
        raise UnsupportedError(
            "expected ONNX graphs that optimum exported for text2text-generation-with-past, whose decoder has the "
            "inputs input_ids, encoder_attention_mask and past_key_values.*; found "
            f"{', '.join(list(decoder.inputs)[:6])}"
        )
    found: dict[str, list[Cache]] = {"decoder": [], "encoder": []}
    for name, match in pasts.items():
        layer, side, what = match.groups()
        found[side].append(Cache.of(decoder.inputs[name], f"{what}_{layer}", f"present.{layer}.{side}.{what}"))
    return tuple(found["decoder"]), tuple(found["encoder"])


def build_encoder(model: ForeignSeq2Seq, weights: Weights, stored: Mapping[str, StoredTensor]) -> ir.Model:
    """Builds the encoder, as `edgekit.graph.encoder.build_encoder` describes it."""
    opset = max(model.encoder.opset, model.first_decoder.opset)
    emit = Emitter(weights, stored, precision="fp32", epsilon=0.0, opset=opset)
    input_ids = emit.input("input_ids", "int64", ["batch", "source_length"])
    mask = _as_int64(emit, emit.input("attention_mask", "int32", ["batch", "source_length"]))
    (hidden,) = transplant(
        emit, model.encoder, {"input_ids": input_ids, "attention_mask": mask}, ["last_hidden_state"]
    ).values()
    # The keys and values of the source come from the hidden states alone; but sizes may be taken from a token.
    token = emit.op("ConstantOfShape", _pair(emit, emit.op("Shape", input_ids, end=1), 1), value=ir.tensor([0]))
    inputs = {HIDDEN_STATES: hidden, "encoder_attention_mask": mask, "input_ids": token}
    names = [cross.present for cross in model.crosses]
    found = dict(zip(names, transplant(emit, model.first_decoder, inputs, names).values(), strict=True))
    values = {cross.past: found[cross.present] for cross in model.crosses} | {HIDDEN_STATES: hidden}
    # An output has one name, whatever else it is for.
    outputs: Outputs = {
        name: (emit.op("Identity", values[past]), "float32", shape) for name, (past, shape) in model.constants.items()
    }
    return emit.build("encoder", outputs)


def build_decoder(
    model: ForeignSeq2Seq, weights: Weights, stored: Mapping[str, StoredTensor], *, output_logits: bool = False
) -> ir.Model:
    """Builds one step of greedy search, as `edgekit.graph.decoder.build_decoder` describes it."""
    emit = Emitter(weights, stored, precision="fp32", epsilon=0.0, opset=model.decoder.opset)
    input_ids = emit.input("input_ids", "int64", ["batch"])
    position = emit.op("ReduceMax", emit.input("positions", "int64", ["batch"]), keepdims=0)
    mask = _as_int64(emit, emit.input("attention_mask", "int32", ["batch", "source_length"]))
    inputs = {"input_ids": emit.op("Unsqueeze", input_ids, emit.ints(1)), "encoder_attention_mask": mask}
    inputs |= {past: emit.input(name, "float32", shape) for name, (past, shape) in model.constants.items()}
    buffers = {cache.name: emit.input(f"past_{cache.name}", "float32", cache.shape) for cache in model.caches}
    end = emit.op("Reshape", position, emit.ints(1))
    inputs |= {
        cache.past: emit.op("Slice", buffers[cache.name], emit.ints(0), end, emit.ints(2)) for cache in model.caches
    }
    logits, presents = _step(emit, model, inputs, buffers, position)
    outputs: Outputs = {"next_ids": (emit.op("ArgMax", logits, axis=1, keepdims=0), "int64", ["batch"])}
    if output_logits:
        outputs["logits"] = (emit.op("Identity", logits), "float32", ["batch", model.vocab_size])
    return emit.build("decoder", outputs | presents)


def build_beam_decoder(model: ForeignSeq2Seq, weights: Weights, stored: Mapping[str, StoredTensor]) -> ir.Model:
    """Builds one step of beam search, as `edgekit.graph.beam_decoder.build_beam_decoder` describes it."""
    emit = Emitter(weights, stored, precision="fp32", epsilon=0.0, opset=model.decoder.opset)
    input_ids = emit.input("input_ids", "int64", ["batch", "beams"])
    scores = emit.input("scores", "float32", ["batch", "beams"])
    position = emit.op("Squeeze", emit.input("position", "int64", [1]))
    candidates = emit.input("candidates", "int64", [1])
    mask = _as_int64(emit, emit.input("attention_mask", "int32", ["batch", "source_length"]))
    ancestors = emit.input("ancestors", "int32", ["batch", "beams", "capacity"])
    batch, beams = (emit.op("Shape", input_ids, start=axis, end=axis + 1) for axis in (0, 1))
    rows = index_range(emit, emit.op("Squeeze", emit.op("Mul", batch, beams)))
    sentences = emit.op("Div", rows, beams)

    def of_each_beam(value: ir.Value) -> ir.Value:
        return emit.op("Gather", value, sentences, axis=0)

    inputs = {
        "input_ids": emit.op("Reshape", input_ids, emit.ints(-1, 1)),
        "encoder_attention_mask": of_each_beam(mask),
    }
    inputs |= {
        past: of_each_beam(emit.input(name, "float32", shape)) for name, (past, shape) in model.constants.items()
    }
    shapes = {cache.name: ["rows", *cache.shape[1:]] for cache in model.caches}
    buffers = {cache.name: emit.input(f"past_{cache.name}", "float32", shapes[cache.name]) for cache in model.caches}
    lineage = _Lineage(emit, ancestors, position, emit.op("Mul", sentences, beams))
    inputs |= {cache.past: lineage.past(buffers[cache.name], cache) for cache in model.caches}
    logits, presents = _step(emit, model, inputs, buffers, position)
    per_beam = emit.op("Concat", emit.op("Shape", input_ids), emit.ints(-1), axis=0)
    probabilities = emit.op("Reshape", emit.op("LogSoftmax", logits, axis=-1), per_beam)
    outputs = _best(emit, probabilities, scores, candidates, model.vocab_size)
    return emit.build("beam_decoder", outputs | {n: (v, t, ["rows", *s[1:]]) for n, (v, t, s) in presents.items()})


class _Lineage:
    """Where the earlier tokens of each beam lie: in the rows of the beams that it goes back to."""

    def __init__(self, emit: Emitter, ancestors: ir.Value, position: ir.Value, first_rows: ir.Value) -> None:
        """Takes int32 ``[batch, beams, capacity]``, int64 ``[]`` and ``[rows]``, each row's sentence's first row."""
        self._emit, self._places = emit, dict[int, ir.Value]()
        end = emit.op("Reshape", position, emit.ints(1))
        beams = _as_int64(emit, emit.op("Slice", ancestors, emit.ints(0), end, emit.ints(2)))
        # Not -1: at the first position there are no tokens.
        by_row = emit.op("Reshape", beams, emit.op("Concat", emit.op("Shape", first_rows), end, axis=0), allowzero=1)
        self._rows = emit.op("Add", by_row, emit.op("Unsqueeze", first_rows, emit.ints(1)))  # [rows, position]
        self._tokens = index_range(emit, position)

    def past(self, buffer: ir.Value, cache: Cache) -> ir.Value:
        """``[rows, heads, position, width]`` of a buffer ``[rows, heads, capacity, width]``."""
        emit = self._emit
        if cache.heads not in self._places:
            head = emit.constant(np.arange(cache.heads).reshape(1, -1, 1))
            rows = emit.op("Unsqueeze", self._rows, emit.ints(1))
            of_head = emit.op("Add", emit.op("Mul", rows, emit.ints(cache.heads)), head)
            capacity = emit.op("Shape", buffer, start=2, end=3)
            self._places[cache.heads] = emit.op("Add", emit.op("Mul", of_head, capacity), self._tokens)
        entries = emit.op("Reshape", buffer, emit.ints(-1, cache.width))
        return emit.op("Gather", entries, self._places[cache.heads], axis=0)


def _step(
    emit: Emitter,
    model: ForeignSeq2Seq,
    inputs: Mapping[str, ir.Value],
    buffers: Mapping[str, ir.Value],
    position: ir.Value,
) -> tuple[ir.Value, Outputs]:
    """Logits ``[rows, vocab_size]``, and the buffers with what the step adds at ``position``."""
    names = ["logits", *(cache.present for cache in model.caches)]
    found = transplant(emit, model.decoder, inputs, names)
    start = emit.op("Reshape", position, emit.ints(1))
    presents: Outputs = {}
    for cache in model.caches:
        entry = emit.op("Slice", found[cache.present], start, emit.ints(np.iinfo(np.int64).max), emit.ints(2))
        # Every place of an entry, all at the one position: [rows, heads, 1, width].
        places = emit.op("Expand", position, emit.op("Shape", entry))
        written = emit.op("ScatterElements", buffers[cache.name], places, entry, axis=2)
        presents[f"present_{cache.name}"] = (written, "float32", cache.shape)
    return emit.op("Reshape", found["logits"], emit.ints(-1, model.vocab_size)), presents


def _best(
    emit: Emitter, log_probabilities: ir.Value, scores: ir.Value, candidates: ir.Value, vocab_size: int
) -> Outputs:
    """The best continuations of each sentence: first of each beam, then of them all."""
    values, indices = emit_top(emit, log_probabilities, candidates, vocab_size)
    values = emit.op("Add", values, emit.op("Unsqueeze", scores, emit.ints(-1)))
    values, indices = (emit.op("Reshape", x, emit.ints(0, -1)) for x in (values, indices))
    best, places = emit.ops("TopK", values, candidates, outputs=2, axis=-1)
    shape: Shape = ["batch", "candidates"]
    return {
        "candidate_scores": (best, "float32", shape),
        "candidate_ids": (emit.op("GatherElements", indices, places, axis=1), "int64", shape),
        "candidate_beams": (emit.op("Div", places, candidates), "int64", shape),
    }


def _as_int64(emit: Emitter, value: ir.Value) -> ir.Value:
    return emit.op("Cast", value, to=ir.DataType.INT64)


def _pair(emit: Emitter, first: ir.Value, second: int) -> ir.Value:
    return emit.op("Concat", first, emit.ints(second), axis=0)
