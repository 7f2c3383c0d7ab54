"""The graph of a decoder-only model: one for a prompt, for every later token, and for scoring a text.

Keys and values go in as ``past_*`` and come out as ``present_*``, which may be the same memory: then nothing is copied.
Everything after the last layer's attention is calculated for `output_rows` alone, so a prompt's other tokens pay for
neither its feed-forward block nor the output layer.

What onnxruntime 1.32's GroupQueryAttention does on a CPU, all of it tested (``test_group_query_attention.py``): rows of
a batch may have different numbers of new tokens, padded on the right, and of tokens in the cache, at once, because its
``query_seqlens`` says which are real (without it, only batch 1 may go on with several tokens). Entries of the cache
beyond a row's tokens are never read, whatever they hold. The cache may be longer than what is in it; where past and
present are different memory the past may be of any length from 0. Heads that it rotates are multiples of 16 wide.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.bundle.manifest import StateTensor
from edgekit.errors import SourceError
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.causal_lm_weights import ROTARY, check_weights
from edgekit.graph.describe import GraphFiles, describe_graph, describe_quantization
from edgekit.graph.emitter import MICROSOFT, Emitter, Shape
from edgekit.graph.rotary import rotary_tables
from edgekit.graph.weights_file import WEIGHTS_FILE, StoredTensor, Weights, save_weights

MODEL_FILE = "model.onnx"
Outputs = dict[str, tuple[ir.Value, str, Shape]]


def write_causal_lm(directory: Path, config: CausalLMConfig, weights: Weights, precision: str) -> GraphFiles:
    """Writes the graph and the weights of a model into ``directory``; the rotary tables are calculated here.

    Raises:
        SourceError: weights are missing, left over or of another shape.
        UnsupportedError: ``rope_scaling`` is of a kind that has no tables.
    """
    check_weights(config, weights, "checkpoint", SourceError)
    weights = {name: weight for name, weight in weights.items() if not name.startswith(ROTARY)} | rotary_tables(config)
    stored = save_weights(directory, weights)
    model = build_causal_lm(config, weights, stored, precision)
    ir.save(model, directory / MODEL_FILE)
    # safetensors writes files that only their owner may read.
    shutil.copymode(directory / MODEL_FILE, directory / WEIGHTS_FILE)
    graphs = {"model": describe_graph(model, MODEL_FILE)}
    return GraphFiles(graphs, cache_tensors(config), describe_quantization(weights, precision, [model]))


def cache_tensors(config: CausalLMConfig) -> tuple[StateTensor, ...]:
    """The model's state: keys and values of each layer, in order."""
    shape = ("batch", config.key_value_heads, "capacity", config.head_dim)
    length = config.context_length
    return tuple(
        StateTensor(name, f"past_{name}", f"present_{name}", "float32", shape, "appended", 0, 2, length, "empty")
        for layer in range(config.layers)
        for name in (f"key_{layer}", f"value_{layer}")
    )


def build_causal_lm(
    config: CausalLMConfig, weights: Weights, stored: dict[str, StoredTensor], precision: str
) -> ir.Model:
    """Builds the model.

    Inputs: ``input_ids`` int64 ``[batch, sequence_length]``, padded on the right with any id; ``past_lengths`` int32
    ``[batch]``, each row's tokens in the cache; ``sequence_lengths`` int32 ``[batch]``, each row's real tokens among
    ``input_ids``; ``added_queries`` int64 ``[1]``, how many more attention is asked for behind each row's padding, 0 or
    1, see below; ``output_rows`` int64 ``[outputs]``, the tokens whose successors are wanted, as indices into the
    flattened ``input_ids`` (padding has no meaningful successor); then, a layer, ``past_key_{layer}`` and
    ``past_value_{layer}`` float32 ``[batch, key_value_heads, capacity, head_dim]``, where ``capacity`` is at least a
    row's tokens in the cache, ``sequence_length`` and ``added_queries`` together, if ``present_*`` is the same memory.

    onnxruntime multiplies one query by another order of additions than several, and a rounding that differs may grow to
    a whole step where activations are int8. With an added query attention never has one alone: then a single token's
    logits are the same, bit for bit, as among several, for 7 % of a step at 160 tokens and 14 % at 480 (SmolLM2-135M).
    The entry behind the last token is written over, and has to be within the context.

    Outputs: ``next_ids`` int64 ``[outputs]``, the likeliest successors; ``logits`` float32 ``[outputs, vocab_size]``;
    ``present_key_{layer}``, ``present_value_{layer}``, of the past's shape.
    """
    emit = Emitter(weights, stored, precision=precision, epsilon=config.norm_epsilon)
    step = _Step.declare(emit, config)
    x = _embed(emit, config, step)
    normed = _norm(emit, config, x, "layers.0.attention.norm")
    presents: Outputs = {}
    pasts = [_declare_past(emit, config, layer) for layer in range(config.layers)]
    for layer, past in enumerate(pasts):
        block = f"layers.{layer}"
        attended, present = _attention(emit, config, step, past, normed, layer)
        presents |= present
        if layer == config.layers - 1:
            attended, x = emit.choose_rows(step.output_rows, attended, x)
        normed, x = _end_block(emit, config, attended, f"{block}.attention.output", x, f"{block}.feed_forward.norm")
        hidden = _hidden(emit, config, normed, f"{block}.feed_forward")
        following = f"layers.{layer + 1}.attention.norm" if layer < config.layers - 1 else "final_norm"
        normed, x = _end_block(emit, config, hidden, f"{block}.feed_forward.down", x, following)
    logits = emit.linear(normed, "output", weight=config.output_weight, transposed=True)
    next_ids = emit.op("ArgMax", logits, axis=1, keepdims=0)
    outputs: Outputs = {
        "next_ids": (next_ids, "int64", ["outputs"]),
        "logits": (logits, "float32", ["outputs", config.vocab_size]),
    }
    return emit.build("model", outputs | presents)


