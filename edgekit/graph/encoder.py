"""The encoder graph: source ids to each decoder layer's cross-attention keys and values.

The decoder never needs the encoder's hidden states themselves, so the projections that depend only on them are made
here, once a sentence. With a shortlist, so are the output layer's rows that the batch may use.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.blocks import attention_scale, block_input, block_output, embedded, feed_forward, finished
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.emitter import MICROSOFT, Emitter, Shape
from edgekit.graph.weights_file import StoredTensor, Weights

Outputs = dict[str, tuple[ir.Value, str, Shape]]


def build_encoder(config: Seq2SeqConfig, weights: Weights, stored: dict[str, StoredTensor], precision: str) -> ir.Model:
    """Builds the encoder.

    Inputs: ``input_ids`` int64 ``[batch, source_length]``; ``attention_mask`` int32, the same shape, 1 for a token and
    0 for padding; with a shortlist also ``shortlist`` int64 ``[shortlist_length]`` (ascending target ids) and
    ``shortlist_bias`` float32 ``[batch, shortlist_length]`` (0 where a row may use the id, very negative elsewhere).

    Outputs: ``cross_key_{layer}`` and ``cross_value_{layer}`` float32 ``[batch, heads, source_length, head_dim]``; with
    a shortlist also ``output_weight`` float32 ``[d_model, shortlist_length]`` and ``output_bias`` float32
    ``[batch, shortlist_length]``.
    """
    emit = Emitter(weights, stored, precision=precision, epsilon=config.layer_norm_epsilon)
    input_ids = emit.input("input_ids", "int64", ["batch", "source_length"])
    mask = emit.input("attention_mask", "int32", ["batch", "source_length"])
    lengths = emit.op("Shape", input_ids)
    x = _embed(emit, config, input_ids, lengths)
    bias = _distance_bias(emit, config, lengths) if config.positions == "relative" else None
    for layer in range(config.encoder_layers):
        x = _layer(emit, config, x, (mask, bias), lengths, f"encoder.layers.{layer}")
    x = finished(emit, config, x, "encoder")
    outputs: Outputs = {}
    for layer in range(config.decoder_layers):
        outputs |= _cross_attention_state(emit, config, x, lengths, layer)
    if config.has_shortlist:
        outputs |= _shortlist_rows(emit, config)
    return emit.build("encoder", outputs)


def _embed(emit: Emitter, config: Seq2SeqConfig, input_ids: ir.Value, lengths: ir.Value) -> ir.Value:
    flat_ids = emit.op("Reshape", input_ids, emit.ints(-1))
    x = emit.embed("source_embedding.weight", flat_ids, config.embed_scale)
    if config.positions == "relative":
        return embedded(emit, config, x, "encoder")
    by_sentence = emit.op("Reshape", x, _shape(emit, lengths, config.d_model))
    source_length = emit.op("Slice", lengths, emit.ints(1), emit.ints(2), emit.ints(0))
    table = emit.weight(config.positions_weight("encoder"))
    positions = emit.op("Slice", table, emit.ints(0), source_length, emit.ints(0))
    x = emit.op("Reshape", emit.op("Add", by_sentence, positions), emit.ints(-1, config.d_model))
    return embedded(emit, config, x, "encoder")


def _distance_bias(emit: Emitter, config: Seq2SeqConfig, lengths: ir.Value) -> ir.Value:
    """What each pair of positions adds to attention's scores: ``float32 [1, heads, source_length, source_length]``."""
    zero, one = emit.constant(np.array(0)), emit.constant(np.array(1))
    places = emit.op("Range", zero, emit.op("Gather", lengths, one, axis=0), one)
    distances = emit.op("Sub", places, emit.op("Unsqueeze", places, emit.ints(1)))  # key minus query
    indices = emit.op("Add", distances, emit.constant(np.array(config.max_position_embeddings - 1)))
    table = emit.weight(config.positions_weight("encoder"))
    return emit.op("Unsqueeze", emit.op("Gather", table, indices, axis=1), emit.ints(0))


def _layer(
    emit: Emitter,
    config: Seq2SeqConfig,
    x: ir.Value,
    visible: tuple[ir.Value, ir.Value | None],
    lengths: ir.Value,
    layer: str,
) -> ir.Value:
    """One layer; ``visible`` are the mask of padding and the bias by distance, where there is one."""
    block = f"{layer}.self_attention"
    entered = block_input(emit, config, x, block)
    product, bias = emit.product(entered, f"{block}.qkv", f"{block}.qkv.weight")
    qkv = emit.op("Reshape", product, _shape(emit, lengths, 3 * config.encoder_width))
    query, key, value = emit.ops("Split", qkv, outputs=3, axis=2, num_outputs=3)
    heads = config.encoder_attention_heads
    inputs = (query, key, value, bias, *(value for value in visible if value is not None))
    attributes = attention_scale(config)
    attended = emit.op("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=heads, **attributes)
    attended = emit.op("Reshape", attended, emit.ints(-1, config.encoder_width))
    x = block_output(emit, config, attended, f"{block}.output", x, block)
    return feed_forward(emit, config, x, layer)


def _cross_attention_state(emit: Emitter, config: Seq2SeqConfig, x: ir.Value, lengths: ir.Value, layer: int) -> Outputs:
    heads = config.decoder_attention_heads
    head_dim = config.decoder_head_dim
    projected = emit.linear(x, f"decoder.layers.{layer}.cross_attention.key_value")
    halves = emit.ops("Split", projected, outputs=2, axis=1, num_outputs=2)
    by_position = _shape(emit, lengths, heads, head_dim)
    shape: Shape = ["batch", heads, "source_length", head_dim]
    return {
        f"cross_{name}_{layer}": (
            emit.op("Transpose", emit.op("Reshape", half, by_position), perm=[0, 2, 1, 3]),
            "float32",
            shape,
        )
        for name, half in zip(("key", "value"), halves, strict=True)
    }


def _shortlist_rows(emit: Emitter, config: Seq2SeqConfig) -> Outputs:
    shortlist = emit.input("shortlist", "int64", ["shortlist_length"])
    bias = emit.input("shortlist_bias", "float32", ["batch", "shortlist_length"])
    rows = emit.rows(config.output_weight, shortlist)
    if emit.has("output.bias"):
        bias = emit.op("Add", bias, emit.op("Gather", emit.weight("output.bias"), shortlist, axis=0))
    return {
        "output_weight": (emit.op("Transpose", rows, perm=[1, 0]), "float32", [config.d_model, "shortlist_length"]),
        "output_bias": (bias, "float32", ["batch", "shortlist_length"]),
    }


def _shape(emit: Emitter, lengths: ir.Value, *trailing: int) -> ir.Value:
    """``[batch, source_length, *trailing]`` as a tensor."""
    return emit.op("Concat", lengths, emit.ints(*trailing), axis=0)
