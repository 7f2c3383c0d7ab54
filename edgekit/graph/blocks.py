"""What the encoder's and the decoders' layers have in common: norms and residuals, feed-forward, embeddings, positions.

In: rows ``float32 [rows, d_model]`` and names of weights. Out: nodes. `Seq2SeqConfig` says which of the forms a model
has: norms behind a block or before it, layer or root mean square normalisation, positions added or as a bias.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.emitter import Attribute, Emitter


def norm(emit: Emitter, config: Seq2SeqConfig, x: ir.Value, name: str) -> ir.Value:
    """``x`` normalised with ``name.weight``, and ``name.bias`` where the norm has one."""
    scale = emit.weight(f"{name}.weight")
    if config.norm == "rms":
        # onnxruntime's own operator, which it keeps in ONNX's domain.
        return emit.op("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=config.layer_norm_epsilon)
    return emit.op(
        "LayerNormalization", x, scale, emit.weight(f"{name}.bias"), axis=-1, epsilon=config.layer_norm_epsilon
    )


def block_input(emit: Emitter, config: Seq2SeqConfig, x: ir.Value, block: str) -> ir.Value:
    """What a block calculates with: the residual stream ``x``, normalised where norms stand before blocks."""
    return x if config.norm_position == "post" else norm(emit, config, x, f"{block}.norm")


def block_output(
    emit: Emitter, config: Seq2SeqConfig, hidden: ir.Value, layer: str, residual: ir.Value, block: str
) -> ir.Value:
    """The residual stream behind a block that ends with the linear layer ``layer`` of ``hidden``."""
    if config.norm_position == "post" and config.norm == "layer":
        return emit.linear_add_norm(hidden, layer, residual, f"{block}.norm")
    total = emit.op("Add", emit.linear(hidden, layer), residual)
    return total if config.norm_position == "pre" else norm(emit, config, total, f"{block}.norm")


def feed_forward(emit: Emitter, config: Seq2SeqConfig, x: ir.Value, layer: str) -> ir.Value:
    """The feed-forward block of a layer: ``[rows, d_model]`` to ``[rows, d_model]``."""
    block = f"{layer}.feed_forward"
    entered = block_input(emit, config, x, block)
    if config.gated_ffn:
        # gate(x) and up(x) are one product (https://arxiv.org/abs/2002.05202).
        both = emit.linear(entered, f"{block}.gate_up")
        gate, up = emit.ops("Split", both, outputs=2, axis=1, num_outputs=2)
        hidden = emit.op("Mul", emit.activation(gate, config.activation_function), up)
    else:
        hidden = emit.activation(emit.linear(entered, f"{block}.up"), config.activation_function)
    return block_output(emit, config, hidden, f"{block}.down", x, block)


def embedded(emit: Emitter, config: Seq2SeqConfig, x: ir.Value, side: str) -> ir.Value:
    """Embeddings, positions added, as the first layer of a side takes them."""
    return norm(emit, config, x, f"{side}.embedding_norm") if config.embedding_norm else x


def finished(emit: Emitter, config: Seq2SeqConfig, x: ir.Value, side: str) -> ir.Value:
    """What the last layer of a side leaves, as cross-attention or the output layer takes it."""
    return norm(emit, config, x, f"{side}.final_norm") if config.final_norm else x


def attention_scale(config: Seq2SeqConfig) -> dict[str, Attribute]:
    """The attribute of an attention operator that keeps it from dividing by the root of a head's width."""
    return {} if config.attention_scaled else {"scale": 1.0}