@dataclass(frozen=True)
class _Step:
    """The graph's inputs, and what all layers ask of them.

    Attributes:
        input_ids: int64 ``[batch, sequence_length]``.
        past_lengths: int32 ``[batch]``.
        output_rows: int64 ``[outputs]``.
        added_queries: int64 ``[1]``.
        shape: int64 ``[2]``, that of `input_ids`.
        tokens: int64 ``[rows, 2]``, row and index of each of `input_ids`.
        counts: int32 ``[batch]``, queries of each row.
        last: int32 ``[batch]``, the position of each row's last query.
        longest: int32 ``[]``, at least every row's tokens: padding and what is added included.
    """

    input_ids: ir.Value
    past_lengths: ir.Value
    output_rows: ir.Value
    added_queries: ir.Value
    shape: ir.Value
    tokens: ir.Value
    counts: ir.Value
    last: ir.Value
    longest: ir.Value

    @classmethod
    def declare(cls, emit: Emitter, config: CausalLMConfig) -> _Step:
        input_ids = emit.input("input_ids", "int64", ["batch", "sequence_length"])
        past_lengths = emit.input("past_lengths", "int32", ["batch"])
        sequence_lengths = emit.input("sequence_lengths", "int32", ["batch"])
        added_queries = emit.input("added_queries", "int64", [1])
        output_rows = emit.input("output_rows", "int64", ["outputs"])
        added = emit.op("Cast", added_queries, to=ir.DataType.INT32)
        shape = emit.op("Shape", input_ids)
        tokens = emit.op("Transpose", emit.op("NonZero", emit.op("Expand", emit.ints(1), shape)), perm=[1, 0])
        counts = emit.op("Add", sequence_lengths, added)
        last = emit.op("Sub", emit.op("Add", past_lengths, counts), emit.constant(np.array(1, np.int32)))
        width = emit.op("Gather", emit.op("Cast", shape, to=ir.DataType.INT32), emit.constant(np.array(1)), axis=0)
        longest = emit.op("Add", emit.op("ReduceMax", past_lengths, keepdims=0), width)
        longest = emit.op("Add", longest, emit.op("Squeeze", added))
        return cls(input_ids, past_lengths, output_rows, added_queries, shape, tokens, counts, last, longest)

    def queries(self, emit: Emitter, x: ir.Value, width: int) -> ir.Value:
        """``[rows, width]`` as ``[batch, sequence_length + added_queries, width]``: zeros are added."""
        batch = emit.op("Shape", self.input_ids, start=0, end=1)
        zeros = emit.op("ConstantOfShape", emit.op("Concat", batch, self.added_queries, emit.ints(width), axis=0))
        by_row = emit.op("Reshape", x, emit.op("Concat", self.shape, emit.ints(width), axis=0))
        return emit.op("Concat", by_row, zeros, axis=1)


def _embed(emit: Emitter, config: CausalLMConfig, step: _Step) -> ir.Value:
    x = emit.embed("embedding.weight", emit.op("Reshape", step.input_ids, emit.ints(-1)), config.embed_scale)
    if config.position == "rotary":
        return x
    zero, one = (emit.constant(np.array(number, np.int32)) for number in (0, 1))
    width = emit.op("Gather", emit.op("Cast", step.shape, to=ir.DataType.INT32), emit.constant(np.array(1)), axis=0)
    positions = emit.op(
        "Add", emit.op("Unsqueeze", step.past_lengths, emit.ints(1)), emit.op("Range", zero, width, one)
    )
    # Padding may stand beyond the context's end.
    last = emit.constant(np.array(config.context_length - 1, np.int32))
    flat = emit.op("Reshape", emit.op("Min", positions, last), emit.ints(-1))
    return emit.op("Add", x, emit.op("Gather", emit.weight("positions.weight"), flat, axis=0))


