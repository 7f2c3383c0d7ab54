"""The same network in plain numpy, from the same weights: what a graph's output is checked against.

Written from the equations, not from the graph: no fused operators, no cache, no batch. In int8 it repeats the graph's
integer arithmetic (see `reference_products`), so that the two differ by float rounding alone.

In: configuration, weights, ids of one sentence. Out: logits of every target position. Too slow to translate with.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.graph.config import Seq2SeqConfig
from edgekit.graph.reference_functions import ACTIVATIONS, attend, causal_mask, layer_norm, rms_norm
from edgekit.graph.reference_products import ReferenceProducts
from edgekit.graph.weights_file import Weights

Array = np.ndarray


class Reference:
    """A forward pass over one sentence; ``x`` is ``float32 [length, d_model]`` throughout."""

    def __init__(self, config: Seq2SeqConfig, weights: Weights, precision: str) -> None:
        """Takes what the graph builder took; ``precision`` is "fp32" or "int8"."""
        self._config, products = config, ReferenceProducts(weights, precision)
        self._linear, self._floats, self._rows = products.linear, products.floats, products.rows
        self._scales = {
            "encoder": 1 / math.sqrt(config.encoder_head_dim) if config.attention_scaled else 1.0,
            "decoder": 1 / math.sqrt(config.decoder_head_dim) if config.attention_scaled else 1.0,
        }

    def logits(self, source_ids: Array, decoder_ids: Array) -> Array:
        """Logits ``float32 [target_length, target_vocab_size]`` of ``decoder_ids`` int64 (the start token first)."""
        memory = self._encode(source_ids)
        config = self._config
        x = self._embed(config.target_embedding, decoder_ids, "decoder")
        cell = self._ssru if config.decoder_cell == "ssru" else self._causal_attention
        for layer in range(config.decoder_layers):
            block = f"decoder.layers.{layer}"
            x = cell(x, block)
            query = self._linear(self._enter(x, f"{block}.cross_attention"), f"{block}.cross_attention.query")
            key, value = np.split(self._linear(memory, f"{block}.cross_attention.key_value"), 2, axis=1)
            attended = self._attend(query, key, value, "decoder")
            x = self._leave(self._linear(attended, f"{block}.cross_attention.output"), x, f"{block}.cross_attention")
            x = self._feed_forward(x, block)
        x = self._norm(x, "decoder.final_norm") if config.final_norm else x
        # The rows of a shortlist change with every batch, so that product is made in float (see `decoder`).
        return self._linear(x, "output", config.output_weight, transposed=True, in_float=config.has_shortlist)

    def _encode(self, ids: Array) -> Array:
        x = self._embed("source_embedding.weight", ids, "encoder")
        places = np.arange(len(ids))
        mask: Array | float = 0.0
        if self._config.positions == "relative":  # by key minus query, the longest distance first
            distances = places - places[:, None] + self._config.max_position_embeddings - 1
            mask = self._floats(self._config.positions_weight("encoder"))[:, distances]
        for layer in range(self._config.encoder_layers):
            block = f"encoder.layers.{layer}"
            entered = self._enter(x, f"{block}.self_attention")
            query, key, value = np.split(self._linear(entered, f"{block}.self_attention.qkv"), 3, axis=1)
            attended = self._attend(query, key, value, "encoder", mask)
            x = self._leave(self._linear(attended, f"{block}.self_attention.output"), x, f"{block}.self_attention")
            x = self._feed_forward(x, block)
        return self._norm(x, "encoder.final_norm") if self._config.final_norm else x

    def _embed(self, name: str, ids: Array, side: str) -> Array:
        x = self._rows(name, ids) * np.float32(self._config.embed_scale)
        if self._config.positions != "relative":
            x = x + self._floats(self._config.positions_weight(side))[: len(ids)]
        return self._norm(x, f"{side}.embedding_norm") if self._config.embedding_norm else x

    def _causal_attention(self, x: Array, layer: str) -> Array:
        block = f"{layer}.self_attention"
        query, key, value = np.split(self._linear(self._enter(x, block), f"{block}.qkv"), 3, axis=1)
        mask = causal_mask(len(x))
        if self._config.positions == "relative":  # by query minus key, the longest distance first
            places = np.arange(len(x))
            distances = np.maximum(places[:, None] - places, 0)
            mask = mask + self._floats(self._config.positions_weight("decoder"))[:, -1 - distances]
        attended = self._attend(query, key, value, "decoder", mask)
        return self._leave(self._linear(attended, f"{block}.output"), x, block)

    def _ssru(self, x: Array, layer: str) -> Array:
        candidate, gate = np.split(self._linear(x, f"{layer}.ssru.candidate_gate"), 2, axis=1)
        keep = 1 / (1 + np.exp(-gate))
        state, states = np.zeros_like(candidate[0]), []
        for u, g in zip(candidate, keep, strict=True):
            state = g * state + (1 - g) * u
            states.append(state)
        return self._leave(np.maximum(np.stack(states), 0), x, f"{layer}.ssru")

    def _feed_forward(self, x: Array, layer: str) -> Array:
        activation, block = ACTIVATIONS[self._config.activation_function], f"{layer}.feed_forward"
        entered = self._enter(x, block)
        if self._config.gated_ffn:
            gate, up = np.split(self._linear(entered, f"{block}.gate_up"), 2, axis=1)
            hidden = activation(gate) * up
        else:
            hidden = activation(self._linear(entered, f"{block}.up"))
        return self._leave(self._linear(hidden, f"{block}.down"), x, block)

    def _attend(self, query: Array, key: Array, value: Array, side: str, mask: Array | float = 0.0) -> Array:
        """Attention of ``[length, heads * head_dim]`` each, with the heads of a side."""
        config = self._config
        heads = config.encoder_attention_heads if side == "encoder" else config.decoder_attention_heads
        q, k, v = (x.reshape(len(x), heads, -1) for x in (query, key, value))
        return attend(q, k, v, self._scales[side], mask)

    def _enter(self, x: Array, block: str) -> Array:
        return self._norm(x, f"{block}.norm") if self._config.norm_position == "pre" else x

    def _leave(self, x: Array, residual: Array, block: str) -> Array:
        total = x + residual
        return self._norm(total, f"{block}.norm") if self._config.norm_position == "post" else total

    def _norm(self, x: Array, name: str) -> Array:
        weight, epsilon = self._floats(f"{name}.weight"), self._config.layer_norm_epsilon
        if self._config.norm == "rms":
            return rms_norm(x, weight, epsilon)
        return layer_norm(x, weight, self._floats(f"{name}.bias"), epsilon)
