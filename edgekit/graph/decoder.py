"""The decoder graph: one step, for the first token and for every later one.

State goes in as ``past_*`` and comes out as ``present_*``: a key-value cache for a "self_attention" cell, one vector a
layer for "ssru". What the encoder made (``cross_*``, the shortlist's output rows) is fed unchanged each step.
Greedy search picks the next ids inside the graph, so no logits leave it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.errors import UnsupportedError
from edgekit.graph.blocks import attention_scale, block_input, block_output, embedded, feed_forward, finished
from edgekit.graph.choice import emit_largest
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.emitter import MICROSOFT, Emitter, Shape
from edgekit.graph.encoder import Outputs
from edgekit.graph.weights_file import StoredTensor, Weights

# GroupQueryAttention takes no other heads; those of opus-mt's models are 64 wide.
HEAD_DIM_MULTIPLE = 8


def build_decoder(
    config: Seq2SeqConfig,
    weights: Weights,
    stored: dict[str, StoredTensor],
    precision: str,
    *,
    output_logits: bool = False,
) -> ir.Model:
    """Builds one decoder step.

    Inputs: ``input_ids`` and ``positions`` int64 ``[batch]``; ``attention_mask`` int32 ``[batch, source_length]``; with
    a shortlist ``shortlist`` int64 ``[shortlist_length]``, ``output_weight`` and ``output_bias`` (see `build_encoder`);
    then, a layer, ``cross_key_{layer}``, ``cross_value_{layer}`` and the cell's ``past_*``: ``past_key_{layer}`` and
    ``past_value_{layer}`` float32 ``[batch, heads, capacity, head_dim]``, filled up to each row's position, or
    ``past_state_{layer}`` float32 ``[batch, d_model]``.

    Outputs: ``next_ids`` int64 ``[batch]`` and a ``present_*`` for each ``past_*``, of its shape (keys and values may
    be bound to the same memory as their past: then nothing is copied); with ``output_logits`` also ``logits`` float32
    ``[batch, vocabulary]`` (for comparison with a reference; greedy search is faster without).
    """
    emit = Emitter(weights, stored, precision=precision, epsilon=config.layer_norm_epsilon)
    input_ids = emit.input("input_ids", "int64", ["batch"])
    positions = emit.input("positions", "int64", ["batch"])
    mask = emit.input("attention_mask", "int32", ["batch", "source_length"])
    x = emit.embed(config.target_embedding, input_ids, config.embed_scale)
    if config.positions != "relative":
        x = emit.op("Add", x, emit.op("Gather", emit.weight(config.positions_weight("decoder")), positions, axis=0))
    x = embedded(emit, config, x, "decoder")
    lengths = _lengths(emit, positions) if config.decoder_cell == "self_attention" else ()
    bias = _distance_bias(emit, config, positions, lengths[1]) if config.positions == "relative" else None
    presents: Outputs = {}
    for layer in range(config.decoder_layers):
        attend = _self_attention(emit, config, x, layer, lengths, bias) if lengths else ssru(emit, config, x, layer)
        x, present = attend
        presents |= present
        x = _cross_attention(emit, config, x, mask, layer)
        x = feed_forward(emit, config, x, f"decoder.layers.{layer}")
    logits, next_ids = _output(emit, config, finished(emit, config, x, "decoder"))
    outputs: Outputs = {"next_ids": (next_ids, "int64", ["batch"])} | presents
    if output_logits:
        outputs["logits"] = (
            logits,
            "float32",
            ["batch", "shortlist_length" if config.has_shortlist else config.target_vocab_size],
        )
    return emit.build("decoder", outputs)


def _lengths(emit: Emitter, positions: ir.Value) -> tuple[ir.Value, ...]:
    """What the cache needs to know: tokens before this one, int32 ``[batch]``; most tokens with it, int32 ``[]``."""
    past_lengths = emit.op("Cast", positions, to=ir.DataType.INT32)
    longest = emit.op("ReduceMax", past_lengths, keepdims=0)
    return past_lengths, emit.op("Add", longest, emit.constant(np.array(1, np.int32)))


def _distance_bias(emit: Emitter, config: Seq2SeqConfig, positions: ir.Value, total: ir.Value) -> ir.Value:
    """What the distance to each token so far adds to attention's scores: ``float32 [batch, heads, 1, total]``.

    Rows of a batch may be at different positions: what stands behind a row's own is never looked at.
    """
    zero, one = emit.constant(np.array(0)), emit.constant(np.array(1))
    last = emit.constant(np.array(config.max_position_embeddings - 1))
    places = emit.op("Range", zero, emit.op("Cast", total, to=ir.DataType.INT64), one)
    first = emit.op("Unsqueeze", emit.op("Sub", last, positions), emit.ints(1))
    indices = emit.op("Min", emit.op("Add", first, places), last)
    bias = emit.op("Gather", emit.weight(config.positions_weight("decoder")), indices, axis=1)
    return emit.op("Unsqueeze", emit.op("Transpose", bias, perm=[1, 0, 2]), emit.ints(2))


def _self_attention(
    emit: Emitter,
    config: Seq2SeqConfig,
    x: ir.Value,
    layer: int,
    lengths: tuple[ir.Value, ...],
    bias: ir.Value | None,
) -> tuple[ir.Value, Outputs]:
    """Attention over this sentence's tokens so far; this one's key and value go into the cache at its position."""
    block = f"decoder.layers.{layer}.self_attention"
    heads, head_dim = config.decoder_attention_heads, _head_dim(config)
    shape: Shape = ["batch", heads, "capacity", head_dim]
    past = [emit.input(f"past_{name}_{layer}", "float32", shape) for name in ("key", "value")]
    qkv = emit.op("Unsqueeze", emit.linear(block_input(emit, config, x, block), f"{block}.qkv"), emit.ints(1))
    inputs = (qkv, None, None, *past, *lengths, *(() if bias is None else (None, None, None, bias)))
    # With as many key-value heads as heads this is plain attention; it is the operator that appends in place.
    attributes = {"num_heads": heads, "kv_num_heads": heads, **attention_scale(config)}
    attended, *present = emit.ops("GroupQueryAttention", *inputs, outputs=3, domain=MICROSOFT, **attributes)
    attended = emit.op("Squeeze", attended, emit.ints(1))
    x = block_output(emit, config, attended, f"{block}.output", x, block)
    return x, {f"present_{n}_{layer}": (v, "float32", shape) for n, v in zip(("key", "value"), present, strict=True)}


def _head_dim(config: Seq2SeqConfig) -> int:
    heads, head_dim = config.decoder_attention_heads, config.decoder_head_dim
    if head_dim % HEAD_DIM_MULTIPLE:
        raise UnsupportedError(
            f"unsupported {config.model_type} configuration: decoder_attention_heads={heads} of "
            f"d_model={config.d_model} are {head_dim} wide (expected a multiple of {HEAD_DIM_MULTIPLE})"
        )
    return head_dim


def ssru(
    emit: Emitter, config: Seq2SeqConfig, x: ir.Value, layer: int, rows: str = "batch"
) -> tuple[ir.Value, Outputs]:
    """Simpler simple recurrent unit (https://arxiv.org/abs/1910.12702, section 3.2.2, with Marian's ReLU output).

    ``c = g * c_past + (1 - g) * u`` with candidate ``u = x W`` and gate ``g = sigmoid(x W_f + b_f)``.

    Args:
        emit: the graph; gets the input ``past_state_{layer}``.
        config: the model's sizes.
        x: ``float32 [rows, d_model]``.
        layer: of the decoder, from 0.
        rows: name of the state's first axis.

    Returns:
        The block's output, of ``x``'s shape, and the graph's output ``present_state_{layer}``.
    """
    block = f"decoder.layers.{layer}.ssru"
    past = emit.input(f"past_state_{layer}", "float32", [rows, config.d_model])
    candidate, gate = emit.ops("Split", emit.linear(x, f"{block}.candidate_gate"), outputs=2, axis=1, num_outputs=2)
    kept = emit.op("Mul", emit.op("Sigmoid", gate), emit.op("Sub", past, candidate))
    state = emit.op("Add", candidate, kept)
    x = emit.add_norm(emit.op("Relu", state), x, f"{block}.norm")
    return x, {f"present_state_{layer}": (state, "float32", [rows, config.d_model])}


def _cross_attention(emit: Emitter, config: Seq2SeqConfig, x: ir.Value, mask: ir.Value, layer: int) -> ir.Value:
    block = f"decoder.layers.{layer}.cross_attention"
    heads = config.decoder_attention_heads
    shape: Shape = ["batch", heads, "source_length", config.decoder_head_dim]
    key, value = (emit.input(f"cross_{name}_{layer}", "float32", shape) for name in ("key", "value"))
    query = emit.op("Unsqueeze", emit.linear(block_input(emit, config, x, block), f"{block}.query"), emit.ints(1))
    inputs, attributes = (query, key, value, None, mask), attention_scale(config)
    attended = emit.op("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=heads, **attributes)
    attended = emit.op("Squeeze", attended, emit.ints(1))
    return block_output(emit, config, attended, f"{block}.output", x, block)


def _output(emit: Emitter, config: Seq2SeqConfig, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Logits ``float32 [batch, vocabulary]`` and the greedy choice ``int64 [batch]``."""
    if not config.has_shortlist:
        logits = emit.linear(x, "output", weight=config.output_weight, transposed=True)
        return logits, emit_largest(emit, logits, config.target_vocab_size)
    shortlist = emit.input("shortlist", "int64", ["shortlist_length"])
    weight = emit.input("output_weight", "float32", [config.d_model, "shortlist_length"])
    bias = emit.input("output_bias", "float32", ["batch", "shortlist_length"])
    # A matrix that changes with every batch can't be prepacked, and without prepacking int8 is slower than fp32.
    logits = emit.op("Gemm", x, weight, bias)
    return logits, emit.op("Gather", shortlist, emit.op("ArgMax", logits, axis=1, keepdims=0), axis=0)
