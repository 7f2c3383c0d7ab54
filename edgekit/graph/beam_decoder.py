"""The decoder graph of beam search: one step of every beam, and the best few continuations of each sentence.

The beams of a sentence share its cross-attention keys and values: they are queries side by side. A cache is never
reordered: ``ancestors`` says in which beam's place each earlier token of a beam lies. Scores are summed and the best
continuations chosen inside the graph, so nothing of the vocabulary's size leaves it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.blocks import attention_scale, block_input, block_output, embedded, feed_forward, finished
from edgekit.graph.choice import emit_top
from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.decoder import ssru
from edgekit.graph.emitter import MICROSOFT, Emitter, Shape
from edgekit.graph.encoder import Outputs
from edgekit.graph.weights_file import StoredTensor, Weights

# Output biases up to here are those of ids that generation never produces.
SUPPRESSED = -1e8
# Their biases as the checkpoint has them, ascending by id: such an id's share of the probability counts all the same.
SUPPRESSED_BIAS = "output.suppressed_bias"


def build_beam_decoder(
    config: Seq2SeqConfig, weights: Weights, stored: dict[str, StoredTensor], precision: str
) -> ir.Model:
    """Builds one step of beam search. Rows are the beams of all sentences, a sentence's beams side by side.

    Inputs: ``input_ids`` int64 and ``scores`` float32 ``[batch, beams]`` (each beam's last token, and the sum of its
    tokens' log-probabilities); ``position`` int64 ``[1]`` (tokens before this one); ``candidates`` int64 ``[1]`` (how
    many continuations to give a sentence, at most the vocabulary's size); ``attention_mask`` int32
    ``[batch, source_length]``; the constants of `build_decoder`, one a sentence; and the cell's ``past_*``, one a row,
    with ``ancestors`` int32 ``[batch, beams, capacity]`` where they are keys and values.

    Outputs: ``candidate_scores`` float32, ``candidate_ids`` and ``candidate_beams`` int64 ``[batch, candidates]``: the
    best continuations of a sentence, best first, each with its summed score, its token and the beam that it continues;
    and a ``present_*`` for each ``past_*``, in the rows' old order (keys and values may be bound to the same memory).
    """
    emit = Emitter(weights, stored, precision=precision, epsilon=config.layer_norm_epsilon)
    input_ids = emit.input("input_ids", "int64", ["batch", "beams"])
    scores = emit.input("scores", "float32", ["batch", "beams"])
    position = emit.input("position", "int64", [1])
    candidates = emit.input("candidates", "int64", [1])
    mask = emit.input("attention_mask", "int32", ["batch", "source_length"])
    batch_beams = emit.op("Shape", input_ids)
    x = emit.embed(config.target_embedding, emit.op("Reshape", input_ids, emit.ints(-1)), config.embed_scale)
    if config.positions != "relative":
        x = emit.op("Add", x, emit.op("Gather", emit.weight(config.positions_weight("decoder")), position, axis=0))
    x = embedded(emit, config, x, "decoder")
    cache = _cache(emit, position, batch_beams) if config.decoder_cell == "self_attention" else ()
    bias = _distance_bias(emit, config, position) if config.positions == "relative" else None
    presents: Outputs = {}
    for layer in range(config.decoder_layers):
        attend = _self_attention(emit, config, x, layer, cache, bias) if cache else ssru(emit, config, x, layer, "rows")
        x, present = attend
        presents |= present
        x = _cross_attention(emit, config, x, mask, batch_beams, layer)
        x = feed_forward(emit, config, x, f"decoder.layers.{layer}")
    x = finished(emit, config, x, "decoder")
    log_probabilities = _log_probabilities(emit, config, x, batch_beams, weights)
    return emit.build("beam_decoder", _best(emit, config, log_probabilities, scores, candidates) | presents)


def _cache(emit: Emitter, position: ir.Value, batch_beams: ir.Value) -> tuple[ir.Value, ...]:
    """What the cache needs to know: tokens before this one, int32 ``[1]``; beams, int32 ``[1]``; ``ancestors``."""
    ancestors = emit.input("ancestors", "int32", ["batch", "beams", "capacity"])
    beams = emit.op("Slice", batch_beams, emit.ints(1), emit.ints(2), emit.ints(0))
    return emit.op("Cast", position, to=ir.DataType.INT32), emit.op("Cast", beams, to=ir.DataType.INT32), ancestors


def _distance_bias(emit: Emitter, config: Seq2SeqConfig, position: ir.Value) -> ir.Value:
    """What the distance to each token so far adds to attention's scores: ``float32 [1, heads, 1, position + 1]``."""
    length = config.max_position_embeddings
    first = emit.op("Sub", emit.ints(length - 1), position)
    bias = emit.op("Slice", emit.weight(config.positions_weight("decoder")), first, emit.ints(length), emit.ints(1))
    return emit.op("Unsqueeze", bias, emit.ints(0, 2))


def _self_attention(
    emit: Emitter,
    config: Seq2SeqConfig,
    x: ir.Value,
    layer: int,
    cache: tuple[ir.Value, ...],
    bias: ir.Value | None,
) -> tuple[ir.Value, Outputs]:
    """Attention over a beam's tokens so far; each beam's key and value go into its own row at this position."""
    block = f"decoder.layers.{layer}.self_attention"
    heads = config.decoder_attention_heads
    shape: Shape = ["rows", heads, "capacity", config.decoder_head_dim]
    past = [emit.input(f"past_{name}_{layer}", "float32", shape) for name in ("key", "value")]
    qkv = emit.op("Unsqueeze", emit.linear(block_input(emit, config, x, block), f"{block}.qkv"), emit.ints(1))
    query_key_value = emit.ops("Split", qkv, outputs=3, axis=2, num_outputs=3)
    attended, *present = emit.ops(
        "DecoderMaskedMultiHeadAttention",
        *(*query_key_value, None, bias, *past, *cache),
        outputs=3,
        domain=MICROSOFT,
        num_heads=heads,
        past_present_share_buffer=1,
        **attention_scale(config),
    )
    attended = emit.op("Squeeze", attended, emit.ints(1))
    x = block_output(emit, config, attended, f"{block}.output", x, block)
    return x, {f"present_{n}_{layer}": (v, "float32", shape) for n, v in zip(("key", "value"), present, strict=True)}


def _cross_attention(
    emit: Emitter, config: Seq2SeqConfig, x: ir.Value, mask: ir.Value, batch_beams: ir.Value, layer: int
) -> ir.Value:
    """Attention over the source, a sentence's beams as one query of their number's length."""
    block = f"decoder.layers.{layer}.cross_attention"
    heads = config.decoder_attention_heads
    shape: Shape = ["batch", heads, "source_length", config.decoder_head_dim]
    key, value = (emit.input(f"cross_{name}_{layer}", "float32", shape) for name in ("key", "value"))
    by_sentence = emit.op("Concat", batch_beams, emit.ints(config.decoder_width), axis=0)
    query = emit.op("Reshape", emit.linear(block_input(emit, config, x, block), f"{block}.query"), by_sentence)
    inputs, attributes = (query, key, value, None, mask), attention_scale(config)
    attended = emit.op("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=heads, **attributes)
    attended = emit.op("Reshape", attended, emit.ints(-1, config.decoder_width))
    return block_output(emit, config, attended, f"{block}.output", x, block)


def _log_probabilities(
    emit: Emitter, config: Seq2SeqConfig, x: ir.Value, batch_beams: ir.Value, weights: Weights
) -> ir.Value:
    """Of each id, or of each of the shortlist, after each beam: float32 ``[batch, beams, ids]``."""
    per_beam = emit.op("Concat", batch_beams, emit.ints(-1), axis=0)
    if config.has_shortlist:
        weight = emit.input("output_weight", "float32", [config.d_model, "shortlist_length"])
        bias = emit.input("output_bias", "float32", ["batch", "shortlist_length"])
        logits = emit.op("Reshape", emit.op("MatMul", x, weight), per_beam)
        return emit.op("LogSoftmax", emit.op("Add", logits, emit.op("Unsqueeze", bias, emit.ints(1))), axis=-1)
    if not emit.has("output.bias"):
        logits = emit.linear(x, "output", weight=config.output_weight, transposed=True)
        return emit.op("Reshape", emit.op("LogSoftmax", logits, axis=-1), per_beam)
    bias = greedy_bias = emit.weight("output.bias")
    suppressed = np.flatnonzero(np.asarray(weights["output.bias"]) <= SUPPRESSED)
    if suppressed.size and emit.has(SUPPRESSED_BIAS):
        bias = emit.op("ScatterElements", bias, emit.constant(suppressed), emit.weight(SUPPRESSED_BIAS), axis=0)
    logits = emit.linear(x, "output", weight=config.output_weight, transposed=True, bias=bias)
    log_probabilities = emit.op("LogSoftmax", logits, axis=-1)
    if suppressed.size:
        # Added to a logarithm of a probability, the bias of any other id must be nothing; folded at load but for Add.
        limit, nothing = (emit.constant(np.array(value, np.float32)) for value in (SUPPRESSED, 0))
        never = emit.op("Where", emit.op("LessOrEqual", greedy_bias, limit), greedy_bias, nothing)
        log_probabilities = emit.op("Add", log_probabilities, never)
    return emit.op("Reshape", log_probabilities, per_beam)


def _best(
    emit: Emitter, config: Seq2SeqConfig, log_probabilities: ir.Value, scores: ir.Value, candidates: ir.Value
) -> Outputs:
    """The best continuations of each sentence: first of each beam, then of them all."""
    size = None if config.has_shortlist else config.target_vocab_size
    values, indices = emit_top(emit, log_probabilities, candidates, size)
    values = emit.op("Add", values, emit.op("Unsqueeze", scores, emit.ints(-1)))
    # 0 keeps the batch's size.
    values, indices = (emit.op("Reshape", x, emit.ints(0, -1)) for x in (values, indices))
    best, places = emit.ops("TopK", values, candidates, outputs=2, axis=-1)
    ids = emit.op("GatherElements", indices, places, axis=1)
    if config.has_shortlist:
        ids = emit.op("Gather", emit.input("shortlist", "int64", ["shortlist_length"]), ids, axis=0)
    shape: Shape = ["batch", "candidates"]
    return {
        "candidate_scores": (best, "float32", shape),
        "candidate_ids": (ids, "int64", shape),
        "candidate_beams": (emit.op("Div", places, candidates), "int64", shape),
    }