def _declare_past(emit: Emitter, config: CausalLMConfig, layer: int) -> list[ir.Value]:
    return [emit.input(f"past_{name}_{layer}", "float32", _cache_shape(config)) for name in ("key", "value")]


def _cache_shape(config: CausalLMConfig) -> Shape:
    return ["batch", config.key_value_heads, "capacity", config.head_dim]


def _attention(
    emit: Emitter, config: CausalLMConfig, step: _Step, past: list[ir.Value], x: ir.Value, layer: int
) -> tuple[ir.Value, Outputs]:
    """Attention over each row's tokens so far, before the output projection: ``[rows, query_width]``."""
    block = f"layers.{layer}.attention"
    attributes: dict[str, int | float] = {"num_heads": config.attention_heads, "kv_num_heads": config.key_value_heads}
    cos, sin = _rotary_tables(emit, config, layer)
    if cos is not None:
        attributes |= {"do_rotary": 1, "rotary_interleaved": int(config.rotary_interleaved)}
    if config.attention_scale is not None:
        attributes["scale"] = config.attention_scale
    if layer in config.local_layers and config.local_window is not None:
        attributes["local_window_size"] = config.local_window
    attended, *present = emit.ops(
        "GroupQueryAttention",
        *(*_queries_keys_values(emit, config, step, x, block), *past, step.last, step.longest, cos, sin),
        *(*[None] * 7, step.counts),
        outputs=3,
        domain=MICROSOFT,
        **attributes,
    )
    presents: Outputs = {
        f"present_{name}_{layer}": (value, "float32", _cache_shape(config))
        for name, value in zip(("key", "value"), present, strict=True)
    }
    return emit.op("GatherND", attended, step.tokens), presents


def _rotary_tables(emit: Emitter, config: CausalLMConfig, layer: int) -> tuple[ir.Value | None, ir.Value | None]:
    if config.position != "rotary":
        return None, None
    local = "local_" if layer in config.local_layers and config.local_rope_theta is not None else ""
    return emit.weight(f"rotary.{local}cos"), emit.weight(f"rotary.{local}sin")


def _queries_keys_values(
    emit: Emitter, config: CausalLMConfig, step: _Step, x: ir.Value, block: str
) -> tuple[ir.Value | None, ...]:
    """GroupQueryAttention's first three inputs: all in one where heads are not normalised."""
    query, key_value = config.query_width, config.key_value_width
    qkv = emit.linear(x, f"{block}.qkv")
    if not config.query_key_norm:
        return step.queries(emit, qkv, query + 2 * key_value), None, None
    parts = emit.ops("Split", qkv, emit.ints(query, key_value, key_value), outputs=3, axis=1)
    for index, (name, heads) in enumerate((("query", config.attention_heads), ("key", config.key_value_heads))):
        parts[index] = emit.op(
            "BranchwiseRMSNorm",
            *(parts[index], emit.weight(f"{block}.{name}_norm.weight")),
            domain=MICROSOFT,
            num_branches=heads,
            epsilon=config.norm_epsilon,
        )
    widths = (query, key_value, key_value)
    return tuple(step.queries(emit, part, width) for part, width in zip(parts, widths, strict=True))


def _hidden(emit: Emitter, config: CausalLMConfig, x: ir.Value, block: str) -> ir.Value:
    """The inner activations of the feed-forward block: ``[rows, ffn_dim]``."""
    if not config.gated_ffn:
        return emit.activation(emit.linear(x, f"{block}.up"), config.activation_function)
    # gate(x) and up(x) are one product (SwiGLU, https://arxiv.org/abs/2002.05202).
    gate, up = emit.ops("Split", emit.linear(x, f"{block}.gate_up"), outputs=2, axis=1, num_outputs=2)
    return emit.op("Mul", emit.activation(gate, config.activation_function), up)


def _end_block(
    emit: Emitter, config: CausalLMConfig, x: ir.Value, layer: str, residual: ir.Value, following: str
) -> tuple[ir.Value, ir.Value]:
    """``residual + linear(x)``, normalised for the block that follows and as it is: ``[rows, d_model]`` both."""
    product, bias = emit.product(x, layer, f"{layer}.weight")
    if config.post_norms:
        if bias is not None:
            product, bias = emit.op("Add", product, bias), None
        product = _norm(emit, config, product, f"{layer.rpartition('.')[0]}.post_norm")
    if bias is not None:
        product = emit.op("Add", product, bias)
    total = emit.op("Add", product, residual)
    return _norm(emit, config, total, following), total


def _norm(emit: Emitter, config: CausalLMConfig, x: ir.Value, name: str) -> ir.Value:
    scale = emit.weight(f"{name}.weight")
    if config.norm == "rms":
        # onnxruntime's own operator, which it keeps in ONNX's domain.
        return emit.op("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=config.norm_epsilon)
    return emit.op("LayerNormalization", x, scale, emit.weight(f"{name}.bias"), axis=-1, epsilon=config.norm_epsilon)
